/* awq_turn.h - AWQ's words, which hold neighbouring outputs of one input, turned into words of
 * neighbouring inputs of one output, as the kernels of few rows take them (grouped_dot.h).
 *
 *     AWQ    nibble j of a word is output 0, 2, 4, 6, 1, 3, 5, 7 [j] of eight
 *
 * Source: formats.md 7.1. */
#ifndef NIB_KERNEL_AWQ_TURN_H
#define NIB_KERNEL_AWQ_TURN_H

#include "base/base.h"

enum { NIB_AWQ_OUTPUTS = 32, NIB_AWQ_INPUTS = 8 }; /* of a block that is turned */

/* to[b * 32 + o]: word of output o, whose nibble t is input 8 b + t.  rows: of each of 8 * count
 * inputs the four words of 32 outputs, `next` bytes apart, of any alignment. */
typedef void nib_awq_turn_fn(size_t count, const uint8_t *rows, size_t next, uint32_t *to);

#endif
