/* arch_qwen3_moe.c - Qwen3 with experts (formats.md 10.45).  arXiv:2505.09388. */
#include "model/experts.h"

static void read_qwen3_moe(nib_reader *r, void *config)
{
    nib_moe *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.inner = 6144;
    keys.kv_heads = 4;
    keys.no_null_kv_heads = keys.no_null_head_dim = true;
    keys.positions = 32768;
    nib_llama_read_keys(r, &m->m, &keys);
    nib_qwen_read_window(r, &m->m);
    m->m.head_norm = nib_qwen3_norm_heads;
    nib_read_route(r, &m->route, 128, 8);
    m->route.normalize = nib_read_bool(r, "norm_topk_prob", false);
    m->inner = nib_read_size_or(r, "moe_intermediate_size", 768);
    nib_read_sparse_layers(r, m);
}

static nib_value mlp(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    const nib_moe *m = (const nib_moe *)llama;

    if (!m->sparse[i]) return nib_llama_mlp(b, llama, i, h);
    nib_value logits = nib_apply_router(b, h, m->route.experts, "model.layers.%d.mlp.gate", i);
    nib_experts e = nib_route(b, logits, &m->route);
    return nib_apply_gated_experts(b, m, e, i, h, "model.layers.%d.mlp.experts", nib_expert_names);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_moe *m = config;

    (void)task;
    nib_llama_stack_of(b, &m->m, nib_llama_attention, mlp);
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_EXPERTS("mlp", "gate_proj", "up_proj", "down_proj"),
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "attn_q_norm", "model.layers.%d.self_attn.q_norm", NIB_GGUF_AS_IS },
    { "attn_k_norm", "model.layers.%d.self_attn.k_norm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "expert_count", "num_experts" },
    { "expert_used_count", "num_experts_per_tok" },
    { "expert_feed_forward_length", "moe_intermediate_size" },
    { 0 },
};

/* llama.cpp always divides the weights by their sum. */
static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set(c, "norm_topk_prob", json_true());
    nib_gguf_llama_finish(c);
}

static const nib_gguf_family gguf = {
    .architecture = "qwen3moe", .model_type = "qwen3_moe", .class_name = "Qwen3MoeForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

static const char *const types[] = { "qwen3_moe", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_qwen3_moe = { .model_types = types, .config_bytes = sizeof(nib_moe),
                                      .read = read_qwen3_moe, .prefix = "model.",
                                      .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                      .default_targets = targets, .gguf = &gguf };
