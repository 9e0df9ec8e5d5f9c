/* arch_qwen2_moe.c - Qwen1.5 and Qwen2 with experts, one of which every token goes to, as far as a
 * gate of its own lets it (formats.md 10.45).  arXiv:2407.10671. */
#include "model/qwen_moe.h"

static void read_qwen2_moe(nib_reader *r, void *config)
{
    static const nib_qwen_moe_defaults defaults = {
        .inner = 5632, .kv_heads = 16, .experts = 60, .top = 4, .expert_inner = 1408
    };
    nib_moe *m = config;

    nib_read_must_be_off(r, "use_sliding_window", "which layers have a window is not known");
    nib_qwen_moe_read(r, m, &defaults);
    m->m.qkv_bias = nib_read_bool(r, "qkv_bias", true);
    m->m.o_bias = false;
    m->shared = nib_read_size_or(r, "shared_expert_intermediate_size", 5632);
}

static nib_value mlp(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    const nib_moe *m = (const nib_moe *)llama;

    if (!m->sparse[i]) return nib_llama_mlp(b, llama, i, h);
    nib_value x = nib_qwen_moe_experts(b, m, i, h);
    nib_value shared = nib_apply_shared_expert(b, m, i, h, "model.layers.%d.mlp.shared_expert");
    nib_value gate = nib_apply_linear(b, h, 1, false, "model.layers.%d.mlp.shared_expert_gate", i);
    return nib_add(b, x, nib_gate_rows(b, shared, gate));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack_of(b, config, nib_llama_attention, mlp);
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_EXPERTS("mlp", "gate_proj", "up_proj", "down_proj"),
    { "ffn_gate_inp_shexp", "model.layers.%d.mlp.shared_expert_gate", NIB_GGUF_ONE_ROW },
    { "ffn_gate_shexp", "model.layers.%d.mlp.shared_expert.gate_proj", NIB_GGUF_AS_IS },
    { "ffn_up_shexp", "model.layers.%d.mlp.shared_expert.up_proj", NIB_GGUF_AS_IS },
    { "ffn_down_shexp", "model.layers.%d.mlp.shared_expert.down_proj", NIB_GGUF_AS_IS },
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "expert_count", "num_experts" },
    { "expert_used_count", "num_experts_per_tok" },
    { "expert_feed_forward_length", "moe_intermediate_size" },
    { "expert_shared_feed_forward_length", "shared_expert_intermediate_size" },
    { 0 },
};

/* llama.cpp never divides the weights by their sum. */
static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set(c, "norm_topk_prob", json_false());
    nib_gguf_set_bias(c, "qkv_bias", "blk.0.attn_q.bias");
}

static const nib_gguf_family gguf = {
    .architecture = "qwen2moe", .model_type = "qwen2_moe", .class_name = "Qwen2MoeForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

static const char *const types[] = { "qwen2_moe", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_qwen2_moe = { .model_types = types, .config_bytes = sizeof(nib_moe),
                                      .read = read_qwen2_moe, .prefix = "model.",
                                      .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                      .default_targets = targets, .gguf = &gguf };
