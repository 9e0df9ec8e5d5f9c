/* arch_rwkv.c - RWKV-4 ("Pile", "Raven"): no attention, but averages over time channel by channel,
 * of tokens that are mixed with the one before (formats.md 10.54).  Peng et al. 2023,
 * arXiv:2305.13048. */
#include "model/arch.h"

typedef struct rwkv {
    size_t vocabulary, width, layers, inner, positions;
    bool tied;
    float eps;
} rwkv;

static void read_rwkv(nib_reader *r, void *config)
{
    rwkv *m = config;
    size_t own;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50277);
    m->width = nib_read_size_or(r, "hidden_size", 4096);
    m->layers = nib_read_layers(r, "num_hidden_layers");
    own = nib_read_size_or_null(r, "attention_hidden_size", m->width, m->width);
    if (!r->status && own != m->width)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "attention_hidden_size is %zu, hidden_size %zu: the "
                      "library cannot generate with two widths", own, m->width);
    m->inner = nib_read_size_or_null(r, "intermediate_size", 4 * m->width, 4 * m->width);
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->positions = nib_read_size_or(r, "context_length", 1024); /* trained for; no limit */
    m->tied = nib_read_bool(r, "tie_word_embeddings", false);
    nib_read_any(r, "rescale_every"); /* halves the stream so that float16 does not overflow */
}

/* x and the row before it, mixed and through a linear. */
static nib_value mixed(nib_build *b, nib_value x, size_t out, const char *half, const char *name,
                       int i)
{
    x = nib_mix_before(b, x, "rwkv.blocks.%d.%s.time_mix_%s", i, half, name);
    return nib_apply_linear(b, x, out, false, "rwkv.blocks.%d.%s.%s", i, half, name);
}

static nib_value average(nib_build *b, const rwkv *m, int i, nib_value h)
{
    nib_value k = mixed(b, h, m->width, "attention", "key", i);
    nib_value v = mixed(b, h, m->width, "attention", "value", i);
    nib_value r = mixed(b, h, m->width, "attention", "receptance", i);
    nib_value y = nib_average_before(b, k, v, "rwkv.blocks.%d.attention", i);
    y = nib_gate(b, r, y, NIB_ACT_SIGMOID);
    return nib_apply_linear(b, y, m->width, false, "rwkv.blocks.%d.attention.output", i);
}

/* sigmoid(r) * value(relu(k)^2) */
static nib_value feed_forward(nib_build *b, const rwkv *m, int i, nib_value h)
{
    nib_value k = mixed(b, h, m->inner, "feed_forward", "key", i);
    nib_value r = mixed(b, h, m->width, "feed_forward", "receptance", i);
    nib_value v = nib_gate(b, k, k, NIB_ACT_RELU);
    v = nib_apply_linear(b, v, m->width, false, "rwkv.blocks.%d.feed_forward.value", i);
    return nib_gate(b, r, v, NIB_ACT_SIGMOID);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const rwkv *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "rwkv.embeddings"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        if (i == 0) x = nib_apply_layer_norm(b, x, m->eps, "rwkv.blocks.0.pre_ln");
        h = nib_apply_layer_norm(b, x, m->eps, "rwkv.blocks.%d.ln1", i);
        x = nib_add(b, x, average(b, m, i, h));
        h = nib_apply_layer_norm(b, x, m->eps, "rwkv.blocks.%d.ln2", i);
        x = nib_add(b, x, feed_forward(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, 1e-5f, "rwkv.ln_out"); /* whatever layer_norm_epsilon says */
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "rwkv.embeddings" : NULL }, "head");
}

static const char *const types[] = { "rwkv", NULL };
static const char *const targets[] = { "key", "value", "receptance", "output", NULL };

const nib_arch nib_arch_rwkv = { .model_types = types, .config_bytes = sizeof(rwkv),
                                 .read = read_rwkv, .prefix = "rwkv.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets };
