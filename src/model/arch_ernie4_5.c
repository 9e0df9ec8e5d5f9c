/* arch_ernie4_5.c - ERNIE 4.5, dense: llama's layer with neighbouring channels rotated together and
 * one key for all biases (formats.md 10.65). */
#include "model/arch_llama.h"

static void read_ernie(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.head_dim = 128;
    keys.kv_heads = 2;
    keys.eps = 1e-5f;
    keys.theta = 500000;
    keys.inner = 3072;
    keys.positions = 131072;
    keys.tied = true;
    keys.interleaved = true;
    nib_llama_read_keys(r, m, &keys);
    m->qkv_bias = m->o_bias = m->mlp_bias = nib_read_bool(r, "use_bias", false);
}

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_bias(c, "use_bias", "blk.0.attn_q.bias");
}

static const nib_gguf_family gguf = {
    .architecture = "ernie4_5", .model_type = "ernie4_5", .class_name = "Ernie4_5ForCausalLM",
    .names = nib_gguf_plain_names, .keys = nib_gguf_llama_keys, .finish = gguf_finish,
};

static const char *const types[] = { "ernie4_5", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_ernie4_5 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                     .read = read_ernie, .prefix = "model.",
                                     .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                     .default_targets = targets, .gguf = &gguf };
