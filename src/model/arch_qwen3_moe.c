/* arch_qwen3_moe.c - Qwen3 with experts (formats.md 10.45).  arXiv:2505.09388. */
#include "model/qwen_moe.h"

static void read_qwen3_moe(nib_reader *r, void *config)
{
    static const nib_qwen_moe_defaults defaults = {
        .inner = 6144, .kv_heads = 4, .experts = 128, .top = 8, .expert_inner = 768
    };
    nib_moe *m = config;

    nib_qwen_moe_read(r, m, &defaults);
    m->m.head_norm = nib_qwen3_norm_heads;
}

static nib_value mlp(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    const nib_moe *m = (const nib_moe *)llama;

    return m->sparse[i] ? nib_qwen_moe_experts(b, m, i, h) : nib_llama_mlp(b, llama, i, h);
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
