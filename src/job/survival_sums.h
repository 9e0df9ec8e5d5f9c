/* survival_sums.h - how much of an adapter's change a stored matrix has.
 *
 * With D what the adapter changes of a matrix, W what it was trained on, W' what is stored and x a
 * row of its input:
 *
 *     a = <x (W' - W)^T, x D^T>    b = |x D^T|²    c = |x (W' - W - D)^T|²
 *
 *     survived S = sum a / sum b                1: all of it, 0: nothing
 *     noise      = sqrt(sum c / sum b)          what is beside it, S - 1 of D itself included
 *     error      = sqrt(n / (n - 1) sum (a - S b)²) / sum b      the standard error of S, a ratio
 *
 * Source of the error: Cochran, Sampling Techniques, 1977, section 6.3. */
#ifndef NIB_JOB_SURVIVAL_SUMS_H
#define NIB_JOB_SURVIVAL_SUMS_H

#include "graph/branch.h"
#include "nibble/merge.h"
#include "quant/weight.h"

typedef struct nib_change {
    const nib_weight *base, *made; /* W and W' */
    const nib_weight *whole;       /* D is this one less W, and */
    const nib_branch *branch;      /* this; each may be NULL */
    bool embedding;                /* x is one-hot, and x W a row of it */
} nib_change;

typedef struct nib_survival_sums {
    uint64_t rows;
    double a, b, c, aa, ab, bb;
} nib_survival_sums;

void nib_survival_add(nib_survival_sums *to, const nib_survival_sums *more);
nib_survival nib_survival_of(const nib_survival_sums *s); /* NaN where D is 0 */

/* Adds to the sums, the same bits for any number of threads.  NIB_E_NOMEM. */

/* x: the rows of the identity, each input alone. */
nib_status nib_survival_of_weights(nib_ctx *ctx, const nib_change *c, nib_survival_sums *to,
                                   nib_error *err);
/* x [rows, in], of a linear. */
nib_status nib_survival_of_rows(nib_ctx *ctx, const nib_change *c, const float *x, size_t rows,
                                nib_survival_sums *to, nib_error *err);
/* x: the words ids [rows], of an embedding. */
nib_status nib_survival_of_ids(nib_ctx *ctx, const nib_change *c, const uint32_t *ids, size_t rows,
                               nib_survival_sums *to, nib_error *err);

#endif
