/* arch_qwen3_next.c - Qwen3-Next and Qwen3.5: three layers of the gated delta rule for each one of
 * attention, whose output has a gate; dense or with experts (formats.md 10.47).
 * Yang et al. 2024, arXiv:2412.06464 (the rule). */
#include <math.h>

#include "model/experts.h"
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

static nib_value feed_forward(nib_build *b, const qwen3_next *s, int i, nib_value h)
{
    static const char of[] = "model.layers.%d.mlp.experts", router[] = "model.layers.%d.mlp.gate";
    const nib_moe *m = &s->moe;

    if (s->dense || (m->sparse && !m->sparse[i])) return nib_llama_mlp(b, &m->m, i, h);
    nib_value logits = s->stacked ? nib_apply_bare_router(b, h, m->route.experts, false, router, i)
                                  : nib_apply_router(b, h, m->route.experts, router, i);
    nib_experts e = nib_route(b, logits, &m->route);
    nib_value x = s->stacked ? nib_apply_stacked_experts(b, m, e, i, h, of, nib_expert_stacks)
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

static const char *const next_types[] = { "qwen3_next", NULL };
static const char *const dense_types[] = { "qwen3_5_text", NULL };
static const char *const moe_types[] = { "qwen3_5_moe_text", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none */

const nib_arch nib_arch_qwen3_next = { .model_types = next_types,
                                       .config_bytes = sizeof(qwen3_next), .read = read_qwen3_next,
                                       .prefix = "model.", .tasks = 1 << NIB_TASK_CAUSAL_LM,
                                       .build = build, .default_targets = targets };
const nib_arch nib_arch_qwen3_5 = { .model_types = dense_types, .config_bytes = sizeof(qwen3_next),
                                    .read = read_qwen3_5, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets };
const nib_arch nib_arch_qwen3_5_moe = { .model_types = moe_types,
                                        .config_bytes = sizeof(qwen3_next),
                                        .read = read_qwen3_5_moe, .prefix = "model.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets };
