/* sketch.h - which outputs of a large matrix are the greatest, found by reading half of its bytes.
 *
 * The head of a small model is half of what a token reads, and a choice needs its few greatest
 * logits only. A sketch holds each row of the matrix in 8 bits with one scale, and how far the row
 * is from that.  Products with the sketch bound every output from both sides:
 *
 *     |w.x - w'.x'| <= |w - w'| |x| + |w'| |x - x'|        w', x': as the sketch has them (Cauchy,
 * Schwarz)
 *
 * Rows whose upper bound reaches the n-th greatest lower bound are all that can be among the n
 * greatest; the caller computes those from the matrix itself, so nothing of the result is
 * approximate.  The bounds have room for the rounding of float sums. Source: Weber, Schek and Blott
 * 1998 (VLDB, "vector approximation file"). */
#ifndef NIB_QUANT_SKETCH_H
#define NIB_QUANT_SKETCH_H

#include "kernel/kernels.h"
#include "quant/weight.h"

typedef struct nib_sketch nib_sketch;

/* Of a dense w, which the sketch does not keep, its values rounded to the compute type as products
 * round them. Rows with values that are not finite are found always.  NIB_E_NOMEM. */
nib_status nib_sketch_create(nib_ctx *ctx, const nib_kernels *k, nib_dtype type,
                             const nib_weight *w, nib_sketch **out, nib_error *err);
void nib_sketch_destroy(nib_sketch *s); /* NULL is fine */
/* What one of w takes, while it is made too. */
uint64_t nib_sketch_bytes(nib_ctx *ctx, const nib_weight *w);

/* Rows of the matrix in ascending order, in the sketch's own memory until the next call; count 0:
 * no bounds can be had, for x is 0 or too large or too small. */
typedef struct nib_found { const uint32_t *rows; size_t count; } nib_found;

/* found[m]: the rows that can be among the `most` greatest outputs for row m of x [M, in], M at
 * most NIB_DOT_ROWS. */
void nib_sketch_find(nib_sketch *s, size_t M, const float *x, size_t most, nib_found *found);

#endif
