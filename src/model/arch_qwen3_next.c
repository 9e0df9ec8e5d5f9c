/* arch_qwen3_next.c - Qwen3-Next and Qwen3.5: three layers of the gated delta rule for each one of
 * attention, whose output has a gate; dense or with experts (formats.md 10.47).
 * Yang et al. 2024, arXiv:2412.06464 (the rule). */
#include <math.h>
#include <stdio.h>

#include "format/gguf_writer.h"
#include "graph/graph.h"
#include "model/experts.h"
#include "model/gguf_family.h"
#include "model/reader_layers.h"

typedef struct qwen3_next {
    nib_moe moe;           /* first: its functions are given it */
    const uint8_t *kinds;  /* [layers] 1: attention */
    nib_scan_spec rule;
    size_t taps;
    bool together;         /* qwen3_next: projections of all parts, key head by key head */
    bool stacked;          /* qwen3_5_moe: the experts lie in one tensor */
    bool dense;
} qwen3_next;

/* --- keys --- */

static void read_layers(nib_reader *r, qwen3_next *s, size_t layers)
{
    static const char *const known[] = { "linear_attention", "full_attention", NULL };
    size_t interval = nib_read_size_or(r, "full_attention_interval", 4);
    uint8_t *kinds;

    s->kinds = nib_read_layer_kinds(r, "layer_types", layers, known);
    if (s->kinds) return;
    s->kinds = kinds = nib_read_alloc(r, layers, sizeof *kinds);
    for (size_t i = 0; kinds && i < layers; i++) kinds[i] = (i + 1) % interval == 0;
}

static void read_rule(nib_reader *r, qwen3_next *s)
{
    nib_scan_spec *d = &s->rule;

    d->key_heads = nib_read_size_or(r, "linear_num_key_heads", 16);
    d->heads = nib_read_size_or(r, "linear_num_value_heads", 32);
    d->rows = nib_read_size_or(r, "linear_key_head_dim", 128);
    d->columns = nib_read_size_or(r, "linear_value_head_dim", 128);
    nib_read_check_heads(r, d->heads, d->key_heads, nib_max(d->rows, d->columns));
    s->taps = nib_read_size_or(r, "linear_conv_kernel_dim", 4);
}

static void read_common(nib_reader *r, qwen3_next *s, size_t inner, size_t kv_heads)
{
    nib_llama_keys keys = nib_llama_plain_keys;
    nib_llama *m = &s->moe.m;

    keys.head_dim = 256;
    keys.partial = 0.25;
    keys.positions = 32768;
    keys.inner = inner;
    keys.axes = true;
    nib_llama_read_keys(r, m, &keys);
    if (!nib_read_has(r, "num_key_value_heads")) m->kv_heads = kv_heads;
    read_layers(r, s, m->layers);
    read_rule(r, s);
}

static void read_qwen3_next(nib_reader *r, void *config)
{
    qwen3_next *s = config;
    nib_moe *m = &s->moe;

    s->together = true;
    read_common(r, s, 5632, 2);
    nib_read_route(r, &m->route, 512, 10);
    m->route.normalize = nib_read_bool(r, "norm_topk_prob", true);
    m->inner = nib_read_size_or(r, "moe_intermediate_size", 512);
    m->shared = nib_read_size_or(r, "shared_expert_intermediate_size", 512);
    nib_read_sparse_layers(r, m);
}

static void read_qwen3_5(nib_reader *r, void *config)
{
    qwen3_next *s = config;

    s->dense = true;
    read_common(r, s, 12288, 4);
}

static void read_qwen3_5_moe(nib_reader *r, void *config)
{
    qwen3_next *s = config;
    nib_moe *m = &s->moe;

    s->stacked = true;
    read_common(r, s, 5632, 2); /* no layer is dense */
    nib_read_route(r, &m->route, 256, 8);
    m->route.normalize = true;
    m->inner = nib_read_size_or(r, "moe_intermediate_size", 512);
    m->shared = nib_read_size_or(r, "shared_expert_intermediate_size", 512);
}

