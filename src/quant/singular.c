/* singular.c - see singular.h.
 *
 * A tall matrix of K columns lies here as its transpose [K, long], which to LAPACK is the matrix
 * itself, column by column. */
#include "quant/singular.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

#include "base/random.h"
#include "base/thread.h"

enum { TILE = 256, BLOCK = 256 }; /* of a product with A; terms of A A^T at a time */

typedef struct svd {
    nib_ctx *ctx;
    const float *a;
    size_t out, in, k; /* k: the subspace's dimensions */
    float *y;          /* [k, out] */
    float *z;          /* [k, in] */
    float *room;       /* [2 k + 3 k k]: of the small matrices */
} svd;

static nib_status no_memory(const svd *d, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "a decomposition of [%zu, %zu]: out of memory", d->out,
                    d->in);
}

/* What LAPACK's info means. */
static nib_status check(const svd *d, lapack_int info, nib_error *err)
{
    if (info == 0) return NIB_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return no_memory(d, err);
    return nib_fail(err, NIB_E_NUMERIC,
                    "a decomposition of [%zu, %zu] failed (LAPACK's info %d): are all values "
                    "finite?", d->out, d->in, (int)info);
}

static nib_status check_finite(const svd *d, nib_error *err)
{
    for (size_t i = 0; i < d->out * d->in; i++)
        if (!isfinite(d->a[i]))
            return nib_fail(err, NIB_E_NUMERIC, "row %zu, column %zu of the matrix is not finite",
                            i / d->in, i % d->in);
    return NIB_OK;
}

/* --- products with A --- */

static void y_tile(void *arg, size_t tile, unsigned worker)
{
    const svd *d = arg;
    size_t r0 = tile * TILE, n = nib_min(d->out - r0, (size_t)TILE);

    (void)worker;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)d->k, (int)n, (int)d->in, 1, d->z,
                (int)d->in, d->a + r0 * d->in, (int)d->in, 0, d->y + r0, (int)d->out);
}

static void z_tile(void *arg, size_t tile, unsigned worker)
{
    const svd *d = arg;
    size_t c0 = tile * TILE, n = nib_min(d->in - c0, (size_t)TILE);

    (void)worker;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)d->k, (int)n, (int)d->out, 1, d->y,
                (int)d->out, d->a + c0, (int)d->in, 0, d->z + c0, (int)d->in);
}

/* y = A z */
static void make_y(svd *d) { nib_parallel_for(d->ctx, nib_ceil_div(d->out, TILE), y_tile, d); }
/* z = A^T y */
static void make_z(svd *d) { nib_parallel_for(d->ctx, nib_ceil_div(d->in, TILE), z_tile, d); }

/* --- the random subspace --- */

static void fill_normal(float *to, size_t n, uint64_t seed, uint32_t key)
{
    const uint32_t keys[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) ^ 0x73766420 };

    nib_normal_fill(to, n, keys, key, 0, 1);
}

/* Makes the columns of m [k, n] orthonormal; r [k, k] column by column gets the triangle, or
 * NULL. */
static nib_status orthonormalize(svd *d, float *m, size_t n, size_t k, float *r, nib_error *err)
{
    float *tau = d->room;
    nib_status status = check(d, LAPACKE_sgeqrf(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)k, m,
                                                (lapack_int)n, tau), err);

    for (size_t j = 0; r && !status && j < k; j++)
        for (size_t i = 0; i < k; i++) r[j * k + i] = i <= j ? m[j * n + i] : 0;
    if (!status)
        status = check(d, LAPACKE_sorgqr(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)k,
                                         (lapack_int)k, m, (lapack_int)n, tau), err);
    return status;
}

/* y spans what A makes of the subspace. */
static nib_status iterate(svd *d, const nib_svd_options *o, nib_error *err)
{
    nib_status status;

    fill_normal(d->z, d->k * d->in, o->seed, o->key);
    make_y(d);
    status = orthonormalize(d, d->y, d->out, d->k, NULL, err);
    for (int i = 0; i < o->iterations && !status; i++) {
        make_z(d);
        status = orthonormalize(d, d->z, d->in, d->k, NULL, err);
        if (status) break;
        make_y(d);
        status = orthonormalize(d, d->y, d->out, d->k, NULL, err);
    }
    return status;
}

