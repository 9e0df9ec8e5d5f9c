/* arch_falcon.c - Falcon: the 7B form (multi-query, parallel), the new decoder architecture
 * (grouped heads, one or two norms) and the RW form (ALiBi, one after the other);
 * formats.md 10.13.  Almazrouei et al. 2023, arXiv:2311.16867. */
#include <math.h>

#include "base/dtype.h"
#include "model/arch.h"

enum { MOST_HEADS = 1024 };

typedef struct falcon {
    nib_config c;
    float eps;
    nib_activation activation;
    bool grouped;     /* new_decoder_architecture */
    bool multi_query, parallel, bias, alibi;
    size_t norms;     /* in a parallel layer: 2 are ln_attn and ln_mlp */
    float slopes[MOST_HEADS];
} falcon;

/* Press et al. 2021, arXiv:2108.12409; rounded to bfloat16 as the reference does. */
static void make_slopes(falcon *m)
{
    size_t power = 1, n = m->c.heads, count = 0;
    double base, between;

    while (power * 2 <= n) power *= 2;
    base = exp2(-exp2(-(log2((double)power) - 3)));
    between = exp2(-exp2(-(log2((double)(2 * power)) - 3)));
    for (size_t i = 1; i <= power; i++) m->slopes[count++] = (float)pow(base, (double)i);
    for (size_t i = 1; count < n; i += 2) m->slopes[count++] = (float)pow(between, (double)i);
    for (size_t i = 0; i < n; i++) m->slopes[i] = nib_round_bf16(m->slopes[i]);
}

static nib_status read_falcon(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                              nib_error *err)
{
    falcon *m = config;
    nib_config *c = &m->c;
    const char *layers = json_object_get(json, "num_hidden_layers") ? "num_hidden_layers"
                                                                    : "n_layer";
    const char *heads = json_object_get(json, "num_attention_heads") ? "num_attention_heads"
                                                                     : "n_head";
    const char *kv = json_object_get(json, "num_kv_heads") ? "num_kv_heads" : "n_head_kv";
    int64_t kv_heads = 0, norms = 2;
    nib_status status;

    if ((status = nib_config_size(json, where, "vocab_size", 0, &c->vocabulary, err)) ||
        (status = nib_config_size(json, where, "hidden_size", 0, &c->width, err)) ||
        (status = nib_config_size(json, where, layers, 0, &c->layers, err)) ||
        (status = nib_config_size(json, where, heads, 0, &c->heads, err)) ||
        (status = nib_json_get_int(json, where, kv, 1, 1 << 20, &kv_heads, err)) ||
        (status = nib_config_size(json, where, "ffn_hidden_size", 4 * c->width, &c->inner, err)) ||
        (status = nib_config_size(json, where, "max_position_embeddings", 2048, &c->max_positions,
                                  err)) ||
        (status = nib_config_eps(json, where, "layer_norm_epsilon", 1e-5f, &m->eps, err)) ||
        (status = nib_config_activation(json, where, "activation", "gelu", &m->activation, err)) ||
        (status = nib_config_bool(json, where, "new_decoder_architecture", false, &m->grouped,
                                  err)) ||
        (status = nib_config_bool(json, where, "multi_query", true, &m->multi_query, err)) ||
        (status = nib_config_bool(json, where, "parallel_attn", true, &m->parallel, err)) ||
        (status = nib_config_bool(json, where, "bias", false, &m->bias, err)) ||
        (status = nib_config_bool(json, where, "alibi", false, &m->alibi, err)) ||
        (status = nib_json_get_int(json, where, "num_ln_in_parallel_attn", 1, 2, &norms, err)) ||
        (status = nib_config_bool(json, where, "tie_word_embeddings", true, &c->tied, err)))
        return status;
    m->parallel |= m->grouped;
    m->norms = m->grouped ? (size_t)norms : 1;
    if (m->grouped) c->kv_heads = (size_t)kv_heads;
    else c->kv_heads = m->multi_query ? 1 : c->heads;
    if ((status = nib_config_heads(c, where, err))) return status;
    if (!m->alibi) return nib_config_rope(ctx, json, where, c->head_dim, false, c, err);
    if (c->heads > MOST_HEADS)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %zu heads with alibi, at most %d", where,
                        c->heads, MOST_HEADS);
    make_slopes(m);
    return NIB_OK;
}

