/* arch_roberta.c - RoBERTa and XLM-RoBERTa: BERT's layers, positions that begin behind the
 * padding's (formats-encoder.md 2.2, 3.13).  Liu et al. 2019, arXiv:1907.11692; Conneau et al.
 * 2019, arXiv:1911.02116. */
#include "model/arch_bert.h"

static void read_roberta(nib_reader *r, void *config)
{
    nib_bert_read_keys(r, config, "roberta", true);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_bert *m = config;
    const nib_bert_words words = {
        .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .head = "lm_head.decoder",
        .bias = "lm_head.bias", .table = "roberta.embeddings.word_embeddings", .width = m->width,
        .activation = NIB_ACT_GELU,
    };
    nib_value x = nib_bert_encode(b, m, nib_bert_embed(b, m));

    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, m, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, m, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, m, x, &words);
}

/* It is bert there, with positions from 0 on: arch_bert.c reads it. */
static const nib_gguf_name gguf_names[] = {
    NIB_BERT_GGUF_NAMES("roberta", NIB_GGUF_FROM_FIRST), { 0 },
};
static const nib_gguf_family gguf = {
    .architecture = "bert", .model_type = "roberta", .class_name = "RobertaModel",
    .names = gguf_names, .keys = nib_bert_gguf_keys, .full = true,
};

static const char *const heads[] = { "lm_head.", "classifier.", "qa_outputs.",
                                     "roberta.pooler.", "pooler.", NULL };
static const char *const types[] = { "roberta", "xlm-roberta", NULL };
static const char *const targets[] = { "query", "value", NULL };

const nib_arch nib_arch_roberta = { .model_types = types, .config_bytes = sizeof(nib_bert),
                                    .read = read_roberta, .prefix = "roberta.",
                                    .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                             1 << NIB_TASK_FEATURE_EXTRACTION |
                                             1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                    .build = build, .default_targets = targets,
                                    .other_heads = heads, .gguf = &gguf };
