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

/* --- GGUF: both are deepseek2 there, and how experts are chosen tells which it is --- */

#define LAYER "model.layers.%d."

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    { "attn_norm", LAYER "input_layernorm", NIB_GGUF_AS_IS },
    { "attn_q", LAYER "self_attn.q_proj", NIB_GGUF_AS_IS },
    { "attn_q_a", LAYER "self_attn.q_a_proj", NIB_GGUF_AS_IS },
    { "attn_q_a_norm", LAYER "self_attn.q_a_layernorm", NIB_GGUF_AS_IS },
    { "attn_q_b", LAYER "self_attn.q_b_proj", NIB_GGUF_AS_IS },
    { "attn_kv_a_mqa", LAYER "self_attn.kv_a_proj_with_mqa", NIB_GGUF_AS_IS },
    { "attn_kv_a_norm", LAYER "self_attn.kv_a_layernorm", NIB_GGUF_AS_IS },
    { "attn_kv_b", LAYER "self_attn.kv_b_proj", NIB_GGUF_AS_IS }, /* of older files */
    { "attn_output", LAYER "self_attn.o_proj", NIB_GGUF_AS_IS },
    { "ffn_norm", LAYER "post_attention_layernorm", NIB_GGUF_AS_IS },
    NIB_GGUF_LLAMA_MLP,
    NIB_GGUF_EXPERTS("mlp", "gate_proj", "up_proj", "down_proj"),
    { "ffn_gate_shexp", LAYER "mlp.shared_experts.gate_proj", NIB_GGUF_AS_IS },
    { "ffn_up_shexp", LAYER "mlp.shared_experts.up_proj", NIB_GGUF_AS_IS },
    { "ffn_down_shexp", LAYER "mlp.shared_experts.down_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_whole gguf_tensors[] = {
    { "attn_k_b.weight", "attn_v_b.weight", LAYER "self_attn.kv_b_proj.weight", NIB_GGUF_LATENT },
    { "exp_probs_b.bias", NULL, LAYER "mlp.gate.e_score_correction_bias", NIB_GGUF_AS_IS },
    { 0 },
};

static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" }, { "attention.head_count", "num_attention_heads" },
    { "rope.freq_base", "rope_theta" }, { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "expert_count", "n_routed_experts" }, { "expert_used_count", "num_experts_per_tok" },
    { 0 },
};

enum { GATE_SOFTMAX = 1, GATE_SIGMOID };

static void copy(nib_gguf_config *c, const char *key, const char *to)
{
    nib_gguf_copy(c, nib_gguf_key_value(c, key), to);
}

/* A size among the keys, which must be there. */
static double need(nib_gguf_config *c, const char *key)
{
    double value = nib_gguf_get(c, key, 0);

    if (!(value >= 1 && value <= 0x1p31))
        nib_gguf_fail(c, NIB_E_FORMAT, "%s.%s is %g, or missing", c->architecture, key, value);
    return value;
}

/* kv_b lies as keys and values, whose rows together do not tell how many of a head are keys. */
static void check_keys(nib_gguf_config *c, double keys)
{
    for (size_t i = 0; i < nib_tensors_count(c->tensors) && !c->status; i++) {
        const nib_tensor *t = nib_tensors_at(c->tensors, i);
        if (nib_ends_with(t->name, ".attn_k_b.weight") &&
            (t->rank != 3 || (double)t->shape[2] != keys))
            nib_gguf_fail(c, NIB_E_MISMATCH, "%s of rank %u has %" PRIu64 " keys a head, the keys "
                          "of the file make it %g", t->name, t->rank,
                          t->rank ? t->shape[t->rank - 1] : 0, keys);
    }
}

static void set_attention(nib_gguf_config *c)
{
    bool split = nib_gguf_key_value(c, "attention.key_length_mla") != NULL;
    double rotated = need(c, "rope.dimension_count");
    double head = need(c, split ? "attention.key_length_mla" : "attention.key_length");

    if (!(head > rotated))
        nib_gguf_fail(c, NIB_E_FORMAT, "heads of %g channels, %g of them rotated", head, rotated);
    need(c, "attention.kv_lora_rank");
    need(c, split ? "attention.value_length_mla" : "attention.value_length");
    check_keys(c, head - rotated);
    if (c->status) return;
    nib_gguf_set(c, "qk_nope_head_dim", json_integer((json_int_t)(head - rotated)));
    copy(c, "rope.dimension_count", "qk_rope_head_dim");
    copy(c, "attention.kv_lora_rank", "kv_lora_rank");
    copy(c, split ? "attention.value_length_mla" : "attention.value_length", "v_head_dim");
    if (nib_gguf_has(c, "blk.0.attn_q_a.weight")) copy(c, "attention.q_lora_rank", "q_lora_rank");
    else nib_gguf_set(c, "q_lora_rank", json_null());
}

