/* arch_gpt_oss.c - gpt-oss: llama's wiring with sinks, a window in every other layer, biases, and
 * experts with a gate of their own (formats.md 10.46).  arXiv:2508.10925. */
#include <math.h>

#include "model/experts.h"

typedef struct gpt_oss {
    nib_moe moe;
    float limit;
} gpt_oss;

static void read_gpt_oss(nib_reader *r, void *config)
{
    gpt_oss *g = config;
    nib_llama *m = &g->moe.m;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.eps = 1e-5f;
    keys.theta = 150000;
    keys.head_dim = 64;
    keys.inner = 2880;
    keys.positions = 131072;
    keys.bias = true;
    keys.rope = "{\"rope_type\": \"yarn\", \"factor\": 32, \"beta_fast\": 32, \"beta_slow\": 1, "
                "\"truncate\": false, \"original_max_position_embeddings\": 4096}";
    nib_llama_read_keys(r, m, &keys);
    m->window = nib_read_size_or_null(r, "sliding_window", 128, 0);
    m->sliding = nib_read_sliding_pattern(r, m->layers, 2);
    nib_read_check_window(r, m->window, m->sliding, m->layers);
    nib_read_route(r, &g->moe.route, 128, 4);
    nib_read_has(r, "experts_per_token"); /* the same number again */
    g->moe.route.scores = NIB_ROUTE_CHOSEN;
    g->moe.inner = m->inner;
    g->limit = (float)nib_read_float_or(r, "swiglu_limit", 7);
    if (!r->status && (!(g->limit > 0) || !m->qkv_bias))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "swiglu_limit %g, attention_bias %s, expected above 0 and true",
                      (double)g->limit, m->qkv_bias ? "true" : "false");
    if (fabs(nib_read_float_or(r, "swiglu_alpha", 1.702) - 1.702) > 1e-9)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "swiglu_alpha other than 1.702");
}

static nib_value norm(nib_build *b, const nib_llama *m, nib_value x, const char *module, int i)
{
    return nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ROUND_LAST, m->eps, module, i);
}

static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim, .window = nib_llama_window(m, i),
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;

    nib_value q = nib_apply_linear(b, h, q_width, true, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, true, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, true, "model.layers.%d.self_attn.v_proj", i);
    q = nib_rotate(b, q, m->heads, m->head_dim, &m->rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, &m->rope);
    attention.sinks = nib_bind_vector(b, m->heads, "model.layers.%d.self_attn.sinks", i);
    nib_value a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, true, "model.layers.%d.self_attn.o_proj", i);
}

static nib_value mlp(nib_build *b, const gpt_oss *g, int i, nib_value h)
{
    const nib_moe *m = &g->moe;
    nib_expert_spec gate_up = { "gate_up_proj", 2 * m->inner, NIB_EXPERT_STACK_IN_OUT,
                                .bias = "gate_up_proj_bias" };
    nib_expert_spec down = { "down_proj", m->m.width, NIB_EXPERT_STACK_IN_OUT,
                             .bias = "down_proj_bias" };
    nib_value logits = nib_apply_bare_router(b, h, m->route.experts, true,
                                             "model.layers.%d.mlp.router", i);
    nib_experts e = nib_route(b, logits, &m->route);

    h = nib_dispatch(b, h, e);
    h = nib_apply_experts(b, h, e, gate_up, "model.layers.%d.mlp.experts", i);
    h = nib_gate_pairs(b, h, g->limit);
    h = nib_apply_experts(b, h, e, down, "model.layers.%d.mlp.experts", i);
    return nib_combine(b, h, e);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const gpt_oss *g = config;
    const nib_llama *m = &g->moe.m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = norm(b, m, x, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, attend(b, m, i, h));
        h = norm(b, m, x, "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, mlp(b, g, i, h));
    }
    nib_segment(b);
    x = nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ROUND_LAST, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    { "ffn_gate_inp", "model.layers.%d.mlp.router", NIB_GGUF_AS_IS },
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "post_attention_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_whole gguf_tensors[] = {
    { "attn_sinks.weight", NULL, "model.layers.%d.self_attn.sinks", NIB_GGUF_AS_IS },
    { "ffn_gate_exps.weight", "ffn_up_exps.weight", "model.layers.%d.mlp.experts.gate_up_proj",
      NIB_GGUF_TURNS },
    { "ffn_gate_exps.bias", "ffn_up_exps.bias", "model.layers.%d.mlp.experts.gate_up_proj_bias",
      NIB_GGUF_TURNS },
    { "ffn_down_exps.weight", NULL, "model.layers.%d.mlp.experts.down_proj", NIB_GGUF_STRAIGHT },
    { "ffn_down_exps.bias", NULL, "model.layers.%d.mlp.experts.down_proj_bias", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { "expert_count", "num_local_experts" },
    { "expert_used_count", "num_experts_per_tok" },
    { "expert_feed_forward_length", "intermediate_size" },
    { 0 },
};

/* Without truncate, of which no key tells, the angles are those that the model was trained with. */
static void gguf_finish(nib_gguf_config *c)
{
    json_t *rope = json_object_get(c->json, "rope_scaling");

    nib_gguf_set(c, "attention_bias", json_true());
    nib_gguf_set_sliding(c);
    if (!rope) nib_gguf_set(c, "rope_scaling", json_null()); /* without the key it has one */
    if (rope && json_object_set_new(rope, "truncate", json_false()))
        nib_gguf_fail(c, NIB_E_NOMEM, "out of memory");
}

static bool slides(const nib_graph *g, size_t layer)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].attention.heads && layer-- == 0) return g->nodes[i].attention.window != 0;
    return false;
}

/* Its every other layer slides, from the first on. */
static const char *gguf_unsaid(const nib_graph *g)
{
    for (size_t i = 0; i + 2 < (size_t)g->segments; i++)
        if (slides(g, i) != (i % 2 == 0)) return "slides in every other layer, from the first on";
    return NULL;
}

static const nib_gguf_family gguf = {
    .architecture = "gpt-oss", .model_type = "gpt_oss", .class_name = "GptOssForCausalLM",
    .names = gguf_names, .tensors = gguf_tensors, .keys = gguf_keys, .finish = gguf_finish,
    .unsaid = gguf_unsaid,
};

static const char *const types[] = { "gpt_oss", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_gpt_oss = { .model_types = types, .config_bytes = sizeof(gpt_oss),
                                    .read = read_gpt_oss, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets, .gguf = &gguf };
