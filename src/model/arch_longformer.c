/* arch_longformer.c - Longformer: RoBERTa's layers whose tokens see a window, and each other
 * through tokens that see all (formats-encoder.md 3.11).  Beltagy et al. 2020, arXiv:2004.05150.
 *
 * A token that sees all has projections of its own, of itself and of what it sees; the others see
 * it through theirs.  Of a sequence's classifier that is the first token; else there is none. */
#include <math.h>

#include "model/arch_bert.h"

typedef struct longformer {
    nib_bert bert;
    const size_t *windows; /* [layers] how far a layer's tokens see, on each side */
} longformer;

static void read_windows(nib_reader *r, longformer *m)
{
    const json_t *j = nib_read_any(r, "attention_window");
    size_t layers = m->bert.layers, *windows;

    if (r->status) return;
    m->windows = windows = nib_read_alloc(r, layers, sizeof *windows);
    if (!windows) return;
    if (json_is_array(j) && json_array_size(j) != layers) {
        nib_read_fail(r, NIB_E_FORMAT, "attention_window is a list of %zu, expected one of %zu "
                      "layers", json_array_size(j), layers);
        return;
    }
    for (size_t i = 0; i < layers && !r->status; i++) {
        const json_t *one = json_is_array(j) ? json_array_get(j, i) : j;
        json_int_t window = one ? json_integer_value(one) : 512;

        if ((one && !json_is_integer(one)) || window < 2 || window % 2 || window > 1 << 30)
            nib_read_fail(r, NIB_E_FORMAT, "attention_window of layer %zu is %" JSON_INTEGER_FORMAT
                          ", expected an even number from 2 on", i, window);
        windows[i] = (size_t)window / 2;
    }
}

static void read_longformer(nib_reader *r, void *config)
{
    longformer *m = config;

    nib_bert_read_keys(r, &m->bert, "longformer", true);
    m->bert.vocabulary = nib_read_size_or(r, "vocab_size", 30522);
    m->bert.head_dropout = m->bert.dropout; /* classifier_dropout is not looked at */
    read_windows(r, m);
    nib_read_any(r, "attention_mode"); /* of older classes */
    nib_read_any(r, "attention_dilation");
    nib_read_any(r, "ignore_attention_mask");
    nib_read_any(r, "onnx_export");
}

static nib_value project(nib_build *b, const nib_bert *m, const char *part, int i, nib_value x)
{
    return nib_apply_linear(b, x, m->width, true, "longformer.encoder.layer.%d.attention.self.%s",
                            i, part);
}

/* Attention of a layer with `globals` tokens that see all. */
static nib_value attend(nib_build *b, const longformer *m, int i, size_t globals, nib_value x)
{
    static const char *const idle[] = { "query_global", "key_global", "value_global" };
    const nib_bert *bert = &m->bert;
    nib_attention_desc d = { .heads = bert->heads, .kv_heads = bert->heads, .full = true,
                             .head_dim = bert->head_dim, .window = m->windows[i] + 1,
                             .scale = 1 / sqrtf((float)bert->head_dim), .globals = globals,
                             .drop = { .p = bert->attention_dropout } };
    nib_value q = project(b, bert, "query", i, x), k = project(b, bert, "key", i, x);
    nib_value v = project(b, bert, "value", i, x), a = nib_attend(b, q, k, v, &d);

    if (!globals) {
        for (size_t p = 0; p < NIB_COUNT(idle); p++)
            nib_bind_linear(b, bert->width, bert->width, true,
                                 "longformer.encoder.layer.%d.attention.self.%s", i, idle[p]);
        return a;
    }
    q = project(b, bert, "query_global", i, x);
    k = project(b, bert, "key_global", i, x);
    v = project(b, bert, "value_global", i, x);
    d.window = 0;
    d.of_globals = true;
    return nib_add(b, a, nib_attend(b, q, k, v, &d));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const longformer *m = config;
    const nib_bert *bert = &m->bert;
    const nib_bert_words words = {
        .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .head = "lm_head.decoder",
        .bias = "lm_head.bias", .table = "longformer.embeddings.word_embeddings",
        .width = bert->width, .activation = NIB_ACT_GELU,
    };
    size_t globals = task == NIB_TASK_SEQ_CLS;
    nib_value x = nib_bert_embed(b, bert);

    for (int i = 0; i < (int)bert->layers; i++) {
        nib_segment(b);
        x = nib_bert_finish_layer(b, bert, i, attend(b, m, i, globals, x), x);
    }
    nib_segment(b);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, bert, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, bert, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, bert, x, &words);
}

static const char *const heads[] = { "lm_head.", "classifier.", "qa_outputs.",
                                     "longformer.pooler.", "pooler.", NULL };
static const char *const types[] = { "longformer", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_longformer = { .model_types = types, .config_bytes = sizeof(longformer),
                                       .read = read_longformer, .prefix = "longformer.",
                                       .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                                1 << NIB_TASK_FEATURE_EXTRACTION |
                                                1 << NIB_TASK_MASKED_LM,
                                       .build = build, .default_targets = targets,
                                       .other_heads = heads };