/* --- layers --- */

static nib_value norm(nib_build *b, const nib_llama *m, nib_value x, const char *name, int i)
{
    return nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ONE_PLUS, m->eps, "model.layers.%d.%s", i,
                                   name);
}

static nib_value norm_heads(nib_build *b, const nib_llama *m, nib_value x, size_t heads,
                            const char *name, int i)
{
    return nib_apply_rms_norm_form(b, x, heads, NIB_RMS_ONE_PLUS, m->eps,
                                   "model.layers.%d.self_attn.%s", i, name);
}

/* Each head of q_proj is followed by its gate. */
static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    size_t d = m->head_dim, q_width = m->heads * d, kv_width = m->kv_heads * d;
    nib_heads pairs = { .head_stride = 2 * d, .per_group = m->heads };
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d) };
    bool bias = m->qkv_bias;

    nib_value both = nib_apply_linear(b, h, 2 * q_width, bias, "model.layers.%d.self_attn.q_proj",
                                      i);
    nib_value k = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.v_proj", i);
    nib_value q = nib_heads_of(b, both, m->heads, d, 0, pairs);
    nib_value gate = nib_heads_of(b, both, m->heads, d, d, pairs);
    q = norm_heads(b, m, q, m->heads, "q_norm", i);
    k = norm_heads(b, m, k, m->kv_heads, "k_norm", i);
    q = nib_rotate(b, q, m->heads, d, &m->rope);
    k = nib_rotate(b, k, m->kv_heads, d, &m->rope);
    nib_value a = nib_gate(b, gate, nib_attend(b, q, k, v, &attention), NIB_ACT_SIGMOID);
    return nib_apply_linear(b, a, m->width, m->o_bias, "model.layers.%d.self_attn.o_proj", i);
}

/* What the rule works on, and the gate z of what it gives. */
typedef struct rule_parts { nib_value q, k, v, z, b, a; } rule_parts;

static nib_value project(nib_build *b, nib_value h, size_t width, const char *name, int i)
{
    return nib_apply_linear(b, h, width, false, "model.layers.%d.linear_attn.%s", i, name);
}

/* Qwen3.5: q, k and v are blocks of one projection, which one convolution goes over. */
static rule_parts blocks(nib_build *b, const qwen3_next *s, int i, nib_value h)
{
    const nib_scan_spec *d = &s->rule;
    size_t qk = d->key_heads * d->rows, width = d->heads * d->columns;
    nib_conv_spec conv = { .taps = s->taps, .channels = 2 * qk + width, .silu = true };
    nib_value x = project(b, h, conv.channels, "in_proj_qkv", i);

    x = nib_convolve(b, x, &conv, "model.layers.%d.linear_attn.conv1d", i);
    return (rule_parts){ .q = nib_columns_of(b, x, 0, qk), .k = nib_columns_of(b, x, qk, qk),
                         .v = nib_columns_of(b, x, 2 * qk, width),
                         .z = project(b, h, width, "in_proj_z", i),
                         .b = project(b, h, d->heads, "in_proj_b", i),
                         .a = project(b, h, d->heads, "in_proj_a", i) };
}

/* Qwen3-Next: for each key head its q, its k, the v and the z of its heads, and so b and a.  The
 * channels of the convolution are those of q, then k, then v. */
