/* quantize.h - a dense model directory into one with low-bit weights, one matrix at a time. */
#ifndef NIBBLE_QUANTIZE_H
#define NIBBLE_QUANTIZE_H

#include "nibble/context.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_quantize_options {
    const char *model, *out;
    const nib_setting *settings; /* what to quantize to: {"load_in_8bit", "true"}, ..., key NULL */
    /* Of the other tensors: "float32", "float16", "bfloat16"; NULL: the file's. */
    const char *dtype;
    /* llm_int8_skip_modules: linears that stay dense, by the last part of their names, the whole or
     * a part up to a dot.  The head must be among them.  NULL: the head. */
    const char *const *skip_modules;
    size_t skip_count;
    bool overwrite;
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_quantize_options;

typedef struct nib_quantize_result {
    uint64_t matrices, parameters, bytes_before, bytes_after;
    double seconds;
} nib_quantize_result;

/* OUT opens in transformers with from_pretrained.  NIB_E_MISMATCH: MODEL is quantized already. */
nib_status nib_quantize(nib_ctx *ctx, const nib_quantize_options *options,
                        nib_quantize_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
