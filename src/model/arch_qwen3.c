/* arch_qwen3.c - Qwen3: llama's layer with a norm for each head of q and of k before the rotation
 * (formats.md 10.31).  arXiv:2505.09388. */
#include <math.h>

#include "model/arch_llama.h"

static void read_qwen3(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.head_dim = 128;
    keys.kv_heads = 32;
    nib_llama_read_keys(r, m, &keys);
    nib_qwen_read_window(r, m);
}

nib_value nib_qwen3_attention(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim, .window = nib_llama_window(m, i),
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;
    bool bias = m->qkv_bias;

    nib_value q = nib_apply_linear(b, h, q_width, bias, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.v_proj", i);
    q = nib_apply_rms_norm_heads(b, q, m->heads, m->eps, "model.layers.%d.self_attn.q_norm", i);
    k = nib_apply_rms_norm_heads(b, k, m->kv_heads, m->eps, "model.layers.%d.self_attn.k_norm", i);
    q = nib_rotate(b, q, m->heads, m->head_dim, &m->rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, &m->rope);
    nib_value a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, m->o_bias, "model.layers.%d.self_attn.o_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack(b, config, nib_qwen3_attention);
}

static const char *const types[] = { "qwen3", NULL };

static const nib_gguf_family gguf = { "qwen3", "qwen3", "Qwen3ForCausalLM",
                                       nib_gguf_plain_names, nib_gguf_llama_keys,
                                       nib_gguf_llama_finish, NULL, NULL };

const nib_arch nib_arch_qwen3 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = read_qwen3, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM | 1 << NIB_TASK_SEQ_CLS,
                                  .other_heads = nib_llama_heads,
                                  .build = build,
                                  .default_targets = nib_llama_targets,
                                  .gguf = &gguf };