static rule_parts groups(nib_build *b, const qwen3_next *s, int i, nib_value h)
{
    static const char name[] = "model.layers.%d.linear_attn.conv1d";
    const nib_scan_spec *d = &s->rule;
    size_t qk = d->key_heads * d->rows, width = d->heads * d->columns,
           per = d->heads / d->key_heads, all = 2 * (d->rows + per * d->columns);
    nib_heads keys = { .head_stride = d->rows, .per_group = 1, .group_stride = all };
    nib_heads values = { .head_stride = d->columns, .per_group = per, .group_stride = all };
    nib_heads gates = { .head_stride = 1, .per_group = per, .group_stride = 2 * per };
    nib_conv_spec conv = { .taps = s->taps, .channels = 2 * qk + width, .silu = true };
    nib_value x = project(b, h, 2 * (qk + width), "in_proj_qkvz", i);
    nib_value ba = project(b, h, 2 * d->heads, "in_proj_ba", i);
    rule_parts p;

    p.q = nib_heads_of(b, x, d->key_heads, d->rows, 0, keys);
    p.k = nib_heads_of(b, x, d->key_heads, d->rows, d->rows, keys);
    p.v = nib_heads_of(b, x, d->heads, d->columns, 2 * d->rows, values);
    p.z = nib_heads_of(b, x, d->heads, d->columns, 2 * d->rows + per * d->columns, values);
    p.b = nib_heads_of(b, ba, d->heads, 1, 0, gates);
    p.a = nib_heads_of(b, ba, d->heads, 1, per, gates);
    p.q = nib_convolve(b, p.q, &conv, name, i);
    conv.offset = qk;
    p.k = nib_convolve(b, p.k, &conv, name, i);
    conv.offset = 2 * qk;
    p.v = nib_convolve(b, p.v, &conv, name, i);
    return p;
}

static nib_value apply_rule(nib_build *b, const qwen3_next *s, int i, nib_value h)
{
    const nib_llama *m = &s->moe.m;
    rule_parts p = s->together ? groups(b, s, i, h) : blocks(b, s, i, h);

    nib_value o = nib_apply_delta_rule(b, p.q, p.k, p.v, p.b, p.a, &s->rule,
                                       "model.layers.%d.linear_attn", i);
    o = nib_apply_rms_norm_heads(b, o, s->rule.heads, m->eps, "model.layers.%d.linear_attn.norm",
                                 i);
    o = nib_gate(b, p.z, o, NIB_ACT_SILU);
    return project(b, o, m->width, "out_proj", i);
}

/* As released; transformers 5 saves them, and quantizers pack them, one by one. */
static const nib_stack_names stacks = { .gate_up = "gate_up_proj", .down = "down_proj",
                                        .apart = nib_expert_names };

static nib_value feed_forward(nib_build *b, const qwen3_next *s, int i, nib_value h)
{
    static const char of[] = "model.layers.%d.mlp.experts", router[] = "model.layers.%d.mlp.gate";
    const nib_moe *m = &s->moe;

    if (s->dense || (m->sparse && !m->sparse[i])) return nib_llama_mlp(b, &m->m, i, h);
    nib_value logits = s->stacked ? nib_apply_bare_router(b, h, m->route.experts, false, router, i)
                                  : nib_apply_router(b, h, m->route.experts, router, i);
    nib_experts e = nib_route(b, logits, &m->route);
    nib_value x = s->stacked ? nib_apply_stacked_experts(b, m, e, i, h, of, stacks)
                             : nib_apply_gated_experts(b, m, e, i, h, of, nib_expert_names);
    nib_value shared = nib_apply_shared_expert(b, m, i, h, "model.layers.%d.mlp.shared_expert");
    nib_value gate = nib_apply_linear(b, h, 1, false, "model.layers.%d.mlp.shared_expert_gate", i);
    return nib_add(b, x, nib_gate_rows(b, shared, gate));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const qwen3_next *s = config;
    const nib_llama *m = &s->moe.m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = norm(b, m, x, "input_layernorm", i);
        x = nib_add(b, x, s->kinds[i] ? attend(b, m, i, h) : apply_rule(b, s, i, h));
        h = norm(b, m, x, "post_attention_layernorm", i);
        x = nib_add(b, x, feed_forward(b, s, i, h));
    }
    nib_segment(b);
    x = nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ONE_PLUS, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

