/* arch_deepseek.c - DeepSeek V2 and V3: multi-head latent attention, and experts beside one for all
 * tokens (formats.md 10.51).  arXiv:2405.04434, arXiv:2412.19437. */
#include <math.h>
#include <string.h>

#include "model/experts.h"

typedef struct deepseek {
    nib_moe moe;
    size_t q_rank, kv_rank;    /* q_rank 0: q is projected at once */
    size_t plain, rotated, v_dim; /* channels of a head */
    size_t dense;              /* layers without experts, the first ones */
    bool bias;
    bool favours;              /* choosing has a bias */
} deepseek;

/* --- keys --- */

/* A word of config.json that must be `wanted`, where it is there. */
static void expect_word(nib_reader *r, const char *key, const char *wanted)
{
    const json_t *word = nib_read_any(r, key);

    if (word && !json_is_null(word) &&
        (!json_is_string(word) || strcmp(json_string_value(word), wanted) != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "%s is '%s', known is %s", key,
                      json_is_string(word) ? json_string_value(word) : "no text", wanted);
}

/* Scaled ropes sharpen the scores by (0.1 mscale_all_dim ln factor + 1)^2. */
static double sharpness(nib_reader *r)
{
    const json_t *rope = nib_read_any(r, "rope_parameters");
    double m, factor, by;

    if (!rope || json_is_null(rope)) rope = nib_read_any(r, "rope_scaling");
    m = json_number_value(json_object_get(rope, "mscale_all_dim"));
    factor = json_number_value(json_object_get(rope, "factor"));
    if (!(m != 0) || !(factor > 1)) return 1;
    by = 0.1 * m * log(factor) + 1;
    return by * by;
}

static void read_sizes(nib_reader *r, deepseek *d, size_t inner, size_t positions)
{
    nib_llama *m = &d->moe.m;

    m->vocabulary = nib_read_size(r, "vocab_size");
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->kv_heads = nib_read_size_or_null(r, "num_key_value_heads", m->heads, m->heads);
    m->inner = nib_read_size_or(r, "intermediate_size", inner);
    m->positions = nib_read_size_or(r, "max_position_embeddings", positions);
    m->eps = nib_read_eps(r, "rms_norm_eps", 1e-6f);
    m->activation = nib_read_activation(r, "hidden_act", "silu");
    m->tied = nib_read_bool(r, "tie_word_embeddings", false);
    nib_read_must_be_off(r, "mlp_bias", "experts have no biases");
}

static void read_attention(nib_reader *r, deepseek *d, bool interleaved)
{
    nib_llama *m = &d->moe.m;

    d->bias = nib_read_bool(r, "attention_bias", false);
    d->q_rank = nib_read_size_or_null(r, "q_lora_rank", 1536, 0);
    d->kv_rank = nib_read_size_or(r, "kv_lora_rank", 512);
    d->plain = nib_read_size_or(r, "qk_nope_head_dim", 128);
    d->rotated = nib_read_size_or(r, "qk_rope_head_dim", 64);
    d->v_dim = nib_read_size_or(r, "v_head_dim", 128);
    nib_read_has(r, "head_dim"); /* qk_rope_head_dim again */
    nib_read_has(r, "qk_head_dim");
    m->head_dim = d->plain + d->rotated;
    nib_read_check_heads(r, m->heads, m->kv_heads, nib_max(m->head_dim, d->v_dim));
    if (!r->status && m->kv_heads != m->heads)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "num_key_value_heads is %zu of %zu heads, expected all",
                      m->kv_heads, m->heads);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .scaled = true, .rot = d->rotated,
                                                .interleaved = interleaved,
                                                .positions = m->positions });
    m->scale = (float)(sharpness(r) / sqrt((double)nib_max(m->head_dim, 1)));
}

/* What both have of experts; `shared` of them, and of the sizes, are the defaults. */
static void read_experts(nib_reader *r, deepseek *d, size_t inner, size_t shared, size_t dense)
{
    nib_moe *m = &d->moe;

    m->inner = nib_read_size_or(r, "moe_intermediate_size", inner);
    m->shared = m->inner * nib_read_size_or_null(r, "n_shared_experts", shared, 0);
    d->dense = (size_t)nib_read_int_or(r, "first_k_dense_replace", 0, 1 << 20, (int64_t)dense);
    if (nib_read_int_or(r, "moe_layer_freq", 0, 1 << 20, 1) != 1)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "moe_layer_freq other than 1");
    nib_read_has(r, "ep_size");
    nib_read_has(r, "aux_loss_alpha"); /* transformers has no such loss */
    nib_read_has(r, "seq_aux");
    nib_read_has(r, "num_nextn_predict_layers");
}

static void read_groups(nib_reader *r, nib_route_desc *route, size_t groups, size_t top)
{
    route->groups = nib_read_size_or_null(r, "n_group", groups, 0);
    route->top_groups = nib_read_size_or_null(r, "topk_group", top, 0);
    if (!r->status && route->groups && route->experts % route->groups)
        nib_read_fail(r, NIB_E_FORMAT, "n_group %zu does not divide %zu experts", route->groups,
                      route->experts);
}

static void read_v2(nib_reader *r, void *config)
{
    deepseek *d = config;
    nib_route_desc *route = &d->moe.route;
    const json_t *method = nib_read_any(r, "topk_method");
    const char *name = json_is_string(method) ? json_string_value(method) : "greedy";

    read_sizes(r, d, 11008, 2048);
    read_attention(r, d, true);
    if (!nib_read_has(r, "num_experts_per_tok"))
        nib_read_fail(r, NIB_E_FORMAT, "num_experts_per_tok is missing");
    nib_read_route(r, route, 64, 1);
    read_experts(r, d, 1407, 2, 0);
    read_groups(r, route, 0, 0);
    nib_read_has(r, "norm_topk_prob"); /* transformers takes no notice of it */
    expect_word(r, "scoring_func", "softmax");
    route->scale = (float)nib_read_float_or(r, "routed_scaling_factor", 1);
    if (strcmp(name, "greedy") == 0) route->groups = route->top_groups = 0;
    else if (strcmp(name, "group_limited_greedy") != 0)
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "topk_method '%s', known are greedy and group_limited_greedy", name);
}

static void read_v3(nib_reader *r, void *config)
{
    deepseek *d = config;
    nib_route_desc *route = &d->moe.route;

    read_sizes(r, d, 18432, 4096);
    read_attention(r, d, nib_read_bool(r, "rope_interleave", true));
    nib_read_route(r, route, 256, 8);
    read_experts(r, d, 2048, 1, 3);
    read_groups(r, route, 8, 4);
    expect_word(r, "scoring_func", "sigmoid");
    expect_word(r, "topk_method", "noaux_tc");
    route->scores = NIB_ROUTE_SIGMOID;
    route->group_pairs = route->groups > 1;
    route->normalize = nib_read_bool(r, "norm_topk_prob", true);
    route->eps = 1e-20f;
    route->scale = (float)nib_read_float_or(r, "routed_scaling_factor", 2.5);
    d->favours = true;
}

/* --- layers --- */

/* Heads of `plain` channels and `rotated` ones that stand one behind the other in those of x. */
static nib_value query(nib_build *b, const deepseek *d, int i, nib_value h)
{
    const nib_llama *m = &d->moe.m;
    size_t width = m->heads * m->head_dim;
    nib_heads heads = nib_plain_heads(m->heads, m->head_dim);
    nib_value q;

    if (d->q_rank) {
        h = nib_apply_linear(b, h, d->q_rank, d->bias, "model.layers.%d.self_attn.q_a_proj", i);
        h = nib_apply_rms_norm(b, h, 1e-6f, "model.layers.%d.self_attn.q_a_layernorm", i);
        q = nib_apply_linear(b, h, width, false, "model.layers.%d.self_attn.q_b_proj", i);
    } else {
        q = nib_apply_linear(b, h, width, false, "model.layers.%d.self_attn.q_proj", i);
    }
    nib_value rest = nib_heads_of(b, q, m->heads, d->plain, 0, heads);
    nib_value turned = nib_heads_of(b, q, m->heads, d->rotated, d->plain, heads);
    turned = nib_rotate(b, turned, m->heads, d->rotated, &m->rope);
    return nib_join_heads(b, rest, turned, m->heads, false);
}

static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    const deepseek *d = (const deepseek *)m;
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads,
                                     .head_dim = m->head_dim, .v_dim = d->v_dim,
                                     .scale = m->scale };
    nib_heads heads = nib_plain_heads(m->heads, d->plain + d->v_dim);
    nib_value q = query(b, d, i, h), c, turned, kv, k, v, a;

    c = nib_apply_linear(b, h, d->kv_rank + d->rotated, d->bias,
                         "model.layers.%d.self_attn.kv_a_proj_with_mqa", i);
    turned = nib_columns_of(b, c, d->kv_rank, d->rotated);
    turned = nib_rotate(b, turned, 1, d->rotated, &m->rope);
    c = nib_columns_of(b, c, 0, d->kv_rank);
    c = nib_apply_rms_norm(b, c, 1e-6f, "model.layers.%d.self_attn.kv_a_layernorm", i);
    kv = nib_apply_linear(b, c, m->heads * (d->plain + d->v_dim), false,
                          "model.layers.%d.self_attn.kv_b_proj", i);
    k = nib_heads_of(b, kv, m->heads, d->plain, 0, heads);
    v = nib_heads_of(b, kv, m->heads, d->v_dim, d->plain, heads);
    k = nib_join_heads(b, k, turned, m->heads, true);
    a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, d->bias, "model.layers.%d.self_attn.o_proj", i);
}

static nib_value mlp(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    const deepseek *d = (const deepseek *)llama;
    nib_route_desc route = d->moe.route;

    if (i < (int)d->dense) return nib_llama_mlp(b, llama, i, h);
    if (d->favours)
        route.bias = nib_bind_vector(b, route.experts,
                                     "model.layers.%d.mlp.gate.e_score_correction_bias", i);
    nib_value logits = nib_apply_bare_router(b, h, route.experts, false, "model.layers.%d.mlp.gate",
                                             i);
    nib_experts e = nib_route(b, nib_wide_logits(b, logits), &route);
    nib_value x = nib_apply_gated_experts(b, &d->moe, e, i, h, "model.layers.%d.mlp.experts",
                                          nib_expert_names);
    if (!d->moe.shared) return x;
    return nib_add(b, x, nib_apply_shared_expert(b, &d->moe, i, h,
                                                 "model.layers.%d.mlp.shared_experts"));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack_of(b, config, attend, mlp);
}

static const char *const v2_types[] = { "deepseek_v2", NULL };
static const char *const v3_types[] = { "deepseek_v3", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_deepseek_v2 = { .model_types = v2_types, .config_bytes = sizeof(deepseek),
                                        .read = read_v2, .prefix = "model.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets };
const nib_arch nib_arch_deepseek_v3 = { .model_types = v3_types, .config_bytes = sizeof(deepseek),
                                        .read = read_v3, .prefix = "model.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets };
