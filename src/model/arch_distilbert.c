/* arch_distilbert.c - DistilBERT: BERT's layers under other names, no types, no pooler
 * (formats-encoder.md 3.1).  Sanh et al. 2019, arXiv:1910.01108. */
#include <math.h>

#include "format/gguf_writer.h"
#include "model/arch_bert.h"

static const float EPS = 1e-12f; /* no key has it */

static void read_distilbert(nib_reader *r, void *config)
{
    nib_bert *m = config;

    m->prefix = "distilbert";
    m->vocabulary = nib_read_size_or(r, "vocab_size", 30522);
    m->width = m->embedded = nib_read_size_or(r, "dim", 768);
    m->layers = nib_read_has(r, "n_layers") ? nib_read_layers(r, "n_layers") : 6;
    m->heads = nib_read_size_or(r, "n_heads", 12);
    m->inner = nib_read_size_or(r, "hidden_dim", 3072);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 512);
    m->eps = EPS;
    m->activation = nib_read_activation(r, "activation", "gelu");
    m->dropout = nib_read_dropout(r, "dropout", 0.1, false);
    m->attention_dropout = nib_read_dropout(r, "attention_dropout", 0.1, false);
    m->head_dropout = nib_read_dropout(r, "seq_classif_dropout", 0.2, false);
    m->answer_dropout = nib_read_dropout(r, "qa_dropout", 0.1, false);
    nib_read_any(r, "sinusoidal_pos_embds"); /* the table is stored either way */
    if (!nib_read_bool(r, "tie_word_embeddings", true))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "tie_word_embeddings is false: words are only "
                      "predicted with the embedding's table");
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
}

static nib_value attend(nib_build *b, const nib_bert *m, int i, nib_value x)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads, .full = true,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim),
                                     .drop = { .p = m->attention_dropout } };
    size_t w = m->width;

    nib_value q = nib_apply_linear(b, x, w, true, "distilbert.transformer.layer.%d.attention.q_lin",
                                   i);
    nib_value k = nib_apply_linear(b, x, w, true, "distilbert.transformer.layer.%d.attention.k_lin",
                                   i);
    nib_value v = nib_apply_linear(b, x, w, true, "distilbert.transformer.layer.%d.attention.v_lin",
                                   i);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), w, true,
                            "distilbert.transformer.layer.%d.attention.out_lin", i);
}

static nib_value layer(nib_build *b, const nib_bert *m, int i, nib_value x)
{
    nib_value h = nib_add(b, attend(b, m, i, x), x);
    h = nib_apply_layer_norm(b, h, m->eps, "distilbert.transformer.layer.%d.sa_layer_norm", i);
    nib_value f = nib_apply_linear(b, h, m->inner, true, "distilbert.transformer.layer.%d.ffn.lin1",
                                   i);
    f = nib_apply_linear(b, nib_activate(b, f, m->activation), m->width, true,
                         "distilbert.transformer.layer.%d.ffn.lin2", i);
    f = nib_dropout(b, f, m->dropout);
    return nib_apply_layer_norm(b, nib_add(b, f, h), m->eps,
                                "distilbert.transformer.layer.%d.output_layer_norm", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_bert *m = config;
    const nib_bert_words words = {
        .dense = "vocab_transform", .norm = "vocab_layer_norm", .head = "vocab_projector",
        .bias = "vocab_projector.bias", .table = "distilbert.embeddings.word_embeddings",
        .width = m->width, .activation = m->activation,
    };
    nib_bert tags = *m;
    nib_value x = nib_bert_embed(b, m);

    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    if (task == NIB_TASK_SEQ_CLS) {
        x = nib_to_one_row(b, x, NIB_READ_FIRST);
        x = nib_apply_new_linear(b, x, m->width, "pre_classifier");
        x = nib_dropout(b, nib_activate(b, x, NIB_ACT_RELU), m->head_dropout);
        nib_class_head(b, x, true, "classifier");
    } else if (task == NIB_TASK_TOKEN_CLS) {
        tags.head_dropout = m->dropout; /* seq_classif_dropout is of sequences alone */
        nib_bert_tag(b, &tags, x);
    } else if (task == NIB_TASK_QUESTION_ANS) {
        nib_bert_find_answer(b, nib_dropout(b, x, m->answer_dropout));
    } else if (task == NIB_TASK_FEATURE_EXTRACTION) {
        nib_give_rows(b, x);
    } else {
        nib_bert_predict_words(b, m, x, &words);
    }
}

#define LAYER "distilbert.transformer.layer.%d."

/* It is bert there, without types. */
static const nib_gguf_name gguf_names[] = {
    { "token_embd", "distilbert.embeddings.word_embeddings", NIB_GGUF_AS_IS },
    { "position_embd", "distilbert.embeddings.position_embeddings", NIB_GGUF_AS_IS },
    { "token_embd_norm", "distilbert.embeddings.LayerNorm", NIB_GGUF_AS_IS },
    { "attn_q", LAYER "attention.q_lin", NIB_GGUF_AS_IS },
    { "attn_k", LAYER "attention.k_lin", NIB_GGUF_AS_IS },
    { "attn_v", LAYER "attention.v_lin", NIB_GGUF_AS_IS },
    { "attn_output", LAYER "attention.out_lin", NIB_GGUF_AS_IS },
    { "attn_output_norm", LAYER "sa_layer_norm", NIB_GGUF_AS_IS },
    { "ffn_up", LAYER "ffn.lin1", NIB_GGUF_AS_IS },
    { "ffn_down", LAYER "ffn.lin2", NIB_GGUF_AS_IS },
    { "layer_output_norm", LAYER "output_layer_norm", NIB_GGUF_AS_IS },
    { 0 },
};

static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "dim" },
    { "block_count", "n_layers" }, { "feed_forward_length", "hidden_dim" },
    { "attention.head_count", "n_heads" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    double eps = nib_gguf_get(c, "attention.layer_norm_epsilon", (double)EPS);

    if ((float)eps != EPS)
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "attention.layer_norm_epsilon is %g; without types of "
                      "tokens (distilbert) %g is known", eps, (double)EPS);
}

static void gguf_put(const nib_gguf_put *p)
{
    nib_gguf_put_own(p, "attention.layer_norm_epsilon", NIB_GGUF_F32, (double)EPS);
    /* llama.cpp asks for a number, and for no table */
    nib_gguf_put_number(p->w, "tokenizer.ggml.token_type_count", NIB_GGUF_U32, 1);
}

static const nib_gguf_family gguf = {
    .architecture = "bert", .model_type = "distilbert", .class_name = "DistilBertModel",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish, .put = gguf_put,
    .lacks = "token_types.weight", .full = true,
};

static const char *const heads[] = { "vocab_", "pre_classifier.", "classifier.", "qa_outputs.",
                                     NULL };
static const char *const types[] = { "distilbert", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_distilbert = { .model_types = types, .config_bytes = sizeof(nib_bert),
                                       .read = read_distilbert, .prefix = "distilbert.",
                                       .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                                1 << NIB_TASK_FEATURE_EXTRACTION |
                                                1 << NIB_TASK_MASKED_LM |
                                                1 << NIB_TASK_QUESTION_ANS,
                                       .build = build, .default_targets = targets,
                                       .other_heads = heads, .gguf = &gguf };
