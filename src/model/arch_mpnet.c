/* arch_mpnet.c - MPNet: BERT's layers with numbers by distance in the attention, one table for all
 * layers, and RoBERTa's positions (formats-encoder.md 3.3).  Song et al. 2020, arXiv:2004.09297. */
#include <math.h>

#include "model/arch_bert.h"

/* The model's own, whatever the table's rows. */
enum { BUCKETS = 32, REACH = 128, PADDING = 1 };

typedef struct mpnet {
    nib_bert bert;
    size_t rows; /* of the table */
} mpnet;

static void read_mpnet(nib_reader *r, void *config)
{
    mpnet *m = config;

    nib_bert_read_keys(r, &m->bert, "mpnet", true);
    m->bert.vocabulary = nib_read_size_or(r, "vocab_size", 30527);
    m->bert.types = 0;
    m->bert.head_dropout = m->bert.dropout; /* classifier_dropout is not looked at */
    m->bert.first = PADDING + 1; /* whatever pad_token_id is */
    m->rows = nib_read_size_or(r, "relative_attention_num_buckets", BUCKETS);
    if (!r->status && m->rows < BUCKETS)
        nib_read_fail(r, NIB_E_FORMAT, "relative_attention_num_buckets is %zu, distances are in %d",
                      m->rows, (int)BUCKETS);
    if (!r->status && m->bert.positions <= m->bert.first)
        nib_read_fail(r, NIB_E_FORMAT, "max_position_embeddings %zu, but positions begin at %zu",
                      m->bert.positions, m->bert.first);
}

static nib_value attend(nib_build *b, const nib_bert *m, const nib_vector *table, int i,
                        nib_value x)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads, .full = true,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim),
                                     .buckets = table, .bucket_count = BUCKETS,
                                     .bucket_reach = REACH,
                                     .drop = { .p = m->attention_dropout } };
    size_t w = m->width;

    nib_value q = nib_apply_linear(b, x, w, true, "mpnet.encoder.layer.%d.attention.attn.q", i);
    nib_value k = nib_apply_linear(b, x, w, true, "mpnet.encoder.layer.%d.attention.attn.k", i);
    nib_value v = nib_apply_linear(b, x, w, true, "mpnet.encoder.layer.%d.attention.attn.v", i);
    x = nib_apply_linear(b, nib_attend(b, q, k, v, &attention), w, true,
                         "mpnet.encoder.layer.%d.attention.attn.o", i);
    return nib_dropout(b, x, m->dropout);
}

/* h = norm(x + attention(x));  y = norm(h + mlp(h)). */
static nib_value layer(nib_build *b, const nib_bert *m, const nib_vector *table, int i,
                       nib_value x)
{
    nib_value h = nib_add(b, attend(b, m, table, i, x), x);
    h = nib_apply_layer_norm(b, h, m->eps, "mpnet.encoder.layer.%d.attention.LayerNorm", i);
    nib_value f = nib_apply_linear(b, h, m->inner, true,
                                   "mpnet.encoder.layer.%d.intermediate.dense", i);
    f = nib_apply_linear(b, nib_activate(b, f, m->activation), m->width, true,
                         "mpnet.encoder.layer.%d.output.dense", i);
    f = nib_dropout(b, f, m->dropout);
    return nib_apply_layer_norm(b, nib_add(b, f, h), m->eps,
                                "mpnet.encoder.layer.%d.output.LayerNorm", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const mpnet *m = config;
    const nib_bert_words words = {
        .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .head = "lm_head.decoder",
        .bias = "lm_head.bias", .table = "mpnet.embeddings.word_embeddings",
        .width = m->bert.width, .activation = NIB_ACT_GELU,
    };
    nib_value x = nib_bert_embed(b, &m->bert);
    const nib_vector *table = nib_bind_table(b, m->rows, m->bert.heads,
                                             "mpnet.encoder.relative_attention_bias.weight");

    for (int i = 0; i < (int)m->bert.layers; i++) {
        nib_segment(b);
        x = layer(b, &m->bert, table, i, x);
    }
    nib_segment(b);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, &m->bert, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, &m->bert, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, &m->bert, x, &words);
}

static const char *const heads[] = { "lm_head.", "classifier.", "qa_outputs.", "mpnet.pooler.",
                                     "pooler.", NULL };
static const char *const types[] = { "mpnet", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_mpnet = { .model_types = types, .config_bytes = sizeof(mpnet),
                                  .read = read_mpnet, .prefix = "mpnet.",
                                  .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                           1 << NIB_TASK_FEATURE_EXTRACTION |
                                           1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                  .build = build, .default_targets = targets,
                                  .other_heads = heads };
