/* arch_phi3.c - Phi-3, 3.5, 4 and 4-mini: llama's layer with q, k, v in one projection and gate and
 * up in another (formats.md 10.34).  arXiv:2404.14219. */
#include <math.h>

#include "model/arch.h"

typedef struct phi3 {
    size_t vocabulary, width, layers, heads, kv_heads, head_dim, inner, positions, window;
    bool tied;
    float eps;
    nib_activation activation;
    nib_rope rope;
} phi3;

static void read_phi3(nib_reader *r, void *config)
{
    phi3 *m = config;

    m->vocabulary = nib_read_size(r, "vocab_size");
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->kv_heads = nib_read_size_or_null(r, "num_key_value_heads", m->heads, m->heads);
    m->inner = nib_read_size_or(r, "intermediate_size", 8192);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 4096);
    nib_read_any(r, "original_max_position_embeddings"); /* longrope's; written without it too */
    nib_read_any(r, "attention_bias"); /* in published files; there are no biases */
    m->window = nib_read_size_or_null(r, "sliding_window", 0, 0);
    m->eps = nib_read_eps(r, "rms_norm_eps", 1e-5f);
    m->activation = nib_read_activation(r, "hidden_act", "silu");
    m->tied = nib_read_bool(r, "tie_word_embeddings", false);
    m->head_dim = nib_read_own_head_dim(r, m->width, m->heads, false);
    nib_read_check_heads(r, m->heads, m->kv_heads, m->head_dim);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .scaled = true,
                                                .rot = nib_read_rotated(r, m->head_dim, NULL, 1),
                                                .head_dim = m->head_dim, .positions = m->positions,
                                                .original = 4096 });
}

static nib_value attend(nib_build *b, const phi3 *m, int i, nib_value h)
{
    size_t d = m->head_dim, n = m->heads, g = m->kv_heads;
    nib_attention_desc attention = { .heads = n, .kv_heads = g, .head_dim = d, .window = m->window,
                                     .scale = 1 / sqrtf((float)d) };

    nib_value qkv = nib_apply_linear(b, h, (n + 2 * g) * d, false,
                                     "model.layers.%d.self_attn.qkv_proj", i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, nib_plain_heads(n, d));
    nib_value k = nib_heads_of(b, qkv, g, d, n * d, nib_plain_heads(g, d));
    nib_value v = nib_heads_of(b, qkv, g, d, (n + g) * d, nib_plain_heads(g, d));
    q = nib_rotate(b, q, n, d, &m->rope);
    k = nib_rotate(b, k, g, d, &m->rope);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, false,
                            "model.layers.%d.self_attn.o_proj", i);
}

static nib_value mlp(nib_build *b, const phi3 *m, int i, nib_value h)
{
    nib_value both = nib_apply_linear(b, h, 2 * m->inner, false,
                                      "model.layers.%d.mlp.gate_up_proj", i);
    nib_value gate = nib_columns_of(b, both, 0, m->inner);
    nib_value up = nib_columns_of(b, both, m->inner, m->inner);
    return nib_apply_linear(b, nib_gate(b, gate, up, m->activation), m->width, false,
                            "model.layers.%d.mlp.down_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const phi3 *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, attend(b, m, i, h));
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "phi3", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none: target_modules must be given */

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "attn_qkv", "model.layers.%d.self_attn.qkv_proj", NIB_GGUF_AS_IS },
    { "attn_output", "model.layers.%d.self_attn.o_proj", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { "ffn_up", "model.layers.%d.mlp.gate_up_proj", NIB_GGUF_AS_IS },
    { "ffn_down", "model.layers.%d.mlp.down_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_partial(c, "partial_rotary_factor");
    if (nib_gguf_get(c, "attention.sliding_window", 0) == 0)
        nib_gguf_set(c, "sliding_window", json_null());
}

static const nib_gguf_family gguf = {
    .architecture = "phi3", .model_type = "phi3", .class_name = "Phi3ForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_phi3 = { .model_types = types, .config_bytes = sizeof(phi3),
                                 .read = read_phi3, .prefix = "model.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets,
                                 .gguf = &gguf };