/* --- GGUF: formats-quant.md 7.3 --- */

#define LAYER "model.layers.%d."
#define COMMON_NAMES                                                                               \
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_ONE_PLUS),                                                        \
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),                                      \
    { "attn_q_norm", LAYER "self_attn.q_norm", NIB_GGUF_ONE_PLUS },                                \
    { "attn_k_norm", LAYER "self_attn.k_norm", NIB_GGUF_ONE_PLUS },                                \
    { "attn_norm", LAYER "input_layernorm", NIB_GGUF_ONE_PLUS },                                   \
    { "post_attention_norm", LAYER "post_attention_layernorm", NIB_GGUF_ONE_PLUS },                \
    { "ssm_norm", LAYER "linear_attn.norm", NIB_GGUF_AS_IS }
#define SHARED_NAMES                                                                               \
    { "ffn_gate_inp_shexp", LAYER "mlp.shared_expert_gate", NIB_GGUF_ONE_ROW },                    \
    { "ffn_gate_shexp", LAYER "mlp.shared_expert.gate_proj", NIB_GGUF_AS_IS },                     \
    { "ffn_up_shexp", LAYER "mlp.shared_expert.up_proj", NIB_GGUF_AS_IS },                         \
    { "ffn_down_shexp", LAYER "mlp.shared_expert.down_proj", NIB_GGUF_AS_IS }
/* Qwen3.5's heads of values are in the order in which ggml repeats those of keys. */
#define TILED_NAMES                                                                                \
    COMMON_NAMES,                                                                                  \
    { "attn_qkv", LAYER "linear_attn.in_proj_qkv", NIB_GGUF_TILED_QKV },                           \
    { "attn_gate", LAYER "linear_attn.in_proj_z", NIB_GGUF_TILED },                                \
    { "ssm_beta", LAYER "linear_attn.in_proj_b", NIB_GGUF_TILED_ONES },                            \
    { "ssm_alpha", LAYER "linear_attn.in_proj_a", NIB_GGUF_TILED_ONES },                           \
    { "ssm_conv1d", LAYER "linear_attn.conv1d", NIB_GGUF_TILED_CONV },                             \
    { "ssm_out", LAYER "linear_attn.out_proj", NIB_GGUF_TILED_COLUMNS }
#define TILED_TENSORS                                                                              \
    { "ssm_a", NULL, LAYER "linear_attn.A_log", NIB_GGUF_TILED_DECAYS },                           \
    { "ssm_dt.bias", NULL, LAYER "linear_attn.dt_bias", NIB_GGUF_TILED_ONES }

