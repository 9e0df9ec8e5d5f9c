/* fixed.h - a row of x in 16 bits of fixed point with a step for each 32 values, for dots with rows
 * of small integers: sums of a block are exact in 32 bits, and a value loses up to 2^-16 of the
 * greatest of its block ("high" in torch.set_float32_matmul_precision). */
#ifndef NIB_KERNEL_FIXED_H
#define NIB_KERNEL_FIXED_H

#include "base/base.h"

enum { NIB_FIXED_BLOCK = 32, NIB_FIXED_HALF = 16, NIB_FIXED_MOST = 32767 };

/* The order of a block's words.  Of the codes in a word of 32 bits, shifted, two are met at a time
 * that lie 16 bits apart. */
typedef enum nib_fixed_order {
    NIB_FIXED_EVEN_ODD = 1, /* values 0, 2, ... 30, then 1, 3, ... 31 */
    NIB_FIXED_CODES2 = 2,   /* as words of codes of 2 bits meet them */
    NIB_FIXED_CODES4 = 4,
    NIB_FIXED_CODES8 = 8
} nib_fixed_order;

/* Which of a block's values is word i of it. */
static inline size_t nib_fixed_place(nib_fixed_order order, size_t i)
{
    size_t each = 32 / (size_t)order, pair = i / 2;

    if (order == NIB_FIXED_EVEN_ODD) return i % NIB_FIXED_HALF * 2 + i / NIB_FIXED_HALF;
    return pair / (each / 2) * each + pair % (each / 2) + i % 2 * (each / 2);
}

static inline size_t nib_fixed_bytes(size_t n) { return 2 * n + n / 8 + n / 4; }

/* n values, a multiple of 32: n words, then for each block its step, then for each half of a block
 * the sum of its values as the words have them.  A step is NaN where a value is not finite, and its
 * words are 0.  `to` holds nib_fixed_bytes(n), aligned to 4. */
typedef void nib_arrange_fixed_fn(size_t n, nib_fixed_order order, const float *x, void *to);

/* Rows that were arranged, ldx bytes apart, from term t on. */
typedef struct nib_fixed_x {
    const int16_t *words;
    const float *steps, *sums;
    size_t ldx;
} nib_fixed_x;

static inline nib_fixed_x nib_fixed_x_at(const void *rows, size_t n, size_t t, size_t ldx)
{
    const int16_t *words = rows;
    const float *steps = (const float *)(const void *)(words + n);

    return (nib_fixed_x){ words + t, steps + t / NIB_FIXED_BLOCK,
                          steps + n / NIB_FIXED_BLOCK + t / NIB_FIXED_HALF, ldx };
}

/* Row m of them. */
static inline nib_fixed_x nib_fixed_row(const nib_fixed_x *x, size_t m)
{
    size_t by = m * x->ldx;

    return (nib_fixed_x){ (const int16_t *)(const void *)((const char *)x->words + by),
                          (const float *)(const void *)((const char *)x->steps + by),
                          (const float *)(const void *)((const char *)x->sums + by), x->ldx };
}

#endif
