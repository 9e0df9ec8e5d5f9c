/* arch_deberta.c - DeBERTa v2 and v3: BERT's layers whose attention has scores for what stands
 * where, by the distances of a table that all layers project (formats-encoder.md 3.5).  He et al.
 * 2020, arXiv:2006.03654; He et al. 2021, arXiv:2111.09543. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch_bert.h"

typedef struct deberta {
    nib_bert bert;
    bool places_words;       /* positions are added to the words */
    bool relative, by_query, by_key; /* a table of distances; q . K and k . Q are in the scores */
    bool shares, norms_table, legacy;
    size_t all_heads;        /* channels of all heads */
    nib_span span;
    size_t taps, groups;     /* of a convolution beside the first layer; taps 0: there is none */
    nib_activation pooler_activation, conv_activation;
    float pooler_dropout;
} deberta;

/* --- config.json --- */

/* One word of pos_att_type. */
static void read_part(nib_reader *r, deberta *m, const char *word, size_t n)
{
    while (n && isspace((unsigned char)*word)) word++, n--;
    while (n && isspace((unsigned char)word[n - 1])) n--;
    if (n == 3 && strncmp(word, "c2p", 3) == 0) m->by_query = true;
    else if (n == 3 && strncmp(word, "p2c", 3) == 0) m->by_key = true;
    else
        nib_read_fail(r, NIB_E_UNSUPPORTED, "pos_att_type names '%.*s', known are c2p and p2c",
                      (int)nib_min(n, 60), word);
}

/* A list of words, or a text of them with bars between. */
static void read_parts(nib_reader *r, deberta *m)
{
    const json_t *j = nib_read_any(r, "pos_att_type");
    const char *text = json_string_value(j);

    if (!j || json_is_null(j)) return;
    if (!text && !json_is_array(j))
        nib_read_fail(r, NIB_E_FORMAT, "pos_att_type is neither a list nor a text");
    for (size_t i = 0; !text && i < json_array_size(j); i++) {
        const char *word = json_string_value(json_array_get(j, i));
        read_part(r, m, word ? word : "", word ? strlen(word) : 0);
    }
    while (text && *text) {
        size_t n = strcspn(text, "|");
        read_part(r, m, text, n);
        text += n + (text[n] == '|');
    }
}