/* A ~ y y^T A = y (P R)^T of A^T y = P R, and the small R^T has the singular values. */
static nib_status by_subspace(svd *d, const nib_svd_options *o, float *u, float *s, float *v,
                              nib_error *err)
{
    size_t k = d->k, rank = o->rank;
    float *values = d->room + k, *r = values + k, *left = r + k * k, *right = left + k * k;
    nib_status status = iterate(d, o, err);

    if (status) return status;
    make_z(d);
    status = orthonormalize(d, d->z, d->in, k, r, err);
    if (!status) /* R column by column is R^T row by row */
        status = check(d, LAPACKE_sgesdd(LAPACK_ROW_MAJOR, 'S', (lapack_int)k, (lapack_int)k, r,
                                         (lapack_int)k, values, left, (lapack_int)k, right,
                                         (lapack_int)k), err);
    if (status) return status;
    memcpy(s, values, rank * sizeof *s);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)d->out, (int)rank, (int)k, 1, d->y,
                (int)d->out, left, (int)k, 0, u, (int)rank);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rank, (int)d->in, (int)k, 1, right,
                (int)k, d->z, (int)d->in, 0, v, (int)d->in);
    return NIB_OK;
}

/* --- all singular values --- */

typedef struct gram {
    const svd *d;
    bool rows;      /* A A^T, else A^T A */
    size_t n, k0, terms;
    double *g;      /* [n, n], the lower triangle */
    double *block;  /* [terms, n] of A^T, or of A */
} gram;

static void widen_tile(void *arg, size_t tile, unsigned worker)
{
    const gram *g = arg;
    size_t j0 = tile * TILE, j1 = nib_min(j0 + TILE, g->n), in = g->d->in;

    (void)worker;
    for (size_t t = 0; t < g->terms; t++)
        for (size_t j = j0; j < j1; j++)
            g->block[t * g->n + j] = (double)(g->rows ? g->d->a[j * in + g->k0 + t]
                                                      : g->d->a[(g->k0 + t) * in + j]);
}

static void gram_tile(void *arg, size_t tile, unsigned worker)
{
    const gram *g = arg;
    size_t i0 = tile * TILE, i1 = nib_min(i0 + TILE, g->n);

    (void)worker;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(i1 - i0), (int)i1, (int)g->terms, 1,
                g->block + i0, (int)g->n, g->block, (int)g->n, 1, g->g + i0 * g->n, (int)g->n);
}

static void make_gram(gram *g)
{
    size_t all = g->rows ? g->d->in : g->d->out, tiles = nib_ceil_div(g->n, TILE);

    for (g->k0 = 0; g->k0 < all; g->k0 += BLOCK) {
        g->terms = nib_min(all - g->k0, (size_t)BLOCK);
        nib_parallel_for(g->d->ctx, tiles, widen_tile, g);
        nib_parallel_for(g->d->ctx, tiles, gram_tile, g);
    }
}

/* Row i of `longer` [R, n] is s_i times a vector: makes it the vector. */
static void settle(const svd *d, size_t rank, float *longer, size_t n, float *s)
{
    for (size_t i = 0; i < rank; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += (double)longer[i * n + j] * (double)longer[i * n + j];
        s[i] = (float)sqrt(sum);
        /* what the product's rounding alone may make of a value that is 0 */
        if (!(s[i] > 0x1p-22f * s[0] * sqrtf((float)nib_max(d->out, d->in)))) s[i] = 0;
        for (size_t j = 0; j < n; j++) longer[i * n + j] = s[i] > 0 ? longer[i * n + j] / s[i] : 0;
    }
}

static void transpose(const float *from, size_t rows, size_t columns, float *to)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
}

