/* arch_mistral.c - Mistral: llama's layer with a sliding window (formats.md 10.5).
 * Jiang et al. 2023, arXiv:2310.06825. */
#include "model/arch_llama.h"

static nib_status read_mistral(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                               nib_error *err)
{
    nib_llama *m = config;
    const json_t *window = json_object_get(json, "sliding_window");
    int64_t size = window ? 0 : 4096; /* absent means 4096, null none */
    nib_status status = nib_llama_read(ctx, json, where, config, err);

    if (status) return status;
    status = nib_json_get_int(json, where, "sliding_window", 1, 1 << 30, &size, err);
    m->window = (size_t)size;
    m->qkv_bias = m->o_bias = m->mlp_bias = false;
    return status;
}

static const char *const types[] = { "mistral", NULL };

const nib_arch nib_arch_mistral = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_mistral, .prefix = "model.",
                                    .embedding = "model.embed_tokens", .head = "lm_head",
                                    .layer = nib_llama_layer, .back = nib_llama_back,
                                    .has_bias = nib_llama_has_bias, .shape = nib_llama_shape,
                                    .default_targets = nib_llama_targets };
