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

static const char *const types[] = { "hunyuan_v1_dense", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_hunyuan = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_hunyuan, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                    .default_targets = targets };
