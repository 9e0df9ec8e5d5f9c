/* block_encode_parts.h - some blocks of 256 values, and the fit that they have in common: for
 * block_encode*.c alone. */
#ifndef NIB_QUANT_BLOCK_ENCODE_PARTS_H
#define NIB_QUANT_BLOCK_ENCODE_PARTS_H

#include "kernel/kernels.h"

enum { NIB_ENCODE_SUPER = 256, NIB_ENCODE_PART = 32, NIB_ENCODE_PARTS = 8,
       NIB_ENCODE_SETS = 2 }; /* the most at a time */

/* `sets` times 256 values, at most NIB_ENCODE_SETS, to blocks of the kind, one of those that the
 * function is for.  w: how much each value counts; NULL: as without a matrix of importances.  k:
 * that of the processor at hand. */
typedef void nib_encode_fn(const nib_kernels *k, nib_block_kind kind, size_t sets, const float *x,
                           const float *w, uint8_t *blocks);
nib_encode_fn nib_encode_k4 /* Q4_K, Q5_K */, nib_encode_q6_k;

/* The unit of eight scales that are not below 0, and their codes up to 63. */
float nib_fit_scales(const float *x, const float *w, uint8_t *codes);

#endif
