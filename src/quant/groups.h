/* groups.h - rows that decode in whole groups, and rows of x for dots: what several schemes share,
 * for quant/ alone. */
#ifndef NIB_QUANT_GROUPS_H
#define NIB_QUANT_GROUPS_H

#include "quant/weight.h"

enum { NIB_GROUP_WIDEST = 256 }; /* values of a group, at most */

/* dst[count * size] = the groups [g, g + count) of a row. */
typedef void nib_decode_groups_fn(const nib_weight *w, size_t row, size_t g, size_t count,
                                  float *dst);

/* nib_scheme.decode_tile of a weight in groups of `size` values: whole groups go straight to dst,
 * of the others what is asked for. */
void nib_decode_groups(const nib_weight *w, size_t size, nib_decode_groups_fn *decode, size_t r0,
                       size_t r1, size_t k0, size_t k1, float *dst, size_t ld);

/* nib_scheme.dot_ready where dots read floats as they are, and in fixed point the even values of a
 * block before the odd ones (kernel/fixed.h). */
void nib_dot_ready_plain(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                         const void *x, void *ready);

#endif
