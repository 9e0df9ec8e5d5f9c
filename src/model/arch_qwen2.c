/* arch_qwen2.c - Qwen2 and Qwen2.5: llama's layer with biases on q, k and v, and a window
 * that only the upper layers use, if at all (formats.md 10.6).  arXiv:2407.10671. */
#include "model/arch_llama.h"

static nib_status read_qwen2(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                             nib_error *err)
{
    nib_llama *m = config;
    const json_t *types = json_object_get(json, "layer_types");
    bool windowed;
    int64_t size = 4096, first = 28;
    nib_status status = nib_llama_read(ctx, json, where, config, err);

    if (status ||
        (status = nib_config_bool(json, where, "use_sliding_window", false, &windowed, err)) ||
        (status = nib_json_get_int(json, where, "sliding_window", 1, 1 << 30, &size, err)) ||
        (status = nib_json_get_int(json, where, "max_window_layers", 0, 1 << 20, &first, err)))
        return status;
    m->qkv_bias = true;
    m->o_bias = m->mlp_bias = false;
    if (!windowed) return NIB_OK;
    m->window = (size_t)size;
    m->first_window = (size_t)first;
    /* layer_types, where there, must say the same: full layers below, windowed ones above. */
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        const char *expected = i >= m->first_window ? "sliding_attention" : "full_attention";
        if (!type || strcmp(type, expected) != 0)
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: layer_types[%zu] is '%s', max_window_layers "
                            "makes it %s",
                            where, i, type ? type : "not a string", expected);
    }
    return NIB_OK;
}

static const char *const types_qwen2[] = { "qwen2", NULL };

const nib_arch nib_arch_qwen2 = { .model_types = types_qwen2, .config_bytes = sizeof(nib_llama),
                                  .read = read_qwen2, .prefix = "model.",
                                  .embedding = "model.embed_tokens", .head = "lm_head",
                                  .layer = nib_llama_layer, .back = nib_llama_back,
                                  .has_bias = nib_llama_has_bias, .shape = nib_llama_shape,
                                  .default_targets = nib_llama_targets };
