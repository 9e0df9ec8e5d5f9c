/* arch_qwen3.c - Qwen3: llama's layer with a norm for each head of q and of k before the rotation
 * (formats.md 10.31).  arXiv:2505.09388. */
#include "model/arch_llama.h"

nib_value nib_qwen3_norm_heads(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                               size_t heads)
{
    return nib_apply_rms_norm_heads(b, x, heads, m->eps, "model.layers.%d.self_attn.%c_norm", i,
                                    of);
}

static void read_qwen3(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.head_dim = 128;
    keys.kv_heads = 32;
    nib_llama_read_keys(r, m, &keys);
    nib_qwen_read_window(r, m);
    m->head_norm = nib_qwen3_norm_heads;
}

static const char *const types[] = { "qwen3", NULL };

static const nib_gguf_family gguf = {
    .architecture = "qwen3", .model_type = "qwen3", .class_name = "Qwen3ForCausalLM",
    .names = nib_gguf_plain_names, .keys = nib_gguf_llama_keys, .finish = nib_gguf_llama_finish,
};

const nib_arch nib_arch_qwen3 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = read_qwen3, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM | 1 << NIB_TASK_SEQ_CLS |
                                           1 << NIB_TASK_FEATURE_EXTRACTION,
                                  .other_heads = nib_llama_heads,
                                  .build = nib_llama_build,
                                  .default_targets = nib_llama_targets,
                                  .gguf = &gguf };