/* The heads of q, k and v inside the fused projection:
 *   grouped      for each key/value head: its query heads, then k, then v
 *   multi-query  all query heads, then the one k, then the one v
 *   neither      for each head: q, k, v */
static nib_value attend(nib_build *b, const falcon *m, int i, nib_value h)
{
    const nib_config *c = &m->c;
    size_t d = c->head_dim, n = c->heads, g = c->kv_heads, per = n / g;
    nib_attention_desc attention = { .heads = n, .kv_heads = g, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d),
                                     .alibi_slopes = m->alibi ? m->slopes : NULL };
    size_t group = m->multi_query && !m->grouped ? 0 : (per + 2) * d;
    nib_heads many = { .head_stride = d, .per_group = per, .group_stride = group };
    nib_heads one = { .head_stride = d, .per_group = 1, .group_stride = group };

    nib_value qkv = nib_apply_linear(b, h, "transformer.h.%d.self_attention.query_key_value", i);
    nib_expect_width(b, qkv, (n + 2 * g) * d, "query_key_value");
    nib_value q = nib_heads_of(b, qkv, n, d, 0, many);
    nib_value k = nib_heads_of(b, qkv, g, d, per * d, one);
    nib_value v = nib_heads_of(b, qkv, g, d, (per + 1) * d, one);
    if (!m->alibi) {
        q = nib_rotate(b, q, n, d, &c->rope);
        k = nib_rotate(b, k, g, d, &c->rope);
    }
    return nib_apply_linear(b, nib_after_attention(b, nib_attend(b, q, k, v, &attention)),
                            "transformer.h.%d.self_attention.dense", i);
}

static nib_value mlp(nib_build *b, const falcon *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, "transformer.h.%d.mlp.dense_h_to_4h", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation),
                            "transformer.h.%d.mlp.dense_4h_to_h", i);
}

static nib_value layer(nib_build *b, const void *config, int i, nib_value x)
{
    const falcon *m = config;

    nib_value h = nib_apply_layer_norm(
        b, x, m->eps,
        m->norms == 2 ? "transformer.h.%d.ln_attn" : "transformer.h.%d.input_layernorm", i);
    if (!m->parallel) {
        nib_value a = attend(b, m, i, h);
        x = nib_add(b, nib_after_attention(b, x), a);
        h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.post_attention_layernorm", i);
        return nib_add(b, x, mlp(b, m, i, h));
    }
    nib_value g = m->norms == 2 ? nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_mlp", i)
                                : h;
    nib_value a = attend(b, m, i, h);
    g = nib_after_attention(b, g);
    x = nib_after_attention(b, x);
    return nib_add(b, x, nib_add(b, a, mlp(b, m, i, g)));
}

static nib_value back(nib_build *b, const void *config, nib_value x)
{
    const falcon *m = config;
    return nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
}

static bool has_bias(const void *config, const char *module)
{
    const falcon *m = config;
    return m->bias && strcmp(module, "lm_head") != 0;
}

static nib_shape shape(const void *config, const char *module)
{
    const nib_config *c = config;

    if (nib_name_ends(module, ".query_key_value"))
        return (nib_shape){ (c->heads + 2 * c->kv_heads) * c->head_dim, c->width };
    if (nib_name_ends(module, ".dense")) return (nib_shape){ c->width, c->heads * c->head_dim };
    if (nib_name_ends(module, ".dense_h_to_4h")) return (nib_shape){ c->inner, c->width };
    if (nib_name_ends(module, ".dense_4h_to_h")) return (nib_shape){ c->width, c->inner };
    if (strcmp(module, "lm_head") == 0) return (nib_shape){ c->vocabulary, c->width };
    return (nib_shape){ 0, 0 };
}

static const char *const types[] = { "falcon", "RefinedWeb", "RefinedWebModel", NULL };
static const char *const targets[] = { "query_key_value", NULL };

const nib_arch nib_arch_falcon = { .model_types = types, .config_bytes = sizeof(falcon),
                                   .read = read_falcon, .prefix = "transformer.",
                                   .embedding = "transformer.word_embeddings", .head = "lm_head",
                                   .layer = layer, .back = back, .has_bias = has_bias, .shape = shape,
                                   .default_targets = targets };
