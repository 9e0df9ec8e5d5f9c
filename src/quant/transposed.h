/* transposed.h - a weight whose file holds it as [in, out] (GPT-2's Conv1D), read where it lies. */
#ifndef NIB_QUANT_TRANSPOSED_H
#define NIB_QUANT_TRANSPOSED_H

#include "quant/weight.h"

/* *w becomes the transpose of `stored`, which it owns from then on (not after a failure). */
nib_status nib_weight_transposed(nib_ctx *ctx, nib_weight *stored, nib_weight **w, nib_error *err);
/* What is stored, or NULL: `w` is no transpose. */
const nib_weight *nib_weight_stored(const nib_weight *w);

#endif
