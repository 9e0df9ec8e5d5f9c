/* hessian.h - what calibrated encoders know of a matrix's inputs: H = sum of x x^T over rows x.
 *
 *     |X (W - Q)^T|² = sum over the rows d of W - Q of d H d^T
 *
 * Sums of float32 in a fixed order: the same bits for any number of threads.  Products are
 * OpenBLAS's, a thread a tile. */
#ifndef NIB_QUANT_HESSIAN_H
#define NIB_QUANT_HESSIAN_H

#include "quant/weight.h"

typedef struct nib_hessian {
    nib_ctx *ctx;
    size_t in;
    uint64_t rows;    /* observed */
    float *h;         /* [in, in]; the lower triangle, [i * in + j] with j <= i */
    float *x;         /* [NIB_HESSIAN_ROWS, in] rows as floats */
    double *sizes;    /* [in] sum of |x| */
} nib_hessian;
enum { NIB_HESSIAN_ROWS = 512 };

/* NIB_E_NOMEM. *out is the caller's, who frees it with nib_hessian_destroy(). */
nib_status nib_hessian_create(nib_ctx *ctx, size_t in, nib_hessian **out, nib_error *err);
void nib_hessian_destroy(nib_hessian *h); /* NULL is fine */
uint64_t nib_hessian_bytes(size_t in);    /* what it takes */

/* Adds `rows` rows of `in` values of the type (NIB_F32, NIB_BF16), `ld` values apart. */
void nib_hessian_observe(nib_hessian *h, const void *x, nib_dtype type, size_t rows, size_t ld);

/* As if each input had been 1 alone, in a row of its own: nothing is known of them, and what is
 * calibrated on it is rounded to nearest. */
void nib_hessian_unit(nib_hessian *h);

static inline float nib_hessian_at(const nib_hessian *h, size_t i, size_t j)
{
    return i >= j ? h->h[i * h->in + j] : h->h[j * h->in + i];
}

/* |X (A - B)^T|², b NULL: |X A^T|²; of weights [out, in].  NIB_E_NOMEM. */
nib_status nib_hessian_error(const nib_hessian *h, const nib_weight *a, const nib_weight *b,
                             double *error, nib_error *err);

#endif
