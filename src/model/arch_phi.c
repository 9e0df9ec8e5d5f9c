/* arch_phi.c - Phi-1, 1.5 and 2: one layer norm for attention and feed-forward, which are added
 * together; a part of each head is rotated (formats.md 10.35).  arXiv:2309.05463. */
#include <math.h>

#include "model/arch_llama.h"

static nib_value norm_heads(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                            size_t heads)
{
    return nib_apply_layer_norm_heads(b, x, heads, NIB_NORM_SHARED, true, m->eps,
                                      "model.layers.%d.self_attn.%c_layernorm", i, of);
}

static void read_phi(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.eps_key = "layer_norm_eps";
    keys.eps = 1e-5f;
    keys.no_null_head_dim = true;
    keys.activation = "gelu_new";
    keys.partial = 0.5;
    keys.inner = 8192;
    nib_llama_read_keys(r, m, &keys);
    if (nib_read_bool(r, "qk_layernorm", false)) m->head_norm = norm_heads;
}

static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;

    nib_value q = nib_apply_linear(b, h, q_width, true, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, true, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, true, "model.layers.%d.self_attn.v_proj", i);
    if (m->head_norm) {
        q = m->head_norm(b, m, i, 'q', q, m->heads);
        k = m->head_norm(b, m, i, 'k', k, m->kv_heads);
    }
    q = nib_rotate(b, q, m->heads, m->head_dim, &m->rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, &m->rope);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, true,
                            "model.layers.%d.self_attn.dense", i);
}

static nib_value mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, true, "model.layers.%d.mlp.fc1", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, true,
                            "model.layers.%d.mlp.fc2", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        nib_value h = nib_apply_layer_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        nib_value a = attend(b, m, i, h);
        x = nib_add(b, x, nib_add(b, a, mlp(b, m, i, h)));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "model.final_layernorm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary, .bias = true,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "phi", NULL };
static const char *const targets[] = { "q_proj", "v_proj", "fc1", "fc2", NULL };

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "model.embed_tokens", NIB_GGUF_AS_IS },
    { "output_norm", "model.final_layernorm", NIB_GGUF_AS_IS },
    { "output", "lm_head", NIB_GGUF_AS_IS },
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "attn_q", "model.layers.%d.self_attn.q_proj", NIB_GGUF_AS_IS },
    { "attn_k", "model.layers.%d.self_attn.k_proj", NIB_GGUF_AS_IS },
    { "attn_v", "model.layers.%d.self_attn.v_proj", NIB_GGUF_AS_IS },
    { "attn_output", "model.layers.%d.self_attn.dense", NIB_GGUF_AS_IS },
    { "ffn_up", "model.layers.%d.mlp.fc1", NIB_GGUF_AS_IS },
    { "ffn_down", "model.layers.%d.mlp.fc2", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.layer_norm_epsilon", "layer_norm_eps" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_inner(c, "intermediate_size");
    nib_gguf_set_partial(c, "partial_rotary_factor");
}

static const nib_gguf_family gguf = {
    .architecture = "phi2", .model_type = "phi", .class_name = "PhiForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_phi = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                .read = read_phi, .prefix = "model.",
                                .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                .default_targets = targets,
                                .gguf = &gguf };
