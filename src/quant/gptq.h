/* gptq.h - GPTQ: codes of a matrix that lose the least on the inputs that were observed.
 *
 * Column by column a value is rounded, and the columns behind it take up what was lost: with U
 * the upper factor of H^-1 = U^T U, e = (w_i - q_i) / U_ii, w_j -= e U_ij.  Within a block of 128
 * columns at once, beyond it with one product a block.
 *
 * Source: Frantar et al. 2023, arXiv:2210.17323; formats.md 6.6. */
#ifndef NIB_QUANT_GPTQ_H
#define NIB_QUANT_GPTQ_H

#include "quant/hessian.h"

/* The names of GPTQConfig and of GPTQModel. */
typedef struct nib_gptq_options {
    double damp_percent;    /* of the mean of H's diagonal, added to it; above 0, below 1 */
    double damp_auto_increment; /* more of it where H is not positive definite */
    bool desc_act;          /* columns by falling diagonal of H; without static_groups each column
                               then has a group of its own choosing, and the file g_idx */
    bool static_groups;     /* grids from the matrix as it was, so that groups stay in order */
    bool act_group_aware;   /* without desc_act: groups by the greatest of their diagonals, and in
                               each the columns by theirs, so that groups stay as they are */
    double mse;             /* exponent of the search for a smaller range; 0: none, usual: 2.4 */
} nib_gptq_options;

extern const nib_gptq_options nib_gptq_defaults; /* damping of GPTQModel: .05, by .01 more */

typedef struct nib_gptq_report {
    double damp;            /* the fraction that was used */
    unsigned raises;        /* how often it was raised: 0 where H was positive definite at once */
    size_t dead;            /* inputs that were always 0: their weights became 0 */
} nib_gptq_report;

/* `form` as nib_gptq_encode() makes it: with the order of activations that the options bring. */
nib_form nib_gptq_form(const nib_form *form, const nib_gptq_options *options);

/* Whether a matrix of the shape can be encoded so: the errors that nib_gptq_encode() would give
 * before it begins. */
nib_status nib_gptq_check(const nib_form *form, const nib_gptq_options *options, size_t out,
                          size_t in, nib_error *err);

/* What encoding takes beside the Hessian, the matrix and what is made. */
uint64_t nib_gptq_bytes(nib_ctx *ctx, size_t out, size_t in);

/* `from` in `form`, integers of rows or groups, whose act_order is set here.  *w is
 * the caller's.  Same bits for any number of threads.
 * NIB_E_NUMERIC: inputs or weights that are not finite, or no damping made H positive definite;
 * NIB_E_UNSUPPORTED: the container does not take the shape, holds no integers or no order;
 * NIB_E_INVALID: options out of range; NIB_E_NOMEM. */
nib_status nib_gptq_encode(const nib_hessian *h, const nib_form *form, const nib_weight *from,
                           const nib_gptq_options *options, nib_weight **w,
                           nib_gptq_report *report, nib_error *err);

#endif
