/* singular.h - the greatest singular values of a matrix with their vectors, and its leading QR.
 *
 *     A ~ U diag(S) V     A [out, in]   U [out, R]   S [R], falling   V [R, in]
 *
 * With iterations >= 0: a random subspace of R + NIB_SVD_OVERSAMPLE dimensions, each iteration one
 * product with A^T and one with A, orthogonal after each (Halko, Martinsson and Tropp 2011,
 * arXiv:0909.4061, algorithms 4.4 and 5.1); exact where A's rank is no greater.  NIB_SVD_EXACT: the
 * eigenvectors of A A^T or A^T A, whichever is smaller, in double.
 *
 * Products with A are OpenBLAS's, a thread a tile; what is small is LAPACK's on one thread.  The
 * same bits for any number of threads; random numbers are a function of (seed, key, place). */
#ifndef NIB_QUANT_SINGULAR_H
#define NIB_QUANT_SINGULAR_H

#include "base/base.h"

enum { NIB_SVD_EXACT = -1, NIB_SVD_OVERSAMPLE = 8 };

typedef struct nib_svd_options {
    size_t rank;    /* R, 1 to min(out, in) */
    int iterations; /* or NIB_SVD_EXACT */
    uint64_t seed;
    uint32_t key;
} nib_svd_options;

/* Row-major all.  The sign of a pair of vectors is chance.  A singular value that is nothing beside
 * rounding is 0, or about that; NIB_SVD_EXACT then has zeros for the longer of its vectors.
 * NIB_E_NUMERIC: values of A are not finite, or LAPACK did not converge; NIB_E_NOMEM. */
nib_status nib_svd(nib_ctx *ctx, const float *a, size_t out, size_t in, const nib_svd_options *o,
                   float *u, float *s, float *v, nib_error *err);
/* What it takes beside its arguments, but for LAPACK's own rooms of some thousand rows' length. */
uint64_t nib_svd_bytes(size_t out, size_t in, const nib_svd_options *o);

/* The first R columns of Q and rows of R of A's QR, R at most min(out, in): q [out, R], r [R, in],
 * 0 below its diagonal, with LAPACK's signs.  NIB_E_NUMERIC, NIB_E_NOMEM. */
nib_status nib_qr(nib_ctx *ctx, const float *a, size_t out, size_t in, size_t rank, float *q,
                  float *r, nib_error *err);

#endif