static void read_norm(nib_reader *r, deberta *m)
{
    const json_t *j = nib_read_any(r, "norm_rel_ebd");
    const char *name = j ? json_string_value(j) : "none";

    m->norms_table = name && strcmp(name, "layer_norm") == 0;
    if (!name || (!m->norms_table && strcmp(name, "none") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "norm_rel_ebd is '%s', known are none and layer_norm",
                      name ? name : "no text");
}

static void read_distances(nib_reader *r, deberta *m)
{
    int64_t most = nib_read_int_or(r, "max_relative_positions", -1, 1 << 24, -1);
    int64_t buckets = nib_read_int_or(r, "position_buckets", -1, 1 << 24, -1);

    read_parts(r, m);
    read_norm(r, m);
    m->relative = nib_read_bool(r, "relative_attention", false);
    m->shares = nib_read_bool(r, "share_att_key", false);
    m->span.most = most < 1 ? m->bert.positions : (size_t)most;
    m->span.buckets = buckets > 0 ? (size_t)buckets : 0;
    m->span.half = buckets > 0 ? (size_t)buckets : m->span.most;
}

static void read_sizes(nib_reader *r, deberta *m)
{
    nib_bert *bert = &m->bert;

    bert->prefix = "deberta";
    bert->vocabulary = nib_read_size_or(r, "vocab_size", 128100);
    bert->width = nib_read_size_or(r, "hidden_size", 1536);
    bert->embedded = nib_read_size_or(r, "embedding_size", bert->width);
    bert->layers = nib_read_layers_or(r, "num_hidden_layers", 24);
    bert->heads = nib_read_size_or(r, "num_attention_heads", 24);
    bert->inner = nib_read_size_or(r, "intermediate_size", 6144);
    bert->positions = nib_read_size_or(r, "max_position_embeddings", 512);
    bert->types = (size_t)nib_read_int_or(r, "type_vocab_size", 0, 1 << 16, 0);
    bert->eps = nib_read_eps(r, "layer_norm_eps", 1e-7f);
    bert->activation = nib_read_activation(r, "hidden_act", "gelu");
    bert->dropout = nib_read_dropout(r, "hidden_dropout_prob", 0.1, false);
    bert->attention_dropout = nib_read_dropout(r, "attention_probs_dropout_prob", 0.1, false);
    bert->head_dropout = nib_read_dropout(r, "cls_dropout", (double)bert->dropout, true);
    bert->head_dim = nib_read_head_dim(r, bert->width, bert->heads);
    bert->head_dim = nib_read_size_or(r, "attention_head_size", bert->head_dim);
    nib_read_check_heads(r, bert->heads, bert->heads, bert->head_dim);
    m->all_heads = bert->heads * bert->head_dim;
}

static void read_deberta(nib_reader *r, void *config)
{
    deberta *m = config;
    size_t pooled;

    read_sizes(r, m);
    read_distances(r, m);
    m->places_words = nib_read_bool(r, "position_biased_input", true);
    m->pooler_activation = nib_read_activation(r, "pooler_hidden_act", "gelu");
    m->pooler_dropout = nib_read_dropout(r, "pooler_dropout", 0, false);
    m->legacy = nib_read_bool(r, "legacy", true);
    pooled = nib_read_size_or(r, "pooler_hidden_size", m->bert.width);
    if (!r->status && pooled != m->bert.width)
        nib_read_fail(r, NIB_E_FORMAT, "pooler_hidden_size is %zu, hidden_size %zu: expected the "
                      "same", pooled, m->bert.width);
    m->taps = (size_t)nib_read_int_or(r, "conv_kernel_size", 0, 99, 0);
    m->conv_activation = nib_read_activation(r, "conv_act", "tanh");
    m->groups = nib_read_size_or(r, "conv_groups", 1);
    nib_bert_refuse_variants(r, m->legacy); /* the other head has the table in any case */
}

/* --- the graph --- */

static nib_value embed(nib_build *b, const deberta *m)
{
    const nib_bert *bert = &m->bert;
    size_t e = bert->embedded;
    nib_value x = nib_embed(b, NIB_IDS, bert->vocabulary, e, "deberta.embeddings.word_embeddings");

    nib_set_positions(b, bert->positions);
    if (m->places_words)
        x = nib_add(b, x, nib_embed(b, NIB_POSITIONS, bert->positions, e,
                                    "deberta.embeddings.position_embeddings"));
    if (bert->types)
        x = nib_add(b, x, nib_embed(b, NIB_TYPES, bert->types, e,
                                    "deberta.embeddings.token_type_embeddings"));
    if (e != bert->width)
        x = nib_apply_linear(b, x, bert->width, false, "deberta.embeddings.embed_proj");
    x = nib_apply_layer_norm(b, x, bert->eps, "deberta.embeddings.LayerNorm");
    return nib_dropout(b, x, bert->dropout);
}

static nib_value embed_distances(nib_build *b, const deberta *m)
{
    nib_value x = nib_embed_span(b, &m->span, m->bert.width, "deberta.encoder.rel_embeddings");

    if (!m->norms_table) return x;
    return nib_apply_layer_norm(b, x, m->bert.eps, "deberta.encoder.LayerNorm");
}

static nib_linear *bind(nib_build *b, const deberta *m, const char *part, int i)
{
    return nib_bind_linear(b, m->all_heads, m->bert.width, true,
                           "deberta.encoder.layer.%d.attention.self.%s", i, part);
}

/* Heads of a layer; its own projections of the table, or those of queries and keys. */
static nib_value attend(nib_build *b, const deberta *m, int i, nib_value x, nib_value table)
{
    const nib_bert *bert = &m->bert;
    float parts = 1 + (float)m->by_query + (float)m->by_key;
    nib_attention_desc d = { .heads = bert->heads, .kv_heads = bert->heads, .full = true,
                             .head_dim = bert->head_dim,
                             .scale = 1 / sqrtf((float)bert->head_dim * parts),
                             .drop = { .p = bert->attention_dropout } };
    nib_linear *query = bind(b, m, "query_proj", i), *key = bind(b, m, "key_proj", i);
    nib_value q = nib_apply_bound_linear(b, x, query), k = nib_apply_bound_linear(b, x, key);
    nib_value v = nib_apply_bound_linear(b, x, bind(b, m, "value_proj", i));
    nib_value keys = { NIB_NONE }, queries = { NIB_NONE };

    if (!m->relative) return nib_attend(b, q, k, v, &d);
    table = nib_dropout(b, table, bert->dropout);
    if (m->by_query)
        keys = nib_apply_bound_linear(b, table, m->shares ? key : bind(b, m, "pos_key_proj", i));
    if (m->by_key)
        queries = nib_apply_bound_linear(b, table,
                                         m->shares ? query : bind(b, m, "pos_query_proj", i));
    if (!m->by_query && !m->by_key) return nib_attend(b, q, k, v, &d);
    return nib_attend_apart(b, q, k, v, keys, queries, &d);
}

/* norm(y + act(conv(x))) of the first layer's input x and output y. */
static nib_value convolve(nib_build *b, const deberta *m, nib_value x, nib_value y)
{
    x = nib_mix_near(b, x, m->groups, m->taps, "deberta.encoder.conv.conv");
    x = nib_activate(b, nib_dropout(b, x, m->bert.dropout), m->conv_activation);
    return nib_apply_layer_norm(b, nib_add(b, y, x), m->bert.eps,
                                "deberta.encoder.conv.LayerNorm");
}

static void predict_words(nib_build *b, const deberta *m, nib_value x)
{
    const nib_bert_words legacy = {
        .dense = "cls.predictions.transform.dense", .norm = "cls.predictions.transform.LayerNorm",
        .head = "cls.predictions.decoder", .bias = "cls.predictions.bias",
        .table = "deberta.embeddings.word_embeddings", .width = m->bert.embedded,
        .activation = m->bert.activation,
    }, words = {
        .dense = "lm_predictions.lm_head.dense", .norm = "lm_predictions.lm_head.LayerNorm",
        .head = "lm_predictions.lm_head", .bias = "lm_predictions.lm_head.bias",
        .table = "deberta.embeddings.word_embeddings", .width = m->bert.width,
        .activation = m->bert.activation,
    };

    if (!m->legacy && m->bert.embedded != m->bert.width)
        nib_build_fail(b, NIB_E_FORMAT, "embedding_size %zu and hidden_size %zu: a head that is "
                       "not legacy needs the same", m->bert.embedded, m->bert.width);
    nib_bert_predict_words(b, &m->bert, x, m->legacy ? &legacy : &words);
}

static void classify(nib_build *b, const deberta *m, nib_value x)
{
    x = nib_dropout(b, nib_to_one_row(b, x, NIB_READ_FIRST), m->pooler_dropout);
    x = nib_apply_new_linear(b, x, m->bert.width, "pooler.dense");
    x = nib_dropout(b, nib_activate(b, x, m->pooler_activation), m->bert.head_dropout);
    nib_class_head(b, x, true, "classifier");
}

/* cls_dropout is of the pooled classifier alone. */
static void tag(nib_build *b, const deberta *m, nib_value x)
{
    nib_bert plain = m->bert;

    plain.head_dropout = plain.dropout;
    nib_bert_tag(b, &plain, x);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const deberta *m = config;
    nib_value x = embed(b, m), table = { NIB_NONE }, y;

    if (m->relative) table = embed_distances(b, m);
    for (int i = 0; i < (int)m->bert.layers; i++) {
        nib_segment(b);
        y = nib_bert_finish_layer(b, &m->bert, i, attend(b, m, i, x, table), x);
        x = i == 0 && m->taps ? convolve(b, m, x, y) : y;
    }
    nib_segment(b);
    if (task == NIB_TASK_SEQ_CLS) classify(b, m, x);
    else if (task == NIB_TASK_TOKEN_CLS) tag(b, m, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else predict_words(b, m, x);
}

static const char *const heads[] = { "cls.", "lm_predictions.", "mask_predictions.", "classifier.",
                                     "qa_outputs.", "pooler.", NULL };
static const char *const positions[] = { "deberta.embeddings.position_embeddings.",
                                         "embeddings.position_embeddings.", NULL };
static const char *const types[] = { "deberta-v2", NULL };
static const char *const targets[] = { "query_proj", "value_proj", NULL };

const nib_arch nib_arch_deberta = { .model_types = types, .config_bytes = sizeof(deberta),
                                    .read = read_deberta, .prefix = "deberta.",
                                    .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                             1 << NIB_TASK_FEATURE_EXTRACTION |
                                             1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                    .build = build, .default_targets = targets,
                                    .other_heads = heads, .other_parts = positions };
