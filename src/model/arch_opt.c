/* arch_opt.c - OPT: learned positions after two for padding; the 350M form norms after each half of
 * a layer and has narrower embeddings (formats.md 10.14).  arXiv:2205.01068. */
#include <math.h>

#include "model/arch.h"

enum { PADDING_POSITIONS = 2 };
static const float EPS = 1e-5f; /* no key has it */

typedef struct opt {
    size_t vocabulary, width, embedded, layers, heads, head_dim, inner, positions;
    bool tied, before, bias, final_norm;
    nib_activation activation;
} opt;

static void read_opt(nib_reader *r, void *config)
{
    opt *m = config;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50272);
    m->width = nib_read_size(r, "hidden_size");
    m->embedded = nib_read_size_or_null(r, "word_embed_proj_dim", m->width, m->width);
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->inner = nib_read_size_or(r, "ffn_dim", 3072);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    m->activation = nib_read_activation(r, "activation_function", "relu");
    m->before = nib_read_bool(r, "do_layer_norm_before", true);
    m->bias = nib_read_bool(r, "enable_bias", true);
    m->final_norm = !nib_read_bool(r, "_remove_final_layer_norm", false) && m->before;
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    if (!nib_read_bool(r, "layer_norm_elementwise_affine", true))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "layer_norm_elementwise_affine is false: norms without "
                      "weights are not known");
    nib_read_any(r, "layerdrop"); /* training from scratch only */
    nib_read_any(r, "init_std");
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
}

static nib_value attend(nib_build *b, const opt *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t w = m->width;

    nib_value q = nib_apply_linear(b, h, w, m->bias, "model.decoder.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, w, m->bias, "model.decoder.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, w, m->bias, "model.decoder.layers.%d.self_attn.v_proj", i);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), w, m->bias,
                            "model.decoder.layers.%d.self_attn.out_proj", i);
}

static nib_value mlp(nib_build *b, const opt *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, m->bias, "model.decoder.layers.%d.fc1", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, m->bias,
                            "model.decoder.layers.%d.fc2", i);
}

static nib_value layer(nib_build *b, const opt *m, int i, nib_value x)
{
    static const char *const first = "model.decoder.layers.%d.self_attn_layer_norm";
    static const char *const second = "model.decoder.layers.%d.final_layer_norm";
    nib_value h = m->before ? nib_apply_layer_norm(b, x, EPS, first, i) : x;

    x = nib_add(b, x, attend(b, m, i, h));
    if (!m->before) x = nib_apply_layer_norm(b, x, EPS, first, i);
    h = m->before ? nib_apply_layer_norm(b, x, EPS, second, i) : x;
    x = nib_add(b, x, mlp(b, m, i, h));
    return m->before ? x : nib_apply_layer_norm(b, x, EPS, second, i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const opt *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->embedded, "model.decoder.embed_tokens");

    (void)task;
    nib_set_positions(b, m->positions);
    if (m->embedded != m->width)
        x = nib_apply_linear(b, x, m->width, false, "model.decoder.project_in");
    x = nib_add(b, x, nib_embed_offset(b, NIB_POSITIONS, PADDING_POSITIONS,
                                       m->positions + PADDING_POSITIONS, m->width,
                                       "model.decoder.embed_positions"));
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    if (m->final_norm) x = nib_apply_layer_norm(b, x, EPS, "model.decoder.final_layer_norm");
    if (m->embedded != m->width)
        x = nib_apply_linear(b, x, m->embedded, false, "model.decoder.project_out");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.decoder.embed_tokens" : NULL },
             "lm_head");
}

static const char *const types[] = { "opt", NULL };
static const char *const targets[] = { "q_proj", "v_proj", NULL };

const nib_arch nib_arch_opt = { .model_types = types, .config_bytes = sizeof(opt),
                                .read = read_opt, .prefix = "model.",
                                .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                .default_targets = targets };
