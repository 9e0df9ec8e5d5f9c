/* awq.h - activation-aware quantization: factors of the inputs, and clipped ranges, with which
 * rounding to nearest loses the least on the inputs that were observed.
 *
 *     W diag(s) is rounded in the place of W, what makes the input is divided by s (graph/pairs.h)
 *     s = mean|x|^r / (mean|W|^(1 - r) + 1e-4),  r = 0, 1/20, ..., 19/20;  s /= sqrt(max s min s)
 *
 * with |W| as parts of its group's greatest.  Of these and of s = 1 the one is taken whose error
 * |X (W - Q(W diag(s)) diag(1/s))^T|^2, summed over all matrices that read the input, is least.
 * That is computed from the Hessians, over all rows, where AutoAWQ runs modules.
 *
 * Source: Lin et al. 2023, arXiv:2306.00978; formats.md 7.4. */
#ifndef NIB_QUANT_AWQ_H
#define NIB_QUANT_AWQ_H

#include "quant/hessian.h"

/* One of the matrices that read an input. */
typedef struct nib_awq_matrix {
    const nib_hessian *h;   /* of the rows that it sees */
    const nib_weight *from;
    const nib_form *form;   /* that it gets: integers of rows or groups */
} nib_awq_matrix;

/* s [in] of matrices of one input.  *share: what is left of the error of rounding them as they are.
 * Same bits for any number of threads.  NIB_E_NUMERIC: inputs or weights that are not finite;
 * NIB_E_NOMEM. */
nib_status nib_awq_scales(nib_ctx *ctx, const nib_awq_matrix *matrices, size_t count, float *s,
                          double *share, nib_error *err);

/* Clamps each group of w [out, in], already multiplied by s [in] (NULL: 1), to the fraction of its
 * range, from 1 down to .55, with which rounding it loses the least. */
nib_status nib_awq_clip(nib_ctx *ctx, const nib_hessian *h, const float *s, const nib_form *form,
                        float *w, size_t out, size_t in, nib_error *err);

/* What both take, beside the Hessians and the matrices. */
uint64_t nib_awq_bytes(nib_ctx *ctx, const nib_form *form, size_t in);

#endif