/* ssm_in: as older files hold the first of the tensors below. */
static const nib_gguf_name next_names[] = {
    COMMON_NAMES, SHARED_NAMES,
    NIB_GGUF_EXPERTS("mlp", "gate_proj", "up_proj", "down_proj"),
    { "ssm_in", LAYER "linear_attn.in_proj_qkvz", NIB_GGUF_AS_IS },
    { "ssm_ba", LAYER "linear_attn.in_proj_ba", NIB_GGUF_AS_IS },
    { "ssm_conv1d", LAYER "linear_attn.conv1d", NIB_GGUF_CONV },
    { "ssm_out", LAYER "linear_attn.out_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_whole next_tensors[] = {
    { "attn_qkv.weight", "attn_gate.weight", LAYER "linear_attn.in_proj_qkvz.weight",
      NIB_GGUF_KEY_GROUPS },
    { "ssm_a", NULL, LAYER "linear_attn.A_log", NIB_GGUF_DECAYS },
    { "ssm_dt.bias", NULL, LAYER "linear_attn.dt_bias", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_name dense_names[] = { TILED_NAMES, NIB_GGUF_LLAMA_MLP, { 0 } };
static const nib_gguf_whole dense_tensors[] = { TILED_TENSORS, { 0 } };
static const nib_gguf_name moe_names[] = {
    TILED_NAMES, SHARED_NAMES, { "ffn_gate_inp", LAYER "mlp.gate", NIB_GGUF_AS_IS }, { 0 },
};
static const nib_gguf_whole moe_tensors[] = {
    TILED_TENSORS,
    { "ffn_gate_exps.weight", "ffn_up_exps.weight", LAYER "mlp.experts.gate_up_proj",
      NIB_GGUF_AS_IS },
    { "ffn_down_exps.weight", NULL, LAYER "mlp.experts.down_proj", NIB_GGUF_AS_IS },
    { 0 },
};

#define COMMON_KEYS                                                                                \
    NIB_GGUF_LLAMA_KEYS, { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },                   \
    { "attention.key_length", "head_dim" }, { "ssm.conv_kernel", "linear_conv_kernel_dim" },       \
    { "ssm.state_size", "linear_key_head_dim" }, { "ssm.group_count", "linear_num_key_heads" },    \
    { "ssm.time_step_rank", "linear_num_value_heads" }

static const nib_gguf_key dense_keys[] = { COMMON_KEYS, { 0 } };
static const nib_gguf_key moe_keys[] = {
    COMMON_KEYS, { "expert_count", "num_experts" }, { "expert_used_count", "num_experts_per_tok" },
    { "expert_feed_forward_length", "moe_intermediate_size" },
    { "expert_shared_feed_forward_length", "shared_expert_intermediate_size" }, { 0 },
};

/* Layers that predict further tokens are the last ones, and are not read. */
static double own_layers(nib_gguf_config *c)
{
    double all = nib_gguf_get(c, "block_count", 0);
    double more = nib_gguf_get(c, "nextn_predict_layers", 0);

    if (all > more && more >= 0 && all <= 10000) return all - more;
    nib_gguf_fail(c, NIB_E_FORMAT, "block_count is %g, nextn_predict_layers %g", all, more);
    return 0;
}

/* Which layers are of the rule: a key of each, or all but one of so many. */
static void set_layer_types(nib_gguf_config *c, double layers)
{
    const nib_gguf_value *v = nib_gguf_key_value(c, "attention.recurrent_layers");
    double interval = nib_gguf_get(c, "full_attention_interval", 4), linear;
    json_t *types = json_array();

    if (v && (v->kind != NIB_GGUF_ARRAY || (double)v->count < layers))
        nib_gguf_fail(c, NIB_E_FORMAT, "%s has %" PRIu64 " entries, expected one of each of %g "
                      "layers", v->key, v->count, layers);
    if (!(interval >= 1 && interval <= 10000))
        nib_gguf_fail(c, NIB_E_FORMAT, "full_attention_interval is %g", interval);
    for (uint64_t i = 0; !c->status && (double)i < layers; i++) {
        if (!v) linear = (i + 1) % (uint64_t)interval != 0;
        else if (!nib_gguf_number(v, i, &linear))
            nib_gguf_fail(c, NIB_E_FORMAT, "%s: entry %" PRIu64 " is no number", v->key, i);
        json_array_append_new(types,
                              json_string(linear != 0 ? "linear_attention" : "full_attention"));
    }
    nib_gguf_set(c, "layer_types", types);
    nib_gguf_copy(c, nib_gguf_key_value(c, "full_attention_interval"), "full_attention_interval");
}

/* What has no default in llama.cpp either, and the width of a head of values. */
static void set_rule(nib_gguf_config *c)
{
    static const char *const needed[] = { "ssm.conv_kernel", "ssm.state_size", "ssm.group_count",
                                          "ssm.time_step_rank", "ssm.inner_size" };
    double inner = nib_gguf_get(c, "ssm.inner_size", 0);
    double heads = nib_gguf_get(c, "ssm.time_step_rank", 1);

    for (size_t i = 0; i < NIB_COUNT(needed); i++)
        if (!nib_gguf_key_value(c, needed[i]))
            nib_gguf_fail(c, NIB_E_FORMAT, "%s.%s is missing", c->architecture, needed[i]);
    if (!(heads >= 1 && inner >= heads && inner <= 0x1p31 && fmod(inner, heads) == 0))
        nib_gguf_fail(c, NIB_E_FORMAT, "ssm.inner_size is %g, expected a multiple of "
                      "ssm.time_step_rank, %g", inner, heads);
    else nib_gguf_set(c, "linear_value_head_dim", json_integer((json_int_t)(inner / heads)));
}

static void finish_common(nib_gguf_config *c)
{
    double layers = own_layers(c);

    nib_gguf_set(c, "num_hidden_layers", json_integer((json_int_t)layers));
    set_layer_types(c, layers);
    set_rule(c);
    nib_gguf_set_partial(c, "partial_rotary_factor");
}

static void next_finish(nib_gguf_config *c)
{
    finish_common(c);
    nib_gguf_set(c, "norm_topk_prob", json_true()); /* llama.cpp always divides by the sum */
}

/* transformers 5 has all of the rope in one object.  In a text the axes have one position. */
static void dense_finish(nib_gguf_config *c)
{
    const nib_gguf_value *v = nib_gguf_key_value(c, "rope.dimension_sections");
    static const char *const moved[] = { "rope_theta", "partial_rotary_factor" };
    json_t *rope, *sections;
    double size = 0;

    finish_common(c);
    if (c->status) return;
    rope = json_incref(json_object_get(c->json, "rope_scaling"));
    if (!rope) rope = json_pack("{s:s}", "rope_type", "default");
    for (size_t i = 0; i < NIB_COUNT(moved); i++) {
        json_t *value = json_object_get(c->json, moved[i]);
        if (value) json_object_set(rope, moved[i], value);
        json_object_del(c->json, moved[i]);
    }
    sections = json_array();
    for (uint64_t i = 0; v && i < 3 && i < v->count; i++) {
        if (!nib_gguf_number(v, i, &size) || !(size >= 0 && size <= 65536))
            nib_gguf_fail(c, NIB_E_FORMAT, "%s: entry %" PRIu64 " is no size", v->key, i);
        json_array_append_new(sections, json_integer((json_int_t)size));
    }
    if (v) json_object_set_new(rope, "mrope_section", sections);
    else json_decref(sections);
    json_object_set_new(rope, "mrope_interleaved", json_true());
    json_object_del(c->json, "rope_scaling");
    nib_gguf_set(c, "rope_parameters", rope);
}

/* --- and out --- */

static void put_array_key(const nib_gguf_put *p, const char *key, nib_gguf_kind kind, size_t count)
{
    char room[200];

    snprintf(room, sizeof room, "%s.%s", p->architecture, key);
    nib_gguf_put_array(p->w, room, kind, count);
}

static void next_put(const nib_gguf_put *p)
{
    const json_t *interval = json_object_get(p->config, "full_attention_interval");
    const nib_graph *g = p->graph;
    size_t layers = (size_t)g->segments - 2, at = 0;

    put_array_key(p, "attention.recurrent_layers", NIB_GGUF_BOOL, layers);
    for (size_t layer = 0; layer < layers; layer++) {
        bool recurrent = false;
        for (; at < g->node_count && g->nodes[at].segment <= (int)layer + 1; at++)
            recurrent |= g->nodes[at].scan.heads != 0;
        nib_gguf_entry_number(p->w, NIB_GGUF_BOOL, recurrent);
    }
    nib_gguf_put_own(p, "full_attention_interval", NIB_GGUF_U32,
                     json_is_integer(interval) ? json_number_value(interval) : 4);
}

/* Whether llama.cpp finds each rotated pair of channels in one of the first three sections, which
 * take pairs by turns: any other it leaves as it is. */
static bool cover(const nib_gguf_put *p, const size_t sections[4])
{
    size_t all = sections[0] + sections[1] + sections[2] + sections[3], pairs = 0;

    for (size_t i = 0; i < p->graph->node_count; i++)
        if (p->graph->nodes[i].rope) pairs = p->graph->nodes[i].rope->rot / 2;
    for (size_t i = 0; i < pairs && all; i++)
        if (i % all >= 3 * sections[i % all % 3]) return false;
    return all && all <= nib_gguf_attention(p->graph)->head_dim;
}

static void dense_put(const nib_gguf_put *p)
{
    const json_t *rope = json_object_get(p->config, "rope_parameters"), *list, *size;
    size_t sections[4] = { 11, 11, 10, 0 }, i;

    next_put(p);
    if (!json_is_object(rope)) rope = json_object_get(p->config, "rope_scaling");
    list = json_object_get(rope, "mrope_section");
    if (list) memset(sections, 0, sizeof sections);
    json_array_foreach(list, i, size)
        if (i < 4 && json_is_integer(size) && json_integer_value(size) > 0 &&
            json_integer_value(size) <= 65536)
            sections[i] = (size_t)json_integer_value(size);
    if (!cover(p, sections))
        *p->unsaid = "rotates what mrope_section names (without it 11, 11 and 10 pairs), which "
                     "here is not what the model rotates";
    put_array_key(p, "rope.dimension_sections", NIB_GGUF_I32, 4);
    for (i = 0; i < 4; i++) nib_gguf_entry_number(p->w, NIB_GGUF_I32, (double)sections[i]);
}

static const char *gguf_unsaid(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->linear && n->linear->bias) return "has no biases in attention";
        if (n->scan.heads && n->scan.rows != n->scan.columns)
            return "has heads of keys and of values of one width (linear_key_head_dim, "
                   "linear_value_head_dim)";
    }
    return NULL;
}

static const nib_gguf_family next_gguf = {
    .architecture = "qwen3next", .model_type = "qwen3_next", .class_name = "Qwen3NextForCausalLM",
    .names = next_names, .tensors = next_tensors, .keys = moe_keys, .finish = next_finish,
    .put = next_put, .unsaid = gguf_unsaid,
};
static const nib_gguf_family dense_gguf = {
    .architecture = "qwen35", .model_type = "qwen3_5_text", .class_name = "Qwen3_5ForCausalLM",
    .names = dense_names, .tensors = dense_tensors, .keys = dense_keys, .finish = dense_finish,
    .put = dense_put, .unsaid = gguf_unsaid,
};
static const nib_gguf_family moe_gguf = {
    .architecture = "qwen35moe", .model_type = "qwen3_5_moe_text",
    .class_name = "Qwen3_5MoeForCausalLM", .names = moe_names, .tensors = moe_tensors,
    .keys = moe_keys, .finish = dense_finish, .put = dense_put, .unsaid = gguf_unsaid,
};

static const char *const next_types[] = { "qwen3_next", NULL };
static const char *const dense_types[] = { "qwen3_5_text", NULL };
static const char *const moe_types[] = { "qwen3_5_moe_text", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none */

const nib_arch nib_arch_qwen3_next = { .model_types = next_types,
                                       .config_bytes = sizeof(qwen3_next), .read = read_qwen3_next,
                                       .prefix = "model.", .tasks = 1 << NIB_TASK_CAUSAL_LM,
                                       .build = build, .default_targets = targets,
                                       .gguf = &next_gguf };
const nib_arch nib_arch_qwen3_5 = { .model_types = dense_types, .config_bytes = sizeof(qwen3_next),
                                    .read = read_qwen3_5, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets, .gguf = &dense_gguf };
const nib_arch nib_arch_qwen3_5_moe = { .model_types = moe_types,
                                        .config_bytes = sizeof(qwen3_next),
                                        .read = read_qwen3_5_moe, .prefix = "model.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets, .gguf = &moe_gguf };
