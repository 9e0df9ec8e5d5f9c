/* arch_llama.h - what llama, mistral and qwen2 have in common: the layer. */
#ifndef NIB_MODEL_ARCH_LLAMA_H
#define NIB_MODEL_ARCH_LLAMA_H

#include "model/arch.h"

typedef struct nib_llama {
    nib_config c;
    float eps;
    nib_activation activation;
    bool qkv_bias, o_bias, mlp_bias;
    size_t window;       /* 0: none */
    size_t first_window; /* first layer that uses it */
} nib_llama;

nib_status nib_llama_read(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                          nib_error *err);
nib_value nib_llama_layer(nib_build *b, const void *config, int layer, nib_value x);
nib_value nib_llama_back(nib_build *b, const void *config, nib_value x);
bool nib_llama_has_bias(const void *config, const char *module);
nib_shape nib_llama_shape(const void *config, const char *module);
extern const char *const nib_llama_targets[];

#endif
