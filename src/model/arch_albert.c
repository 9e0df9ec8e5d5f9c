/* arch_albert.c - ALBERT: BERT's layers, of which all use the weights of a few, behind narrow
 * embeddings (formats-encoder.md 3.6).  Lan et al. 2019, arXiv:1909.11942. */
#include <math.h>

#include "model/arch_bert.h"

typedef struct albert {
    nib_bert bert;
    size_t groups, each; /* layers with weights of their own: `each` in turn of each group */
} albert;

/* A layer's weights. */
typedef struct shared_layer {
    nib_linear *query, *key, *value, *dense, *in, *out;
    nib_norm *attention_norm, *norm;
} shared_layer;

enum { MOST_SHARED = 64 };

static void read_albert(nib_reader *r, void *config)
{
    albert *m = config;
    nib_bert *bert = &m->bert;

    bert->prefix = "albert";
    bert->vocabulary = nib_read_size_or(r, "vocab_size", 30000);
    bert->embedded = nib_read_size_or(r, "embedding_size", 128);
    bert->width = nib_read_size_or(r, "hidden_size", 4096);
    bert->layers = nib_read_layers_or(r, "num_hidden_layers", 12);
    bert->heads = nib_read_size_or(r, "num_attention_heads", 64);
    bert->inner = nib_read_size_or(r, "intermediate_size", 16384);
    bert->positions = nib_read_size_or(r, "max_position_embeddings", 512);
    bert->types = nib_read_size_or(r, "type_vocab_size", 2);
    bert->eps = nib_read_eps(r, "layer_norm_eps", 1e-12f);
    bert->activation = nib_read_activation(r, "hidden_act", "gelu_new");
    bert->dropout = nib_read_dropout(r, "hidden_dropout_prob", 0, false);
    bert->attention_dropout = nib_read_dropout(r, "attention_probs_dropout_prob", 0, false);
    bert->head_dropout = nib_read_dropout(r, "classifier_dropout_prob", 0.1, false);
    bert->head_dim = nib_read_head_dim(r, bert->width, bert->heads);
    nib_read_check_heads(r, bert->heads, bert->heads, bert->head_dim);
    m->groups = nib_read_size_or(r, "num_hidden_groups", 1);
    m->each = nib_read_size_or(r, "inner_group_num", 1);
    if (!r->status && (m->groups > bert->layers || m->groups > MOST_SHARED / m->each))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "num_hidden_groups %zu of inner_group_num %zu for %zu "
                      "layers: known are up to %d layers with weights of their own, and no more "
                      "groups than layers", m->groups, m->each, bert->layers, (int)MOST_SHARED);
    nib_bert_refuse_variants(r, true);
    nib_read_any(r, "down_scale_factor"); /* of older classes, which do not read them */
    nib_read_any(r, "gap_size");
    nib_read_any(r, "net_structure_type");
    nib_read_any(r, "num_memory_blocks");
}

static nib_linear *linear(nib_build *b, size_t out, size_t in, const char *part, size_t group,
                          size_t i)
{
    return nib_bind_linear(b, out, in, true,
                           "albert.encoder.albert_layer_groups.%zu.albert_layers.%zu.%s", group, i,
                           part);
}

static nib_norm *norm(nib_build *b, size_t width, const char *part, size_t group, size_t i)
{
    return nib_bind_layer_norm(b, width,
                               "albert.encoder.albert_layer_groups.%zu.albert_layers.%zu.%s", group,
                               i, part);
}

static shared_layer bind_layer(nib_build *b, const nib_bert *m, size_t group, size_t i)
{
    size_t w = m->width;
    shared_layer l;

    l.query = linear(b, w, w, "attention.query", group, i);
    l.key = linear(b, w, w, "attention.key", group, i);
    l.value = linear(b, w, w, "attention.value", group, i);
    l.dense = linear(b, w, w, "attention.dense", group, i);
    l.attention_norm = norm(b, w, "attention.LayerNorm", group, i);
    l.in = linear(b, m->inner, w, "ffn", group, i);
    l.out = linear(b, w, m->inner, "ffn_output", group, i);
    l.norm = norm(b, w, "full_layer_layer_norm", group, i);
    return l;
}

/* h = norm(x + attention(x));  y = norm(h + mlp(h)), without dropout of the MLP. */
static nib_value layer(nib_build *b, const nib_bert *m, const shared_layer *l, nib_value x)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads, .full = true,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim),
                                     .drop = { .p = m->attention_dropout } };
    nib_value q = nib_apply_bound_linear(b, x, l->query), k = nib_apply_bound_linear(b, x, l->key);
    nib_value h = nib_attend(b, q, k, nib_apply_bound_linear(b, x, l->value), &attention);

    h = nib_dropout(b, nib_apply_bound_linear(b, h, l->dense), m->dropout);
    h = nib_apply_bound_norm(b, nib_add(b, h, x), l->attention_norm, m->eps);
    x = nib_activate(b, nib_apply_bound_linear(b, h, l->in), m->activation);
    x = nib_add(b, nib_apply_bound_linear(b, x, l->out), h);
    return nib_apply_bound_norm(b, x, l->norm, m->eps);
}

static nib_value encode(nib_build *b, const albert *m, nib_value x)
{
    shared_layer shared[MOST_SHARED];

    for (size_t g = 0; g < m->groups; g++)
        for (size_t i = 0; i < m->each; i++)
            shared[g * m->each + i] = bind_layer(b, &m->bert, g, i);
    for (size_t n = 0; n < m->bert.layers; n++) {
        size_t group = (size_t)((double)n / ((double)m->bert.layers / (double)m->groups));
        nib_segment(b);
        for (size_t i = 0; i < m->each; i++)
            x = layer(b, &m->bert, &shared[group * m->each + i], x);
    }
    nib_segment(b);
    return x;
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const albert *m = config;
    const nib_bert *bert = &m->bert;
    const nib_bert_words words = {
        .dense = "predictions.dense", .norm = "predictions.LayerNorm",
        .head = "predictions.decoder", .bias = "predictions.bias",
        .table = "albert.embeddings.word_embeddings", .width = bert->embedded,
        .activation = bert->activation,
    };
    nib_value x = nib_bert_embed(b, bert);

    x = nib_apply_linear(b, x, bert->width, true, "albert.encoder.embedding_hidden_mapping_in");
    x = encode(b, m, x);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify_pooled(b, bert, x, "albert.pooler");
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, bert, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, bert, x, &words);
}

static const char *const heads[] = { "predictions.", "sop_classifier.", "classifier.",
                                     "qa_outputs.", "albert.pooler.", "pooler.", NULL };
static const char *const types[] = { "albert", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_albert = { .model_types = types, .config_bytes = sizeof(albert),
                                   .read = read_albert, .prefix = "albert.",
                                   .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                            1 << NIB_TASK_FEATURE_EXTRACTION |
                                            1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                   .build = build, .default_targets = targets,
                                   .other_heads = heads };
