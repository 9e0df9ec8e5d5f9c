/* arch_electra.c - ELECTRA: BERT's layers behind embeddings that may be narrower
 * (formats-encoder.md 3.2).  Clark et al. 2020, arXiv:2003.10555. */
#include "model/arch_bert.h"

static void read_electra(nib_reader *r, void *config)
{
    nib_bert *m = config;

    nib_bert_read_keys(r, m, "electra", false);
    m->embedded = nib_read_size_or(r, "embedding_size", 128);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_bert *m = config;
    const nib_bert_words words = {
        .dense = "generator_predictions.dense", .norm = "generator_predictions.LayerNorm",
        .head = "generator_lm_head", .bias = "generator_lm_head.bias",
        .table = "electra.embeddings.word_embeddings", .width = m->embedded,
        .activation = NIB_ACT_GELU,
    };
    nib_value x = nib_bert_embed(b, m);

    if (m->embedded != m->width)
        x = nib_apply_linear(b, x, m->width, true, "electra.embeddings_project");
    x = nib_bert_encode(b, m, x);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, m, x, NIB_ACT_GELU);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, m, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, m, x, &words);
}

static const char *const heads[] = { "generator_", "discriminator_predictions.", "classifier.",
                                     "qa_outputs.", NULL };
static const char *const types[] = { "electra", NULL };
static const char *const targets[] = { "query", "value", NULL };

const nib_arch nib_arch_electra = { .model_types = types, .config_bytes = sizeof(nib_bert),
                                    .read = read_electra, .prefix = "electra.",
                                    .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                             1 << NIB_TASK_FEATURE_EXTRACTION |
                                             1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                    .build = build, .default_targets = targets,
                                    .other_heads = heads };
