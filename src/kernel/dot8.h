/* dot8.h - rows of 8-bit codes, and their products with a row of 16-bit integers: a sketch of a
 * matrix, which is read in the matrix's place where a rough value will do (quant/sketch.h).
 *
 *     code = 128 + round(value / scale), to even, 1 to 255     scale = greatest |value| / 127
 *
 * Integers, so every variant gives the same sums. */
#ifndef NIB_KERNEL_DOT8_H
#define NIB_KERNEL_DOT8_H

#include "base/base.h"

enum { NIB_DOT8_STEP = 64, NIB_DOT8_ZERO = 128 };

/* Where x[i] of a row lies: of each 64 the even ones, then the odd ones, which is how codes come
 * out of words. */
static inline size_t nib_dot8_place(size_t i)
{
    return i / NIB_DOT8_STEP * NIB_DOT8_STEP + i % 2 * (NIB_DOT8_STEP / 2) + i % NIB_DOT8_STEP / 2;
}

/* y[m * ldy + r] = sum over i of codes[r, i] * x[m * n + i] for M rows of x, at most NIB_DOT_ROWS,
 * n a multiple of 64; no sum of 255 |x| may pass 2^31 - 1. */
typedef void nib_dot8_fn(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                         int32_t *y, size_t ldy);

typedef struct nib_encoded8 {
    float scale;
    double error; /* sum of (value - scale * (code - 128))^2 */
} nib_encoded8;

/* n finite values, any number, to codes. */
typedef nib_encoded8 nib_encode8_fn(size_t n, const float *x, uint8_t *codes);

#endif
