/* arch_bert.c - BERT: an encoder with norms behind each half of a layer (formats.md 10.17,
 * formats-encoder.md).  Devlin et al. 2018, arXiv:1810.04805. */
#include "model/arch_bert.h"

#include <math.h>
#include <stdio.h>

static void refuse_positions(nib_reader *r)
{
    const json_t *kind = nib_read_any(r, "position_embedding_type");
    const char *name = json_string_value(kind);

    if (kind && !json_is_null(kind) && (!name || strcmp(name, "absolute") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "position_embedding_type is '%s', known is absolute",
                      name ? name : "no text");
}

static void refuse_decoder(nib_reader *r)
{
    nib_read_must_be_off(r, "is_decoder", "an encoder that is used as a decoder is not known");
    nib_read_must_be_off(r, "add_cross_attention", "cross attention is not known here");
}

static void refuse_untied(nib_reader *r)
{
    if (!nib_read_bool(r, "tie_word_embeddings", true))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "tie_word_embeddings is false: words are only "
                      "predicted with the embedding's table");
}

void nib_bert_refuse_variants(nib_reader *r, bool tied)
{
    refuse_positions(r);
    refuse_decoder(r);
    if (tied) refuse_untied(r);
    else nib_read_any(r, "tie_word_embeddings");
}

void nib_bert_read_keys(nib_reader *r, nib_bert *m, const char *prefix, bool after_padding)
{
    refuse_positions(r);
    nib_bert_read_others(r, m, prefix, after_padding);
}

void nib_bert_read_others(nib_reader *r, nib_bert *m, const char *prefix, bool after_padding)
{
    m->prefix = prefix;
    m->vocabulary = nib_read_size_or(r, "vocab_size", after_padding ? 50265 : 30522);
    m->width = nib_read_size_or(r, "hidden_size", 768);
    m->layers = nib_read_has(r, "num_hidden_layers") ? nib_read_layers(r, "num_hidden_layers") : 12;
    m->heads = nib_read_size_or(r, "num_attention_heads", 12);
    m->inner = nib_read_size_or(r, "intermediate_size", 3072);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 512);
    m->types = nib_read_size_or(r, "type_vocab_size", 2);
    m->eps = nib_read_eps(r, "layer_norm_eps", 1e-12f);
    m->activation = nib_read_activation(r, "hidden_act", "gelu");
    m->embedded = m->width;
    m->dropout = nib_read_dropout(r, "hidden_dropout_prob", 0.1, false);
    m->attention_dropout = nib_read_dropout(r, "attention_probs_dropout_prob", 0.1, false);
    m->head_dropout = nib_read_dropout(r, "classifier_dropout", (double)m->dropout, true);
    if (after_padding)
        m->first = (size_t)nib_read_int_or(r, "pad_token_id", 0, 1 << 30, 1) + 1;
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    if (!r->status && m->first >= m->positions)
        nib_read_fail(r, NIB_E_FORMAT, "max_position_embeddings %zu, but positions begin at %zu, "
                      "behind pad_token_id", m->positions, m->first);
    refuse_decoder(r);
    refuse_untied(r);
}

/* A table of the embeddings, named by its part. */
static nib_value table(nib_build *b, const nib_bert *m, nib_input input, size_t first, size_t rows,
                       const char *part)
{
    char name[100];

    snprintf(name, sizeof name, "%s.embeddings.%s", m->prefix, part);
    return nib_embed_offset(b, input, first, rows, m->embedded, name);
}

nib_value nib_bert_embed(nib_build *b, const nib_bert *m)
{
    nib_value x = table(b, m, NIB_IDS, 0, m->vocabulary, "word_embeddings");

    nib_set_positions(b, m->positions - m->first);
    if (m->first) nib_set_position_padding(b, m->first - 1);
    if (m->types)
        x = nib_add(b, x, table(b, m, NIB_TYPES, 0, m->types, "token_type_embeddings"));
    x = nib_add(b, x, table(b, m, NIB_POSITIONS, m->first, m->positions, "position_embeddings"));
    x = nib_apply_layer_norm(b, x, m->eps, "%s.embeddings.LayerNorm", m->prefix);
    return nib_dropout(b, x, m->dropout);
}

/* The heads of layer i over x, before the output projection. */
static nib_value attended(nib_build *b, const nib_bert *m, int i, nib_value x)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads, .full = true,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim),
                                     .drop = { .p = m->attention_dropout } };
    const char *p = m->prefix;
    size_t w = m->width;

    nib_value q = nib_apply_linear(b, x, w, true, "%s.encoder.layer.%d.attention.self.query", p, i);
    nib_value k = nib_apply_linear(b, x, w, true, "%s.encoder.layer.%d.attention.self.key", p, i);
    nib_value v = nib_apply_linear(b, x, w, true, "%s.encoder.layer.%d.attention.self.value", p, i);
    if (m->rope) {
        q = nib_rotate(b, q, m->heads, m->head_dim, m->rope);
        k = nib_rotate(b, k, m->heads, m->head_dim, m->rope);
    }
    return nib_attend(b, q, k, v, &attention);
}

static nib_value project(nib_build *b, const nib_bert *m, int i, nib_value a)
{
    a = nib_apply_linear(b, a, m->width, true, "%s.encoder.layer.%d.attention.output.dense",
                         m->prefix, i);
    return nib_dropout(b, a, m->dropout);
}

nib_value nib_bert_attend(nib_build *b, const nib_bert *m, int i, nib_value x)
{
    return project(b, m, i, attended(b, m, i, x));
}

