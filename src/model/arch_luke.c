/* arch_luke.c - LUKE: RoBERTa's layers over words and entities, of which the words alone are taken
 * (formats-encoder.md 3.9).  Yamada et al. 2020, arXiv:2010.01057. */
#include "model/arch_bert.h"

typedef struct luke {
    nib_bert bert;
    size_t entity_width;
    bool entity_queries; /* layers have queries for pairs with entities */
} luke;

static void read_luke(nib_reader *r, void *config)
{
    luke *m = config;

    nib_bert_read_keys(r, &m->bert, "luke", true);
    m->bert.vocabulary = nib_read_size_or(r, "vocab_size", 50267);
    m->entity_width = nib_read_size_or(r, "entity_emb_size", 256);
    m->entity_queries = nib_read_bool(r, "use_entity_aware_attention", true);
    nib_read_any(r, "entity_vocab_size");
    nib_read_any(r, "cls_entity_prediction");
}

/* Linears that only entities are read by. */
static void bind_entities(nib_build *b, const luke *m)
{
    static const char *const queries[] = { "w2e_query", "e2w_query", "e2e_query" };
    size_t w = m->bert.width;

    if (m->entity_width != w)
        nib_bind_linear(b, w, m->entity_width, false,
                             "luke.entity_embeddings.entity_embedding_dense");
    for (int i = 0; i < (int)m->bert.layers && m->entity_queries; i++)
        for (size_t q = 0; q < NIB_COUNT(queries); q++)
            nib_bind_linear(b, w, w, true, "luke.encoder.layer.%d.attention.self.%s", i,
                                 queries[q]);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const luke *m = config;
    const nib_bert_words words = {
        .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .head = "lm_head.decoder",
        .bias = "lm_head.bias", .table = "luke.embeddings.word_embeddings",
        .width = m->bert.width, .activation = NIB_ACT_GELU,
    };
    nib_value x = nib_bert_encode(b, &m->bert, nib_bert_embed(b, &m->bert));

    bind_entities(b, m);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify_pooled(b, &m->bert, x, "luke.pooler.dense");
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, &m->bert, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, &m->bert, x, &words);
}

static const char *const heads[] = { "lm_head.", "entity_predictions.", "classifier.",
                                     "qa_outputs.", "luke.pooler.", "pooler.", NULL };
static const char *const entities[] = { "luke.entity_embeddings.", "entity_embeddings.", NULL };
static const char *const fields[] = { "entities", "entity_spans", "entity_ids",
                                      "entity_position_ids", "entity_attention_mask",
                                      "entity_token_type_ids", "entity_start_positions",
                                      "entity_end_positions", NULL };
static const char *const types[] = { "luke", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_luke = { .model_types = types, .config_bytes = sizeof(luke),
                                 .read = read_luke, .prefix = "luke.",
                                 .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                          1 << NIB_TASK_FEATURE_EXTRACTION |
                                          1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                 .build = build, .default_targets = targets,
                                 .other_heads = heads, .other_parts = entities,
                                 .refused_fields = fields };
