/* grouped_row.h - products of few rows with a row of grouped integer codes that lie side by side
 * (compressed-tensors, MLX): generation, where each weight is read from memory once and used once.
 *
 *     y = sum over groups of scale[group] * sum of code * x - offset[group] * sum of x
 *
 * offset: scale times zero point, or -bias.  x is arranged once in fixed point (fixed.h).  Values
 * are not rounded to the scales' type. */
#ifndef NIB_KERNEL_GROUPED_ROW_H
#define NIB_KERNEL_GROUPED_ROW_H

#include "kernel/fixed.h"

enum { NIB_GROUPED_ROW_STEP = 64 }; /* terms and groups are multiples of it */

static inline bool nib_grouped_row_takes(unsigned bits) { return bits == 4 || bits == 8; }

typedef struct nib_grouped_row {
    const uint8_t *codes;         /* of any alignment; of 4 bits the lower nibble is first */
    unsigned bits;
    uint8_t flip;                 /* of 8 bits: a code is the byte ^ flip */
    size_t terms, group;
    const float *scales, *offsets; /* of each group */
} nib_grouped_row;

/* How arrange_fixed lays x out for it. */
static inline nib_fixed_order nib_grouped_row_order(unsigned bits)
{
    return bits == 4 ? NIB_FIXED_TURNS4 : NIB_FIXED_EVEN_ODD;
}

/* Then, for codes of 4 bits, each block's step goes behind the arranged row four times, n / 2
 * bytes: a vector has those of the sums of two blocks. */
static inline void nib_grouped_row_repeat(unsigned bits, size_t n, void *x)
{
    float *steps = (float *)(void *)((int16_t *)x + n), *to = steps + n / 32 + n / 16;

    for (size_t i = 0; bits == 4 && i < n / 8; i++) to[i] = steps[i / 4];
}

/* Value i of the n of x, arranged. */
static inline int32_t nib_grouped_row_word(unsigned bits, const int16_t *x, size_t n, size_t i)
{
    size_t in = i % NIB_FIXED_BLOCK;

    if (bits == 4) return nib_fixed_turned(x, n, i);
    return x[i - in + in % 2 * NIB_FIXED_HALF + in / 2];
}

/* y[m * ldy] for M rows of x, which are whole.  ones[m * ldo + g]: the sum of x over group g.  A
 * row's bits do not depend on M. */
typedef void nib_grouped_row_dot_fn(const nib_grouped_row *row, size_t M, const nib_fixed_x *x,
                                    const float *ones, size_t ldo, float *y, size_t ldy);

#endif
