/* arch_gpt_neox_japanese.c - GPT-NeoX Japanese: GPT-NeoX's fused q, k and v without biases, but for
 * one that the last layer's attention has apart from its linear (formats.md 10.55). */
#include <math.h>

#include "model/arch.h"

typedef struct japanese {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions;
    bool tied;
    float eps;
    nib_activation activation;
    nib_rope rope;
} japanese;

static void read_japanese(nib_reader *r, void *config)
{
    japanese *m = config;
    double theta = nib_read_float_or(r, "rotary_emb_base", 10000);
    size_t rot;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 32000);
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->inner = m->width * nib_read_size_or(r, "intermediate_multiple_size", 4);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    m->eps = nib_read_eps(r, "layer_norm_eps", 1e-5f);
    m->activation = nib_read_activation(r, "hidden_act", "gelu");
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    rot = nib_read_rotated(r, m->head_dim, "rotary_pct", 1);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = theta, .scaled = true, .rot = rot,
                                                .head_dim = m->head_dim,
                                                .positions = m->positions });
}

static nib_value attend(nib_build *b, const japanese *m, int i, nib_value h)
{
    size_t d = m->head_dim, n = m->heads;
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d) };
    nib_heads each = { .head_stride = 3 * d, .per_group = n };
    static const char dense[] = "gpt_neox_japanese.layers.%d.attention.dense";

    nib_value qkv = nib_apply_linear(b, h, 3 * m->width, false,
                                     "gpt_neox_japanese.layers.%d.attention.query_key_value", i);
    nib_value q = nib_rotate(b, nib_heads_of(b, qkv, n, d, 0, each), n, d, &m->rope);
    nib_value k = nib_rotate(b, nib_heads_of(b, qkv, n, d, d, each), n, d, &m->rope);
    nib_value v = nib_heads_of(b, qkv, n, d, 2 * d, each);
    nib_value a = nib_attend(b, q, k, v, &attention);
    return i + 1 < (int)m->layers
               ? nib_apply_linear(b, a, m->width, false, dense, i)
               : nib_apply_linear_bias_of(b, a, m->width,
                                          "gpt_neox_japanese.layers.%d.attention.dense_bias",
                                          dense, i);
}

static nib_value mlp(nib_build *b, const japanese *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, false, "gpt_neox_japanese.layers.%d.mlp.dense_h_to_4h", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, false,
                            "gpt_neox_japanese.layers.%d.mlp.dense_4h_to_h", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const japanese *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "gpt_neox_japanese.embed_in"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, m->eps, "gpt_neox_japanese.layers.%d.input_layernorm", i);
        x = nib_add(b, x, attend(b, m, i, h));
        h = nib_apply_layer_norm(b, x, m->eps,
                                 "gpt_neox_japanese.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "gpt_neox_japanese.final_layer_norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "gpt_neox_japanese.embed_in" : NULL },
             "embed_out");
}

static const char *const types[] = { "gpt_neox_japanese", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_gpt_neox_japanese = { .model_types = types,
                                              .config_bytes = sizeof(japanese),
                                              .read = read_japanese,
                                              .prefix = "gpt_neox_japanese.",
                                              .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                              .default_targets = targets };
