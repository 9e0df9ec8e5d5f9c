/* grouped_dot.h - products of few rows with grouped integer codes whose words lie side by side
 * (grouped_panel.h, down): generation, where each weight is read from memory once and used once.
 *
 *     y[n] = sum over groups of scale[group, n] * (sum of code * x - zero[group, n] * sum of x)
 *
 * x is put once into 16 bits of fixed point with a step for each 32 values, so that sums of a block
 * are exact in 32 bits: a value loses up to 2^-16 of the greatest of its block.  Values are not
 * rounded to the scales' type: "high" in torch.set_float32_matmul_precision.  Codes of 2, 4 and 8
 * bits. */
#ifndef NIB_KERNEL_GROUPED_DOT_H
#define NIB_KERNEL_GROUPED_DOT_H

#include "kernel/grouped_panel.h"

enum { NIB_GROUPED_BLOCK = 32, NIB_GROUPED_MOST = 32767 };

/* n, a multiple of 32, values in the order in which words of `bits` meet them: n words of 16 bits,
 * then for each block its step, then for each the sum of its values as the words have them.  Steps
 * are NaN where a value is not finite.  `to` holds 2 n + n / 4 bytes. */
typedef void nib_grouped_arrange_fn(size_t n, unsigned bits, const float *x, void *to);

/* y[m * 32 + n] += row m < M of x times column n < 32, `terms` of them, a multiple of 32; c as for
 * grouped_down, groups in order.  x: from the first of these terms on, its steps and sums `steps`
 * and `sums`, rows ldx bytes apart.  A row's bits do not depend on M. */
typedef struct nib_grouped_x {
    const int16_t *words;
    const float *steps, *sums;
    size_t ldx;
} nib_grouped_x;
typedef void nib_grouped_dot_fn(const nib_grouped_codes *c, size_t terms, size_t M,
                                const nib_grouped_x *x, float *y);

/* A row that was arranged, from term t on. */
static inline nib_grouped_x nib_grouped_x_at(const void *row, size_t n, size_t t, size_t ldx)
{
    const int16_t *words = row;
    const float *steps = (const float *)(const void *)(words + n);

    return (nib_grouped_x){ words + t, steps + t / NIB_GROUPED_BLOCK,
                            steps + n / NIB_GROUPED_BLOCK + t / NIB_GROUPED_BLOCK, ldx };
}

/* Which of a block's values is word i of it: a word of 32 bits, shifted, shows two codes at a time
 * that lie 16 bits apart. */
static inline size_t nib_grouped_place(unsigned bits, size_t i)
{
    size_t each = 32 / bits, pair = i / 2, word = pair / (each / 2), shift = pair % (each / 2);
    return word * each + shift + i % 2 * (each / 2);
}

#endif
