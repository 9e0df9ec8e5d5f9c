/* block_encode_parts.h - one block each, and the fits that the blocks share: for block_encode*.c
 * alone. */
#ifndef NIB_QUANT_BLOCK_ENCODE_PARTS_H
#define NIB_QUANT_BLOCK_ENCODE_PARTS_H

#include "kernel/kernels.h"

enum { NIB_ENCODE_SUPER = 256, NIB_ENCODE_PART = 32, NIB_ENCODE_PARTS = 8,
       NIB_ENCODE_SIXTEEN = 16 };

/* w: how much each value counts [the block's]; NULL: as without a matrix of importances.  k: that
 * of the processor at hand. */
void nib_encode_q4_k(const nib_kernels *k, const float *x, const float *w, uint8_t *block);
void nib_encode_q5_k(const nib_kernels *k, const float *x, const float *w, uint8_t *block);
void nib_encode_q6_k(const nib_kernels *k, const float *x, const float *w, uint8_t *block);
void nib_encode_iq4_nl(const nib_kernels *k, const float *x, const float *w, uint8_t *block);
void nib_encode_mxfp4(const nib_kernels *k, const float *x, const float *w, uint8_t *block);

/* The unit of eight scales that are not below 0, and their codes up to 63. */
float nib_fit_scales(const float *x, const float *w, uint8_t *codes);

#endif
