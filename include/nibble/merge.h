/* merge.h - W0 + s B A into a dense model directory, one matrix at a time. */
#ifndef NIBBLE_MERGE_H
#define NIBBLE_MERGE_H

#include <stdbool.h>

#include "nibble/context.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_merge_result {
    /* The base's form when the adapter was trained ("dense", "nf4 64", "nf4 64 double": block size,
     * double-quantized scales; "" when the adapter does not say) and MODEL's. */
    char trained_form[48], model_form[48];
    bool other_form;         /* they differ: the merged model is not quite what was trained */
    /* Then the greatest difference between the two bases that a matrix has, relative to its norm,
     * and that matrix.  A dense MODEL is encoded to know it; of a 4-bit one the dense original is
     * gone and it is the most it can be (change_is_bound).  Negative: not known. */
    double greatest_change;
    bool change_is_bound;
    char matrix[256];
} nib_merge_result;

typedef struct nib_merge_options {
    const char *model, *adapter, *out; /* adapter NULL: MODEL itself, dense */
    const char *dtype;       /* "bfloat16", "float32", or NULL: the model's */
    bool overwrite;
    nib_merge_result *result; /* filled on success; may be NULL */
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_merge_options;

nib_status nib_merge(nib_ctx *ctx, const nib_merge_options *options, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