/* h = norm(x + project(a));  y = norm(h + mlp(h)). */
nib_value nib_bert_finish_layer(nib_build *b, const nib_bert *m, int i, nib_value a, nib_value x)
{
    const char *p = m->prefix;

    nib_value h = nib_add(b, project(b, m, i, a), x);
    h = nib_apply_layer_norm(b, h, m->eps, "%s.encoder.layer.%d.attention.output.LayerNorm", p, i);
    nib_value f = nib_apply_linear(b, h, m->inner, true, "%s.encoder.layer.%d.intermediate.dense",
                                   p, i);
    f = nib_activate(b, f, m->activation);
    f = nib_apply_linear(b, f, m->width, true, "%s.encoder.layer.%d.output.dense", p, i);
    f = nib_dropout(b, f, m->dropout);
    return nib_apply_layer_norm(b, nib_add(b, f, h), m->eps, "%s.encoder.layer.%d.output.LayerNorm",
                                p, i);
}

nib_value nib_bert_encode(nib_build *b, const nib_bert *m, nib_value x)
{
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = nib_bert_finish_layer(b, m, i, attended(b, m, i, x), x);
    }
    nib_segment(b);
    return x;
}

void nib_bert_classify(nib_build *b, const nib_bert *m, nib_value x, nib_activation activation)
{
    x = nib_dropout(b, nib_to_one_row(b, x, NIB_READ_FIRST), m->head_dropout);
    x = nib_activate(b, nib_apply_new_linear(b, x, m->width, "classifier.dense"), activation);
    nib_class_head(b, nib_dropout(b, x, m->head_dropout), true, "classifier.out_proj");
}

void nib_bert_classify_pooled(nib_build *b, const nib_bert *m, nib_value x, const char *pooler)
{
    x = nib_to_one_row(b, x, NIB_READ_FIRST);
    x = nib_activate(b, nib_apply_new_linear(b, x, m->width, pooler), NIB_ACT_TANH);
    nib_class_head(b, nib_dropout(b, x, m->head_dropout), true, "classifier");
}

void nib_bert_tag(nib_build *b, const nib_bert *m, nib_value x)
{
    x = nib_dropout(b, nib_to_logit_rows(b, x), m->head_dropout);
    nib_class_head(b, x, true, "classifier");
}

void nib_bert_find_answer(nib_build *b, nib_value x)
{
    nib_class_head(b, nib_to_logit_rows(b, x), true, "qa_outputs");
}

void nib_bert_predict_words(nib_build *b, const nib_bert *m, nib_value x,
                            const nib_bert_words *words)
{
    x = nib_apply_linear(b, nib_to_logit_rows(b, x), words->width, true, "%s", words->dense);
    x = nib_activate(b, x, words->activation);
    x = nib_apply_layer_norm(b, x, m->eps, "%s", words->norm);
    nib_set_head(b, x, (nib_head_spec){ .rows = m->vocabulary, .bias = true,
                                        .tied_to = words->table, .bias_name = words->bias },
                 words->head);
}

/* --- BERT itself --- */

static void read_bert(nib_reader *r, void *config) { nib_bert_read_keys(r, config, "bert", false); }

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_bert *m = config;
    const nib_bert_words words = {
        .dense = "cls.predictions.transform.dense", .norm = "cls.predictions.transform.LayerNorm",
        .head = "cls.predictions.decoder", .bias = "cls.predictions.bias",
        .table = "bert.embeddings.word_embeddings", .width = m->width,
        .activation = m->activation,
    };
    nib_value x = nib_bert_encode(b, m, nib_bert_embed(b, m));

    if (task == NIB_TASK_SEQ_CLS) {
        nib_bert_classify_pooled(b, m, x, "bert.pooler.dense");
    } else if (task == NIB_TASK_TOKEN_CLS) {
        nib_bert_tag(b, m, x);
    } else if (task == NIB_TASK_QUESTION_ANS) {
        nib_bert_find_answer(b, x);
    } else if (task == NIB_TASK_FEATURE_EXTRACTION) {
        nib_give_rows(b, x);
    } else {
        nib_bert_predict_words(b, m, x, &words);
    }
}

static const char *const heads[] = { "cls.", "classifier.", "qa_outputs.", "bert.pooler.",
                                     "pooler.", NULL };

static const nib_gguf_name gguf_names[] = { NIB_BERT_GGUF_NAMES("bert", NIB_GGUF_AS_IS), { 0 } };
const nib_gguf_key nib_bert_gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" }, { "feed_forward_length", "intermediate_size" },
    { "attention.head_count", "num_attention_heads" },
    { "attention.layer_norm_epsilon", "layer_norm_eps" },
    { 0 },
};

/* llama.cpp gives all tokens type 0, and knows no head for words. */
static void gguf_finish(nib_gguf_config *c)
{
    const nib_tensor *types = nib_tensors_find(c->tensors, "token_types.weight");

    if (types) /* one row lies as a vector in files of older converters */
        nib_gguf_set(c, "type_vocab_size",
                     json_integer(types->rank == 2 ? (json_int_t)types->shape[0] : 1));
    nib_gguf_set(c, "tie_word_embeddings", json_true());
}

static const nib_gguf_family gguf = {
    .architecture = "bert", .model_type = "bert", .class_name = "BertModel",
    .names = gguf_names, .keys = nib_bert_gguf_keys, .finish = gguf_finish, .full = true,
};

static const char *const types[] = { "bert", NULL };
static const char *const targets[] = { "query", "value", NULL };

const nib_arch nib_arch_bert = { .model_types = types, .config_bytes = sizeof(nib_bert),
                                 .read = read_bert, .prefix = "bert.",
                                 .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                          1 << NIB_TASK_FEATURE_EXTRACTION |
                                          1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                 .build = build, .default_targets = targets,
                                 .other_heads = heads, .gguf = &gguf };
