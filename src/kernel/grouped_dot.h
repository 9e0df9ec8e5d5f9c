/* grouped_dot.h - products of few rows with grouped integer codes whose words lie side by side
 * (grouped_panel.h, down): generation, where each weight is read from memory once and used once.
 *
 *     y[n] = sum over groups of scale[group, n] * (sum of code * x - zero[group, n] * sum of x)
 *            or, biased,     of scale[group, n] * sum of code * x + bias[group, n] * sum of x
 *
 * x is arranged once in fixed point (fixed.h), in the order of the codes' bits.  Values are not
 * rounded to the scales' type.  Codes of 2, 3, 4 and 8 bits. */
#ifndef NIB_KERNEL_GROUPED_DOT_H
#define NIB_KERNEL_GROUPED_DOT_H

#include "kernel/fixed.h"
#include "kernel/grouped_panel.h"

static inline bool nib_grouped_dot_takes(unsigned bits)
{
    return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

/* y[(n / 32 * M + m) * 32 + n % 32] += row m < M of x times column n < columns, a multiple of 32,
 * `terms` of them, a multiple of 32; c as for grouped_down, groups in order, flip only of 8 bits.
 * More than 32 columns are of one group, and the panels lie side by side.  x: from the first of
 * these terms on.  A row's bits do not depend on M. */
typedef void nib_grouped_dot_fn(const nib_grouped_codes *c, size_t terms, size_t M,
                                const nib_fixed_x *x, size_t columns, float *y);

#endif
