/* arch_xglm.c - XGLM: OPT's layer with positions of sines and cosines that no tensor holds
 * (formats.md 10.53).  arXiv:2112.10668. */
#include <math.h>

#include "model/arch.h"

enum { PADDING_POSITIONS = 2 };
static const float EPS = 1e-5f; /* no key has it */

typedef struct xglm {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions;
    bool tied, scaled;
    nib_activation activation;
    const float *frequencies; /* [width / 2] */
} xglm;

/* In float, as the reference makes its table: a step of the exponent is rounded first. */
static const float *make_frequencies(nib_reader *r, size_t width)
{
    size_t half = width / 2;
    float *w = nib_read_alloc(r, nib_max(half, 1), sizeof *w);
    float step = half > 1 ? (float)(log(10000) / (double)(half - 1)) : 0;

    for (size_t j = 0; w && j < half; j++) w[j] = expf((float)j * -step);
    return w;
}

static void read_xglm(nib_reader *r, void *config)
{
    xglm *m = config;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 256008);
    m->width = nib_read_size(r, nib_read_either(r, "d_model", "hidden_size"));
    m->layers = nib_read_layers(r, nib_read_either(r, "num_layers", "num_hidden_layers"));
    m->heads = nib_read_size(r, nib_read_either(r, "attention_heads", "num_attention_heads"));
    m->inner = nib_read_size_or(r, "ffn_dim", 4096);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    m->activation = nib_read_activation(r, "activation_function", "gelu");
    m->scaled = nib_read_bool(r, "scale_embedding", true);
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    nib_read_must_be_off(r, "add_cross_attention", "a decoder that stands alone is known");
    nib_read_any(r, "layerdrop"); /* training from scratch only */
    nib_read_any(r, "init_std");
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    m->frequencies = make_frequencies(r, m->width);
}

static nib_value attend(nib_build *b, const xglm *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim) };

    nib_value q = nib_apply_linear(b, h, m->width, true, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, m->width, true, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, m->width, true, "model.layers.%d.self_attn.v_proj", i);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, true,
                            "model.layers.%d.self_attn.out_proj", i);
}

static nib_value mlp(nib_build *b, const xglm *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, true, "model.layers.%d.fc1", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, true,
                            "model.layers.%d.fc2", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const xglm *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;
    float scale = m->scaled ? sqrtf((float)m->width) : 1;

    (void)task;
    nib_set_positions(b, m->positions);
    if (scale != 1) nib_set_noise_scale(b, 1 / scale); /* the library's embedding multiplies */
    x = nib_add_sinusoid(b, nib_scale(b, x, scale), PADDING_POSITIONS, m->frequencies);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, EPS, "model.layers.%d.self_attn_layer_norm", i);
        x = nib_add(b, x, attend(b, m, i, h));
        h = nib_apply_layer_norm(b, x, EPS, "model.layers.%d.final_layer_norm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, EPS, "model.layer_norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "xglm", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_xglm = { .model_types = types, .config_bytes = sizeof(xglm),
                                 .read = read_xglm, .prefix = "model.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets };
