/* quantize_gguf.h - a GGUF file as a low-bit directory. */
#ifndef NIB_JOB_QUANTIZE_GGUF_H
#define NIB_JOB_QUANTIZE_GGUF_H

#include "nibble/quantize.h"

/* MODEL is a GGUF file: each matrix is decoded, put into the rows that its family has and encoded
 * again by itself; what is calibrated is written dense beside OUT first.  Errors as nib_merge()'s.
 */
nib_status nib_quantize_gguf(nib_ctx *ctx, const nib_quantize_options *options,
                             nib_quantize_result *result, nib_error *err);

#endif
