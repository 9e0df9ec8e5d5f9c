/* arch_hunyuan.c - Hunyuan, dense: llama's layer with a norm of each head of q and of k behind the
 * rotation (formats.md 10.67). */
#include "model/arch_llama.h"

static nib_value norm_heads(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                            size_t heads)
{
    return nib_apply_rms_norm_heads(b, x, heads, m->eps, "model.layers.%d.self_attn.%s_layernorm",
                                    i, of == 'q' ? "query" : "key");
}

static void read_hunyuan(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.alpha = true; /* published files have it */
    keys.eps = 1e-5f;
    nib_llama_read_keys(r, m, &keys);
    m->head_norm = norm_heads;
    m->norm_behind = true;
    nib_read_any(r, "eod_token_id");
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_MLP,
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "attn_q_norm", "model.layers.%d.self_attn.query_layernorm", NIB_GGUF_AS_IS },
    { "attn_k_norm", "model.layers.%d.self_attn.key_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_family gguf = {
    .architecture = "hunyuan-dense", .model_type = "hunyuan_v1_dense",
    .class_name = "HunYuanDenseV1ForCausalLM", .names = gguf_names, .keys = nib_gguf_llama_keys,
    .finish = nib_gguf_llama_finish,
};

static const char *const types[] = { "hunyuan_v1_dense", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_hunyuan = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_hunyuan, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                    .default_targets = targets, .gguf = &gguf };