/* Of the factor's logarithm: the converter writes a tenth of mscale_all_dim, and llama.cpp takes
 * mscale to be the same. */
static void set_mscale(nib_gguf_config *c)
{
    json_t *rope = json_object_get(c->json, "rope_scaling");
    const nib_gguf_value *v = nib_gguf_key_value(c, "rope.scaling.yarn_log_multiplier");
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    double tenth = nib_gguf_get(c, "rope.scaling.yarn_log_multiplier", 0);

    if (!rope || c->status) return;
    if (!type || strcmp(type, "yarn") != 0 || !v || !(tenth > 0 && tenth < 100)) {
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "rope.scaling.type is %s and yarn_log_multiplier %g, "
                      "known is yarn with a multiplier above 0", type ? type : "missing", tenth);
        return;
    }
    tenth = round(tenth * 1e7) / 1e6; /* 0.707 of the float 0.0707 */
    json_object_set_new(rope, "mscale", json_real(tenth));
    json_object_set_new(rope, "mscale_all_dim", json_real(tenth));
}

static void set_experts(nib_gguf_config *c, bool sigmoid)
{
    double groups = nib_gguf_get(c, "expert_group_count", 0);
    bool norm = nib_gguf_get(c, "expert_weights_norm", 0) != 0;

    copy(c, "feed_forward_length", "intermediate_size");
    copy(c, "expert_feed_forward_length", "moe_intermediate_size");
    copy(c, "expert_shared_count", "n_shared_experts");
    copy(c, "leading_dense_block_count", "first_k_dense_replace");
    nib_gguf_set(c, "routed_scaling_factor", json_real(1));
    copy(c, "expert_weights_scale", "routed_scaling_factor");
    nib_gguf_set(c, "norm_topk_prob", json_boolean(norm));
    if (!sigmoid) nib_gguf_set(c, "topk_method", json_string("greedy"));
    nib_gguf_set(c, "n_group", json_integer(1));
    nib_gguf_set(c, "topk_group", json_integer(1));
    if (!sigmoid && (norm || groups > 1)) {
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "expert_weights_norm is %s and expert_group_count %g: "
                      "beside softmax neither is known", norm ? "true" : "false", groups);
        return;
    }
    if (groups <= 1) return;
    copy(c, "expert_group_count", "n_group");
    copy(c, "expert_group_used_count", "topk_group");
}

static void gguf_finish(nib_gguf_config *c)
{
    double gate = nib_gguf_get(c, "expert_gating_func", GATE_SOFTMAX);

    if (gate != 0 && gate != GATE_SOFTMAX && gate != GATE_SIGMOID)
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "expert_gating_func is %g, known are 1 (softmax) and "
                      "2 (sigmoid)", gate);
    if (gate == GATE_SIGMOID) {
        nib_gguf_set(c, "model_type", json_string("deepseek_v3"));
        nib_gguf_set(c, "architectures", json_pack("[s]", "DeepseekV3ForCausalLM"));
    }
    copy(c, "attention.head_count", "num_key_value_heads");
    set_attention(c);
    set_mscale(c);
    set_experts(c, gate == GATE_SIGMOID);
}

/* --- and out --- */

static void put_count(const nib_gguf_put *p, const char *key, size_t value)
{
    nib_gguf_put_own(p, key, NIB_GGUF_U32, (double)value);
}

/* What the graph says of a model: rows and columns of its linears, and the first with experts. */
typedef struct found {
    const nib_route_desc *route;
    size_t dense;               /* layers before it */
    size_t q_rank, kv_rank, inner, shared;
    bool biased;                /* a linear of attention is */
} found;

static found find(const nib_graph *g)
{
    found f = { 0 };

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        const nib_linear *l = n->linear ? n->linear : n->experts ? n->experts[0] : NULL;
        if (n->route.experts && !f.route && !n->experts) {
            f.route = &n->route;
            f.dense = (size_t)n->segment - 1;
        }
        if (!l) continue;
        if (nib_ends_with(l->name, ".q_a_proj")) f.q_rank = l->weight->out;
        if (nib_ends_with(l->name, ".kv_b_proj")) f.kv_rank = l->weight->in;
        if (nib_ends_with(l->name, "shared_experts.up_proj")) f.shared = l->weight->out;
        if (n->experts && nib_ends_with(l->name, ".up_proj")) f.inner = l->weight->out;
        f.biased |= l->bias != NULL;
    }
    if (!f.route) f.dense = (size_t)g->segments - 2;
    return f;
}

/* llama.cpp takes a model of so many layers to have no q_a_proj, without asking for its rank. */
static bool is_lite(const nib_graph *g) { return g->segments - 2 == 26 || g->segments - 2 == 27; }

static void gguf_put(const nib_gguf_put *p)
{
    const nib_graph *g = p->graph;
    const nib_attention_desc *a = nib_gguf_attention(g);
    const json_t *rope = json_object_get(p->config, "rope_parameters");
    double all;
    found f = find(g);
    const nib_route_desc *r = f.route;
    size_t rotated = 0;

    for (size_t i = 0; i < g->node_count && !rotated; i++)
        if (g->nodes[i].rope) rotated = g->nodes[i].rope->rot;
    put_count(p, "attention.head_count_kv", 1); /* of the latents, which all heads read */
    if (f.q_rank || !is_lite(g)) put_count(p, "attention.q_lora_rank", f.q_rank);
    put_count(p, "attention.kv_lora_rank", f.kv_rank);
    put_count(p, "attention.key_length", f.kv_rank + rotated);
    put_count(p, "attention.value_length", f.kv_rank);
    put_count(p, "attention.key_length_mla", a->head_dim);
    put_count(p, "attention.value_length_mla", a->v_dim);
    put_count(p, "leading_dense_block_count", f.dense);
    put_count(p, "expert_feed_forward_length", f.inner);
    put_count(p, "expert_shared_count", f.inner ? f.shared / f.inner : 0);
    if (!json_is_object(rope)) rope = json_object_get(p->config, "rope_scaling");
    all = json_number_value(json_object_get(rope, "mscale_all_dim"));
    if (all > 0) nib_gguf_put_own(p, "rope.scaling.yarn_log_multiplier", NIB_GGUF_F32, 0.1 * all);
    if (!r) return;
    put_count(p, "expert_gating_func",
              r->scores == NIB_ROUTE_SIGMOID ? GATE_SIGMOID : GATE_SOFTMAX);
    nib_gguf_put_own(p, "expert_weights_scale", NIB_GGUF_F32,
                     r->scale != 0 ? (double)r->scale : 1);
    if (r->normalize) nib_gguf_put_own(p, "expert_weights_norm", NIB_GGUF_BOOL, 1);
    put_count(p, "expert_group_count", nib_max(r->groups, 1)); /* of one: all of them */
    put_count(p, "expert_group_used_count", nib_max(r->top_groups, 1));
}

static const char *unsaid_rope(const nib_rope *r, const nib_attention_desc *a)
{
    size_t last = r->rot / 2 - 1;
    double plain = pow(r->theta, -2.0 * (double)last / (double)r->rot);
    bool scaled = fabs((double)r->inv[last] - plain) > 1e-4 * plain;

    if (!r->interleaved) return "rotates neighbours, not halves (rope_interleave)";
    if (r->attention_factor != 1) return "knows mscale and mscale_all_dim as one number alone";
    if (scaled && (double)a->scale * sqrt((double)a->head_dim) < 1.0001)
        return "multiplies the scores wherever angles are scaled (mscale_all_dim)";
    return NULL;
}

static const char *gguf_unsaid(const nib_graph *g)
{
    const nib_attention_desc *a = nib_gguf_attention(g);
    float eps = 0;
    found f = find(g);
    const char *rope = NULL;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->norm && eps != 0 && n->eps != eps) return "has one epsilon for all norms";
        if (n->norm) eps = n->eps;
        if (n->rope && a) rope = unsaid_rope(n->rope, a);
    }
    if (rope) return rope;
    if (f.biased) return "has no biases in attention";
    if (is_lite(g) && f.q_rank) return "of 26 or 27 layers has no q_a_proj";
    if (!f.route || !f.shared) return "has experts, and one for all tokens beside them";
    if (f.route->groups > 1 && !f.route->group_pairs)
        return "chooses groups of experts by the sum of their best two, not by their best one";
    if (f.route->groups > 1 && f.route->top_groups >= f.route->groups)
        return "chooses fewer groups than there are";
    return NULL;
}

static const char *const gguf_unadapted[] = {
    "attn_q.weight", "attn_q_a.weight", "attn_q_b.weight", "attn_kv_a_mqa.weight", NULL
};

#define GGUF(type, class)                                                                          \
    { .architecture = "deepseek2", .model_type = type, .class_name = class, .names = gguf_names,   \
      .tensors = gguf_tensors, .keys = gguf_keys, .finish = gguf_finish, .put = gguf_put,          \
      .unsaid = gguf_unsaid, .unadapted = gguf_unadapted, .mscales = true }
static const nib_gguf_family v2_gguf = GGUF("deepseek_v2", "DeepseekV2ForCausalLM");
static const nib_gguf_family v3_gguf = GGUF("deepseek_v3", "DeepseekV3ForCausalLM");

const nib_arch nib_arch_deepseek_v2 = { .model_types = v2_types, .config_bytes = sizeof(deepseek),
                                        .read = read_v2, .prefix = "model.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets, .gguf = &v2_gguf };
const nib_arch nib_arch_deepseek_v3 = { .model_types = v3_types, .config_bytes = sizeof(deepseek),
                                        .read = read_v3, .prefix = "model.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets, .gguf = &v3_gguf };
