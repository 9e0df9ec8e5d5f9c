/* arch_mixtral.c - Mixtral: mistral's layer with experts (formats.md 10.44).
 * Jiang et al. 2024, arXiv:2401.04088. */
#include "model/experts.h"

static void read_mixtral(nib_reader *r, void *config)
{
    nib_moe *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.eps = 1e-5f;
    keys.theta = 1e6;
    keys.inner = 14336;
    keys.kv_heads = 8;
    keys.positions = 4096 * 32;
    nib_llama_read_keys(r, &m->m, &keys);
    m->m.window = nib_read_size_or_null(r, "sliding_window", 0, 0);
    m->m.qkv_bias = m->m.o_bias = false;
    nib_read_route(r, &m->route, 8, 2);
    m->route.normalize = true;
    m->inner = m->m.inner;
    if (nib_read_float_or(r, "router_jitter_noise", 0) > 0)
        nib_read_note(r, "router_jitter_noise is not applied: the routers read their input as it "
                         "is");
}

static nib_value mlp(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    static const char *const names[3] = { "w1", "w3", "w2" };
    const nib_moe *m = (const nib_moe *)llama;
    nib_value logits = nib_apply_router(b, h, m->route.experts,
                                        "model.layers.%d.block_sparse_moe.gate", i);

    return nib_apply_gated_experts(b, m, nib_route(b, logits, &m->route), i, h,
                                   "model.layers.%d.block_sparse_moe.experts", names);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack_of(b, config, nib_llama_attention, mlp);
}

static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "expert_count", "num_local_experts" },
    { "expert_used_count", "num_experts_per_tok" },
    { 0 },
};

/* It is llama with experts there (arch_llama.c reads it). */
static const nib_gguf_family gguf = {
    .architecture = "llama", .model_type = "mixtral", .class_name = "MixtralForCausalLM",
    .names = nib_gguf_mixtral_names, .keys = gguf_keys,
};

static const char *const types[] = { "mixtral", NULL };

const nib_arch nib_arch_mixtral = { .model_types = types, .config_bytes = sizeof(nib_moe),
                                    .read = read_mixtral, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = nib_llama_targets, .gguf = &gguf };
