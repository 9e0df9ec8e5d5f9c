/* awq_dot.h - products of few rows with AWQ's codes, whose words lie along the outputs: generation,
 * where each weight is read from memory once and used once.
 *
 *     a word     eight outputs of one input: nibble j is output 0, 2, 4, 6, 1, 3, 5, 7 [j]
 *
 *     y[n] += scale[n] * (sum of code[i, n] * x[i] - zero[n] * sum of x[i])        of one group
 *
 * x is arranged in fixed point (fixed.h, NIB_FIXED_IN_ORDER).  Values are not rounded to the
 * scales' type.
 * Source of the layout: formats.md 7.1. */
#ifndef NIB_KERNEL_AWQ_DOT_H
#define NIB_KERNEL_AWQ_DOT_H

#include "kernel/fixed.h"

enum { NIB_AWQ_STRIP = 128 }; /* outputs that are computed together, at most */

typedef struct nib_awq_group {
    const uint8_t *rows;         /* the words of input i, at rows + i * next, of any alignment */
    size_t next;
    size_t inputs, outputs;      /* multiples of 32 */
    const float *scales, *zeros; /* [outputs] */
} nib_awq_group;

/* y[(n / 32 * M + m) * 32 + n % 32] += output n of row m < M of x, which begins at the group's
 * first input.  room: outputs, rounded up to NIB_AWQ_STRIP, times M.  A row's bits do not depend
 * on M. */
typedef void nib_awq_dot_fn(const nib_awq_group *g, size_t M, const nib_fixed_x *x, float *room,
                            float *y);

#endif
