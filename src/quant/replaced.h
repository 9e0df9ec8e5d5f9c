/* replaced.h - a weight some rows of which are given apart, in float, and may change (the rows of
 * trained words).  All else is read where it lies. */
#ifndef NIB_QUANT_REPLACED_H
#define NIB_QUANT_REPLACED_H

#include "quant/weight.h"

/* Row rows[i] of `under` is values[i], [count, in].  The rows are copied; `under` and the values
 * are borrowed and must outlive *w.  NIB_E_INVALID: a row that is not there, or twice. */
nib_status nib_weight_replaced(nib_ctx *ctx, const nib_weight *under, const uint32_t *rows,
                               size_t count, const float *values, nib_weight **w, nib_error *err);

/* Its other rows lie in `under`, of the same shape, from now on; for when a weight is taken over by
 * another one. */
void nib_replaced_move(nib_weight *w, const nib_weight *under);

enum { NIB_NOT_REPLACED = -1 };
/* Which of the given rows row `row` of such a weight is; NIB_NOT_REPLACED: none. */
int64_t nib_replaced_find(const nib_weight *w, size_t row);
/* The other way round: which row given row `i` is. */
size_t nib_replaced_row(const nib_weight *w, size_t i);

#endif
