/* arch_seed_oss.c - Seed-OSS: llama's layer with biases on q, k and v (formats.md 10.64). */
#include "model/arch_llama.h"

static void read_seed_oss(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.head_dim = 128;
    keys.kv_heads = 8;
    keys.inner = 27648;
    keys.positions = 524288;
    keys.bias = true;
    nib_llama_read_keys(r, m, &keys);
    m->o_bias = nib_read_bool(r, "attention_out_bias", false);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_MLP,
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "post_attention_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_bias(c, "attention_bias", "blk.0.attn_q.bias");
    nib_gguf_set_bias(c, "attention_out_bias", "blk.0.attn_output.bias");
    nib_gguf_set_bias(c, "mlp_bias", "blk.0.ffn_up.bias");
}

static const nib_gguf_family gguf = {
    .architecture = "seed_oss", .model_type = "seed_oss", .class_name = "SeedOssForCausalLM",
    .names = gguf_names, .keys = nib_gguf_llama_keys, .finish = gguf_finish,
};

static const char *const types[] = { "seed_oss", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_seed_oss = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                     .read = read_seed_oss, .prefix = "model.",
                                     .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                     .default_targets = targets, .gguf = &gguf };
