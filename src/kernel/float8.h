/* float8.h - decoding runs of E4M3 (float8_e4m3fn), an 8-bit float.
 *
 *     s eeee mmm    e = 0: m * 2^-9,  else (1 + m / 8) * 2^(e - 7);  0x7f and 0xff are NaN,
 *                   and there is no infinity: 0x7e is 448
 *
 * Sources: Micikevicius et al. 2022, arXiv:2209.05433; formats-quant.md 1.1. */
#ifndef NIB_KERNEL_FLOAT8_H
#define NIB_KERNEL_FLOAT8_H

#include "base/base.h"
#include "base/dtype.h"
#include "kernel/gemm.h"

/* What the codes of a run are multiplied or divided by, and the type that the result is rounded to:
 * NIB_F32 (not again), NIB_BF16 or NIB_F16. */
typedef struct nib_float8_scale {
    float by;
    bool divide;
    nib_dtype round;
} nib_float8_scale;

/* dst[i] = codes[i] * by, or / by; each a float operation of its own.  Any n, any address. */
typedef void nib_float8_decode_fn(size_t n, const uint8_t *codes, nib_float8_scale scale,
                                  float *dst);

/* 32 columns of some rows, each of which has a scale of its own. */
typedef struct nib_float8_column {
    const uint8_t *codes; /* of the first row */
    size_t stride;        /* bytes from row to row */
    const float *by;      /* [rows]; the rest as in nib_float8_scale */
    bool divide;
    nib_dtype round;
} nib_float8_column;

/* Packs them as a panel whose terms are the rows (gemm.h); strip: values from the first strip to
 * the second; terms even for pairs.  The bits are those of float8_decode. */
typedef void nib_float8_back_fn(const nib_float8_column *c, size_t terms, nib_pack_kind pack,
                                void *panel, size_t strip);

/* A row whose codes have a scale for each `columns` of them, not rounded again. */
typedef struct nib_float8_row {
    const uint8_t *codes;
    size_t n, columns; /* multiples of 32 */
    const float *by;   /* [ceil(n / columns)] what the values of each run are multiplied by */
} nib_float8_row;

/* y[m * ldy] = the row . row m < M of x [M, n], M at most NIB_DOT_ROWS.  Sums in float, in an order
 * of the variant's own, which is the same for every M. */
typedef void nib_float8_dot_fn(const nib_float8_row *r, size_t M, const float *x, float *y,
                               size_t ldy);

#endif
