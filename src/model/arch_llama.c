/* arch_llama.c - Llama 1 to 3, TinyLlama, SmolLM2, open_llama (formats.md 10.4).
 * Touvron et al. 2023, arXiv:2302.13971. */
#include "model/arch_llama.h"

#include <math.h>

nib_status nib_llama_read(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                          nib_error *err)
{
    nib_llama *m = config;
    nib_config *c = &m->c;
    int64_t kv_heads = 0, head_dim = 0;
    bool attention_bias;
    nib_status status;

    if ((status = nib_config_size(json, where, "vocab_size", 0, &c->vocabulary, err)) ||
        (status = nib_config_size(json, where, "hidden_size", 0, &c->width, err)) ||
        (status = nib_config_size(json, where, "num_hidden_layers", 0, &c->layers, err)) ||
        (status = nib_config_size(json, where, "num_attention_heads", 0, &c->heads, err)) ||
        (status = nib_json_get_int(json, where, "num_key_value_heads", 1, 1 << 20, &kv_heads,
                                   err)) ||
        (status = nib_json_get_int(json, where, "head_dim", 1, 1 << 20, &head_dim, err)) ||
        (status = nib_config_size(json, where, "intermediate_size", 11008, &c->inner, err)) ||
        (status = nib_config_size(json, where, "max_position_embeddings", 2048, &c->max_positions,
                                  err)) ||
        (status = nib_config_eps(json, where, "rms_norm_eps", 1e-6f, &m->eps, err)) ||
        (status = nib_config_activation(json, where, "hidden_act", "silu", &m->activation, err)) ||
        (status = nib_config_bool(json, where, "attention_bias", false, &attention_bias, err)) ||
        (status = nib_config_bool(json, where, "mlp_bias", false, &m->mlp_bias, err)) ||
        (status = nib_config_bool(json, where, "tie_word_embeddings", false, &c->tied, err)))
        return status;
    m->qkv_bias = m->o_bias = attention_bias;
    c->kv_heads = (size_t)kv_heads;
    c->head_dim = (size_t)head_dim;
    if ((status = nib_config_heads(c, where, err))) return status;
    return nib_config_rope(ctx, json, where, c->head_dim, false, c, err);
}

/* h = x + o(attention(norm(x)));  y = h + down(act(gate(norm(h))) * up(norm(h))). */
nib_value nib_llama_layer(nib_build *b, const void *config, int layer, nib_value x)
{
    const nib_llama *m = config;
    const nib_config *c = &m->c;
    nib_attention_desc attention = { .heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
                                     .scale = 1 / sqrtf((float)c->head_dim),
                                     .window = (size_t)layer >= m->first_window ? m->window : 0 };

    nib_value h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", layer);
    nib_value q = nib_apply_linear(b, h, "model.layers.%d.self_attn.q_proj", layer);
    nib_value k = nib_apply_linear(b, h, "model.layers.%d.self_attn.k_proj", layer);
    nib_value v = nib_apply_linear(b, h, "model.layers.%d.self_attn.v_proj", layer);
    q = nib_rotate(b, q, c->heads, c->head_dim, &c->rope);
    k = nib_rotate(b, k, c->kv_heads, c->head_dim, &c->rope);
    nib_value a = nib_after_attention(b, nib_attend(b, q, k, v, &attention));
    x = nib_after_attention(b, x);
    x = nib_add(b, x, nib_apply_linear(b, a, "model.layers.%d.self_attn.o_proj", layer));

    h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", layer);
    nib_value gate = nib_apply_linear(b, h, "model.layers.%d.mlp.gate_proj", layer);
    nib_value up = nib_apply_linear(b, h, "model.layers.%d.mlp.up_proj", layer);
    h = nib_gate(b, gate, up, m->activation);
    return nib_add(b, x, nib_apply_linear(b, h, "model.layers.%d.mlp.down_proj", layer));
}

nib_value nib_llama_back(nib_build *b, const void *config, nib_value x)
{
    const nib_llama *m = config;
    return nib_apply_rms_norm(b, x, m->eps, "model.norm");
}

bool nib_llama_has_bias(const void *config, const char *module)
{
    const nib_llama *m = config;

    if (nib_name_ends(module, ".q_proj") || nib_name_ends(module, ".k_proj") ||
        nib_name_ends(module, ".v_proj"))
        return m->qkv_bias;
    if (nib_name_ends(module, ".o_proj")) return m->o_bias;
    return nib_name_ends(module, "_proj") && m->mlp_bias;
}

nib_shape nib_llama_shape(const void *config, const char *module)
{
    const nib_config *c = config;

    if (nib_name_ends(module, ".q_proj")) return (nib_shape){ c->heads * c->head_dim, c->width };
    if (nib_name_ends(module, ".k_proj") || nib_name_ends(module, ".v_proj"))
        return (nib_shape){ c->kv_heads * c->head_dim, c->width };
    if (nib_name_ends(module, ".o_proj")) return (nib_shape){ c->width, c->heads * c->head_dim };
    if (nib_name_ends(module, ".gate_proj") || nib_name_ends(module, ".up_proj"))
        return (nib_shape){ c->inner, c->width };
    if (nib_name_ends(module, ".down_proj")) return (nib_shape){ c->width, c->inner };
    if (strcmp(module, "lm_head") == 0) return (nib_shape){ c->vocabulary, c->width };
    return (nib_shape){ 0, 0 };
}

const char *const nib_llama_targets[] = { "q_proj", "v_proj", NULL };
static const char *const types[] = { "llama", NULL };

const nib_arch nib_arch_llama = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = nib_llama_read, .prefix = "model.",
                                  .embedding = "model.embed_tokens", .head = "lm_head",
                                  .layer = nib_llama_layer, .back = nib_llama_back,
                                  .has_bias = nib_llama_has_bias, .shape = nib_llama_shape, .default_targets = nib_llama_targets };
