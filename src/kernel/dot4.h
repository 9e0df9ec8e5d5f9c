/* dot4.h - products of one row with rows of 4-bit codes or of bfloat16 values: generation, where
 * each weight is read from memory once and used once.
 *
 *     y[n] = sum over blocks b of scale[n, b] * sum over the block's 64 codes of table[code] * x
 *
 * Two codes a byte, high nibble first.  The table is applied as it is and the scale once a block,
 * in float: not the rounding of a decoded value to the compute type, but within its tolerance. x is
 * put once into the order in which a variant's lanes meet the codes (`arrange`). */
#ifndef NIB_KERNEL_DOT4_H
#define NIB_KERNEL_DOT4_H

#include "base/base.h"
#include "kernel/quant4.h"

enum { NIB_DOT4_BLOCK = 64 };

typedef struct nib_dot4 {
    const uint8_t *codes;      /* of the first row */
    const float *table;        /* [16] */
    size_t rows, blocks;       /* a row is blocks * 32 bytes, the next one behind it */
    size_t first;              /* the first row's first block, counted over the whole matrix */
    unsigned shift;            /* 2^shift neighbouring blocks share a scale */
    const float *scales;       /* the whole matrix's, or NULL when nested (nib_nested_scale): */
    const uint8_t *scale_codes;
    const float *scale_table, *nested;
    float offset;
} nib_dot4;

/* Scale of a block, counted from the first row's first; nested: !d->scales, given so that a loop
 * need not ask. */
static inline float nib_dot4_scale(const nib_dot4 *d, bool nested, size_t block)
{
    size_t s = (d->first + block) >> d->shift;
    if (!nested) return d->scales[s];
    return nib_nested_scale(d->scale_table, d->scale_codes, d->nested, d->offset, s);
}

/* Rows of x at a time, at most.  Up to here a dot per output beats panels, and dots and attention
 * give a row the bits that it has alone: generation rests on that. */
enum { NIB_DOT_ROWS = 4 };

/* n: a multiple of 64. */
typedef void nib_arrange4_fn(size_t n, const float *x, float *to);
/* y[m * ldy + r] = row r of the weight times row m < M of x, rows ldx apart: codes are looked up
 * once for all M. A row's bits do not depend on M. */
typedef void nib_dot4_fn(const nib_dot4 *d, size_t M, const float *x, size_t ldx, float *y,
                         size_t ldy);

/* Optional: the same with x in fixed point and the table's values as 16-bit words, whose products
 * and their sum within a block are exact.  A value of x loses up to 2^-14 of the greatest of its
 * block (2^-16 where that stands alone), one of the table 2^-16 of the greatest: "high" in
 * torch.set_float32_matmul_precision.  Sums are made in words of the table, so that x above some
 * 2^110 may overflow.  A row of x is n words of -NIB_FIXED4_MOST to NIB_FIXED4_MOST, then for each
 * block the step that its words count (nib_fixed4_steps): NaN when x is not finite there.  ldx is
 * in words. */
enum { NIB_FIXED4_MOST = 32767 };
static inline const float *nib_fixed4_steps(const int16_t *row, size_t blocks)
{
    return (const float *)(const void *)(row + blocks * NIB_DOT4_BLOCK);
}
typedef void nib_arrange4_fixed_fn(size_t n, const float *x, int16_t *to);
typedef void nib_dot4_fixed_fn(const nib_dot4 *d, size_t M, const int16_t *x, size_t ldx, float *y,
                               size_t ldy);

/* The same with products of bfloat16 pairs: the table is rounded to bfloat16, sums of a block are
 * multiplied by its scale in float. */
typedef void nib_arrange4_bf16_fn(size_t n, const uint16_t *x, uint16_t *to);
typedef void nib_dot4_bf16_fn(const nib_dot4 *d, size_t M, const uint16_t *x, size_t ldx, float *y,
                              size_t ldy);

/* y[r] = sum over i of w[r * ld + i] * x[i], bfloat16 rows; any n.  x is arranged by
 * arrange_row. */
typedef void nib_arrange_row_fn(size_t n, const float *x, float *to);
typedef void nib_dot_rows_fn(size_t rows, size_t n, const uint16_t *w, size_t ld, const float *x,
                             float *y);
typedef void nib_dot_rows_bf16_fn(size_t rows, size_t n, const uint16_t *w, size_t ld,
                                  const uint16_t *x, float *y);

#endif
