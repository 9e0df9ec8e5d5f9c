/* quantize_dense.h - the quantization of a model as it lies, without an adapter. */
#ifndef NIB_JOB_QUANTIZE_DENSE_H
#define NIB_JOB_QUANTIZE_DENSE_H

#include "nibble/quantize.h"

/* As nib_quantize(); options->adapter is passed over.  origin: what config.json names as the origin
 * of the weights; NULL: the model's own.  kept: finished layers lie in KEPT.unfinished and stay
 * there, for the caller to remove (nib_layer_store_forget()); NULL: beside options->out, until that
 * stands. */
nib_status nib_quantize_dense(nib_ctx *ctx, const nib_quantize_options *options,
                              const char *origin, const char *kept,
                              nib_quantize_result *result, nib_error *err);

#endif
