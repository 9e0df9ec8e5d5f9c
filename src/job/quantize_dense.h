/* quantize_dense.h - the quantization of a model as it lies, without an adapter. */
#ifndef NIB_JOB_QUANTIZE_DENSE_H
#define NIB_JOB_QUANTIZE_DENSE_H

#include "nibble/quantize.h"

/* As nib_quantize(); options->adapter is passed over.  origin: what config.json names as the origin
 * of the weights; NULL: the model's own. */
nib_status nib_quantize_dense(nib_ctx *ctx, const nib_quantize_options *options,
                              const char *origin, nib_quantize_result *result, nib_error *err);

#endif