/* The shorter vectors are eigenvectors, the others what A makes of them. */
static nib_status by_eigenvectors(svd *d, size_t rank, float *u, float *s, float *v, nib_error *err)
{
    gram g = { .d = d, .rows = d->out <= d->in, .n = nib_min(d->out, d->in) };
    lapack_int n = (lapack_int)g.n, found = 0;
    double *values = nib_new_array(d->ctx, g.n, sizeof *values),
           *vectors = nib_new_array(d->ctx, rank, g.n * sizeof *vectors);
    lapack_int *support = nib_new_array(d->ctx, 2 * rank, sizeof *support);
    nib_status status = NIB_OK;

    g.g = nib_new_array(d->ctx, g.n, g.n * sizeof *g.g);
    g.block = nib_new_array(d->ctx, BLOCK, g.n * sizeof *g.block);
    if (!values || !vectors || !support || !g.g || !g.block) {
        status = no_memory(d, err);
        goto done;
    }
    make_gram(&g);
    /* the lower triangle row by row is the upper one column by column */
    status = check(d, LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'I', 'U', n, g.g, n, 0, 0,
                                     n - (lapack_int)rank + 1, n, 0, &found, values, vectors, n,
                                     support), err);
    if (status) goto done;
    for (size_t i = 0; i < rank; i++) /* falling */
        for (size_t j = 0; j < g.n; j++)
            (g.rows ? d->y : d->z)[i * g.n + j] = (float)vectors[(rank - 1 - i) * g.n + j];
    if (g.rows) make_z(d);
    else make_y(d);
    settle(d, rank, g.rows ? d->z : d->y, g.rows ? d->in : d->out, s);
    transpose(d->y, rank, d->out, u);
    memcpy(v, d->z, rank * d->in * sizeof *v);
done:
    nib_free(d->ctx, values);
    nib_free(d->ctx, vectors);
    nib_free(d->ctx, support);
    nib_free(d->ctx, g.g);
    nib_free(d->ctx, g.block);
    return status;
}

static size_t dimensions(size_t out, size_t in, const nib_svd_options *o)
{
    if (o->iterations == NIB_SVD_EXACT) return o->rank;
    return nib_min(o->rank + NIB_SVD_OVERSAMPLE, nib_min(out, in));
}

uint64_t nib_svd_bytes(size_t out, size_t in, const nib_svd_options *o)
{
    uint64_t k = dimensions(out, in, o), n = nib_min(out, in),
             bytes = (k * ((uint64_t)out + in) + 2 * k + 3 * k * k) * sizeof(float);

    if (o->iterations == NIB_SVD_EXACT) bytes += (n + BLOCK + o->rank + 1) * n * sizeof(double);
    return bytes;
}

nib_status nib_svd(nib_ctx *ctx, const float *a, size_t out, size_t in, const nib_svd_options *o,
                   float *u, float *s, float *v, nib_error *err)
{
    svd d = { .ctx = ctx, .a = a, .out = out, .in = in, .k = dimensions(out, in, o) };
    nib_status status = check_finite(&d, err);

    assert(o->rank >= 1 && o->rank <= nib_min(out, in) && o->iterations >= NIB_SVD_EXACT);
    if (status) return status;
    openblas_set_num_threads(1); /* the threads are ours */
    d.y = nib_new_array(ctx, d.k, out * sizeof *d.y);
    d.z = nib_new_array(ctx, d.k, in * sizeof *d.z);
    d.room = nib_new_array(ctx, 2 * d.k + 3 * d.k * d.k, sizeof *d.room);
    if (!d.y || !d.z || !d.room) status = no_memory(&d, err);
    else if (o->iterations == NIB_SVD_EXACT) status = by_eigenvectors(&d, o->rank, u, s, v, err);
    else status = by_subspace(&d, o, u, s, v, err);
    nib_free(ctx, d.y);
    nib_free(ctx, d.z);
    nib_free(ctx, d.room);
    return status;
}

/* The first R reflections see the first R columns alone. */
nib_status nib_qr(nib_ctx *ctx, const float *a, size_t out, size_t in, size_t rank, float *q,
                  float *r, nib_error *err)
{
    svd d = { .ctx = ctx, .a = a, .out = out, .in = in, .k = rank };
    nib_status status = check_finite(&d, err);

    assert(rank >= 1 && rank <= nib_min(out, in));
    if (status) return status;
    openblas_set_num_threads(1);
    d.y = nib_new_array(ctx, rank, out * sizeof *d.y);
    d.room = nib_new_array(ctx, rank, sizeof *d.room);
    d.z = r;
    if (!d.y || !d.room) {
        status = no_memory(&d, err);
        goto done;
    }
    for (size_t j = 0; j < rank; j++)
        for (size_t i = 0; i < out; i++) d.y[j * out + i] = a[i * in + j];
    status = orthonormalize(&d, d.y, out, rank, NULL, err);
    if (status) goto done;
    make_z(&d);
    for (size_t i = 1; i < rank; i++)
        for (size_t j = 0; j < i; j++) r[i * in + j] = 0;
    transpose(d.y, rank, out, q);
done:
    nib_free(ctx, d.y);
    nib_free(ctx, d.room);
    return status;
}
