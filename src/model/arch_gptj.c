/* arch_gptj.c - GPT-J: attention and MLP read the same norm and are added to the stream
 * together; interleaved rotation of the first channels (formats.md 10.9). */
#include <math.h>

#include "model/arch.h"

typedef struct gptj {
    nib_config c;
    float eps;
    nib_activation activation;
} gptj;

static nib_status read_gptj(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                            nib_error *err)
{
    gptj *m = config;
    nib_config *c = &m->c;
    size_t rotary = 64;
    nib_status status;

    if ((status = nib_config_size(json, where, "vocab_size", 50400, &c->vocabulary, err)) ||
        (status = nib_config_size(json, where, "n_embd", 0, &c->width, err)) ||
        (status = nib_config_size(json, where, "n_layer", 0, &c->layers, err)) ||
        (status = nib_config_size(json, where, "n_head", 0, &c->heads, err)) ||
        (status = nib_config_size(json, where, "n_inner", 4 * c->width, &c->inner, err)) ||
        (status = nib_config_size(json, where, "n_positions", 2048, &c->max_positions, err)) ||
        (status = nib_config_size(json, where, "rotary_dim", 64, &rotary, err)) ||
        (status = nib_config_eps(json, where, "layer_norm_epsilon", 1e-5f, &m->eps, err)) ||
        (status = nib_config_activation(json, where, "activation_function", "gelu_new",
                                        &m->activation, err)) ||
        (status = nib_config_bool(json, where, "tie_word_embeddings", false, &c->tied, err)) ||
        (status = nib_config_heads(c, where, err)))
        return status;
    return nib_config_rope(ctx, json, where, rotary, true, c, err);
}

static nib_value layer(nib_build *b, const void *config, int i, nib_value x)
{
    const gptj *m = config;
    const nib_config *c = &m->c;
    nib_attention_desc attention = { .heads = c->heads, .kv_heads = c->heads, .head_dim = c->head_dim,
                                     .scale = 1 / sqrtf((float)c->head_dim) };

    nib_value h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_1", i);
    nib_value q = nib_apply_linear(b, h, "transformer.h.%d.attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, "transformer.h.%d.attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, "transformer.h.%d.attn.v_proj", i);
    q = nib_rotate(b, q, c->heads, c->head_dim, &c->rope);
    k = nib_rotate(b, k, c->heads, c->head_dim, &c->rope);
    nib_value a = nib_after_attention(b, nib_attend(b, q, k, v, &attention));
    h = nib_after_attention(b, h);
    x = nib_after_attention(b, x);
    a = nib_apply_linear(b, a, "transformer.h.%d.attn.out_proj", i);
    nib_value f = nib_apply_linear(b, h, "transformer.h.%d.mlp.fc_in", i);
    f = nib_apply_linear(b, nib_activate(b, f, m->activation), "transformer.h.%d.mlp.fc_out", i);
    return nib_add(b, x, nib_add(b, a, f));
}

static nib_value back(nib_build *b, const void *config, nib_value x)
{
    const gptj *m = config;
    return nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
}

static bool has_bias(const void *config, const char *module)
{
    (void)config;
    return nib_name_ends(module, ".fc_in") || nib_name_ends(module, ".fc_out") ||
           strcmp(module, "lm_head") == 0;
}

static nib_shape shape(const void *config, const char *module)
{
    const nib_config *c = config;

    if (nib_name_ends(module, ".fc_in")) return (nib_shape){ c->inner, c->width };
    if (nib_name_ends(module, ".fc_out")) return (nib_shape){ c->width, c->inner };
    if (strcmp(module, "lm_head") == 0) return (nib_shape){ c->vocabulary, c->width };
    return (nib_shape){ c->width, c->width }; /* q, k, v and out */
}

static const char *const types[] = { "gptj", NULL };
static const char *const targets[] = { "q_proj", "v_proj", NULL };

const nib_arch nib_arch_gptj = { .model_types = types, .config_bytes = sizeof(gptj), .read = read_gptj,
                                 .prefix = "transformer.", .embedding = "transformer.wte",
                                 .head = "lm_head", .layer = layer, .back = back,
                                 .has_bias = has_bias, .shape = shape, .default_targets = targets };
