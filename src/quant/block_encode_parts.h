/* block_encode_parts.h - one block of 256 values each: for block_encode.c alone. */
#ifndef NIB_QUANT_BLOCK_ENCODE_PARTS_H
#define NIB_QUANT_BLOCK_ENCODE_PARTS_H

#include "base/base.h"

void nib_encode_q4_k(const float *x, uint8_t *block);
void nib_encode_q5_k(const float *x, uint8_t *block);
void nib_encode_q6_k(const float *x, uint8_t *block);

#endif
