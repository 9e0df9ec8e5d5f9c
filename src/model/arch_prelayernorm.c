/* arch_prelayernorm.c - RoBERTa-PreLayerNorm: norms before each half of a layer, and one behind
 * the last (formats-encoder.md 3.7).  Ott et al. 2019, arXiv:1904.01038. */
#include "model/arch_bert.h"

#define PREFIX "roberta_prelayernorm"

static void read_prelayernorm(nib_reader *r, void *config)
{
    nib_bert_read_keys(r, config, PREFIX, true);
}

/* h = x + attention(norm(x));  y = h + mlp(norm(h)). */
static nib_value layer(nib_build *b, const nib_bert *m, int i, nib_value x)
{
    nib_value h = nib_apply_layer_norm(b, x, m->eps, PREFIX ".encoder.layer.%d.attention.LayerNorm",
                                       i);
    x = nib_add(b, nib_bert_attend(b, m, i, h), x);
    h = nib_apply_layer_norm(b, x, m->eps, PREFIX ".encoder.layer.%d.intermediate.LayerNorm", i);
    h = nib_apply_linear(b, h, m->inner, true, PREFIX ".encoder.layer.%d.intermediate.dense", i);
    h = nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, true,
                         PREFIX ".encoder.layer.%d.output.dense", i);
    return nib_add(b, nib_dropout(b, h, m->dropout), x);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_bert *m = config;
    const nib_bert_words words = {
        .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .head = "lm_head.decoder",
        .bias = "lm_head.bias", .table = PREFIX ".embeddings.word_embeddings", .width = m->width,
        .activation = NIB_ACT_GELU,
    };
    nib_value x = nib_bert_embed(b, m);

    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, PREFIX ".LayerNorm");
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, m, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, m, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, m, x, &words);
}

static const char *const heads[] = { "lm_head.", "classifier.", "qa_outputs.", PREFIX ".pooler.",
                                     "pooler.", NULL };
static const char *const types[] = { "roberta-prelayernorm", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_prelayernorm = { .model_types = types, .config_bytes = sizeof(nib_bert),
                                         .read = read_prelayernorm, .prefix = PREFIX ".",
                                         .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                                  1 << NIB_TASK_FEATURE_EXTRACTION |
                                                  1 << NIB_TASK_MASKED_LM |
                                                  1 << NIB_TASK_QUESTION_ANS,
                                         .build = build, .other_heads = heads,
                                         .default_targets = targets };
