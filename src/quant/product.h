/* product.h - the products of a linear layer with a weight of any scheme.
 *
 *     forward    y  = gain * (x W^T + u B^T) + bias     x [M, in]   y  [M, out]
 *     backward   dx = dy W  + v A                       dy [M, out] dx [M, in]
 *
 * u [M, R] and v [M, R] are the inner values of a low-rank branch, already scaled,
 * in float; A [R, in] and B [out, R] are float.  y and dx are of the compute
 * type (float32 or bfloat16), x and dy of that or widened (operand.h), all row-major.  The weight
 * is never expanded: blocks are decoded into a cache-sized panel that all rows of the batch use.
 *
 * Sums run over k in one fixed order in float, low-rank part, gain and bias last, and
 * the result is rounded once: a row's values do not depend on the other rows, nor
 * on the number of threads.  (nib_product_dot, for few rows, promises a tolerance.) */
#ifndef NIB_QUANT_PRODUCT_H
#define NIB_QUANT_PRODUCT_H

#include "quant/operand.h"
#include "quant/weight.h"

typedef struct nib_product_args {
    nib_dtype type;       /* the compute type, NIB_F32 or NIB_BF16; weights are rounded to it */
    bool decode; /* forward: by the decoded weight, whatever product the scheme has of its own */
    nib_precision precision; /* of nib_product_dot in float32; panels are always the highest */
    size_t rows;          /* M */
    nib_operand x;        /* [M, in], or [M, out] backward: as nib_operand_ready() gives it; for
                             dots as it lies, of the compute type */
    void *y;              /* [M, out], or [M, in] backward */
    size_t ldy;
    bool accumulate;      /* y += instead of y =: the sum is made in float, rounded once */
    nib_dtype y_type;     /* type of y: the compute type, or NIB_F32 for logits */
    const float *gain;    /* forward: [out], of columns, or NULL: all are 1 */
    const float *bias;    /* forward: [out], or NULL */
    const float *u;       /* [M, R] low-rank inner values, or NULL */
    const float *factor;  /* B [out, R] forward, A [R, in] backward */
    size_t rank;
} nib_product_args;

/* `scratch` must hold nib_product_scratch_bytes(), aligned to 64. */
void nib_product_forward(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                         const nib_product_args *args, void *scratch);
void nib_product_backward(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                          const nib_product_args *args, void *scratch);
/* Enough for both, and for dots, for up to max_rows rows, on nib_threads(ctx) threads. */
size_t nib_product_scratch_bytes(nib_ctx *ctx, size_t in, size_t max_rank, size_t max_rows);

/* What a scheme with a forward product of its own needs in place of it, 0 without one; dots too. */
size_t nib_product_own_bytes(nib_ctx *ctx, const nib_weight *w, size_t max_rank, size_t max_rows);

/* Few rows (generation): a fused dot per output row, weights read once from memory.
 * Same arguments as forward; rows <= 4. */
void nib_product_dot(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                     const nib_product_args *args, void *scratch);
/* Only `count` outputs: y[m * ldy + i] is output ids[i], with the bits that nib_product_dot gives
 * it.  Not of a weight whose scheme has a forward product of its own. */
void nib_product_dot_some(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                          const nib_product_args *args, const uint32_t *ids, size_t count,
                          void *scratch);
/* What these two take of the scratch. */
size_t nib_product_dot_scratch_bytes(nib_ctx *ctx, size_t in, size_t max_rows);

/* --- small float products of the low-rank branch; x, dy ready or as they lie --- */

/* u[M, R] = scale * x[M, in] A[R, in]^T                     (u = s A x; also v = s dy B with
 * B^T) */
void nib_lowrank_inner(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t in, size_t rank,
                       nib_operand x, const float *a, float scale, float *u, void *scratch);
/* v[M, R] = scale * dy[M, out] B[out, R] */
void nib_lowrank_inner_back(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t out,
                            size_t rank, nib_operand dy, const float *b, float scale, float *v,
                            void *scratch);
/* dA[R, in] += v[M, R]^T x[M, in]; sums over M in fixed order, divided by output between threads */
void nib_lowrank_grad_a(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t in, size_t rank,
                        const float *v, nib_operand x, float *da, void *scratch);
/* dB[out, R] += dy[M, out]^T u[M, R] */
void nib_lowrank_grad_b(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t out, size_t rank,
                        const float *u, nib_operand dy, float *db, void *scratch);
/* dW[out, in] += dy^T x in float, for trained full copies (modules_to_save) */
void nib_product_grad_weight(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t out, size_t in,
                             nib_operand dy, nib_operand x, float *dw, void *scratch);
size_t nib_lowrank_scratch_bytes(nib_ctx *ctx, size_t out, size_t in, size_t max_rank,
                                 size_t max_rows);

#endif
