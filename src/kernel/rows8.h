/* rows8.h - rows of signed 8-bit integers, their products, and rows of numbers turned into them.
 *
 *     r = greatest |x|     code = round(x * (1 / r * 127)), to even     x ~ code * r / 127
 *
 * Sums are integers, so every variant gives the same ones.
 * Source: Dettmers et al. 2022, arXiv:2208.07339 (LLM.int8). */
#ifndef NIB_KERNEL_ROWS8_H
#define NIB_KERNEL_ROWS8_H

#include "base/base.h"

enum { NIB_INT8_MOST_TERMS = 131072 }; /* of a sum: 127 * 128 * 131072 is below 2^31 */

/* Rows of codes, `ld` bytes from one to the next. */
typedef struct nib_int8_rows { const int8_t *codes; size_t rows, ld; } nib_int8_rows;

/* y[m * ldy + r] = sum over i < n of x[m, i] * w[r, i], n at most NIB_INT8_MOST_TERMS.  Codes of x
 * are -127 to 127, those of w -128 to 127.  Reads n values of a row, no more. */
typedef void nib_int8_products_fn(size_t n, nib_int8_rows x, nib_int8_rows w, int32_t *y,
                                  size_t ldy);

typedef struct nib_int8_row {
    float absmax;   /* r: 0 where there is nothing but zeros and outliers; NaN: x has one */
    size_t outliers;
} nib_int8_row;

/* n floats, rounded to float16 first, as the library does, to codes.  Values of magnitude
 * `threshold` or more, rounded, are outliers: their code is 0, they do not count for r, and their
 * bits are set in outliers, n / 64 words rounded up (bit i % 64 of word i / 64), the other bits
 * cleared; threshold infinite: none but infinities.  Where r is NaN all codes are 0. */
typedef nib_int8_row nib_int8_encode_fn(size_t n, const float *x, float threshold, int8_t *codes,
                                        uint64_t *outliers);

/* x[i] = codes[i] * step */
typedef void nib_int8_decode_fn(size_t n, const int8_t *codes, float step, float *x);

#endif
