/* hessian.c - see hessian.h. */
#include "quant/hessian.h"

#include <cblas.h>
#include <math.h>

#include "base/cpu.h"
#include "base/thread.h"

enum { TILE = 256, ROWS = 64 }; /* rows of H, and of a weight, that a thread takes at a time */

nib_status nib_hessian_create(nib_ctx *ctx, size_t in, nib_hessian **out, nib_error *err)
{
    nib_hessian *h = nib_new(ctx, sizeof *h);

    if (h) {
        *h = (nib_hessian){ .ctx = ctx, .in = in };
        h->h = nib_new_array(ctx, in, in * sizeof *h->h);
        h->x = nib_new_array(ctx, NIB_HESSIAN_ROWS, in * sizeof *h->x);
        h->sizes = nib_new_array(ctx, in, sizeof *h->sizes);
    }
    if (!h || !h->h || !h->x || !h->sizes) {
        nib_hessian_destroy(h);
        return nib_fail(err, NIB_E_NOMEM, "a Hessian of %zu inputs: out of memory", in);
    }
    openblas_set_num_threads(1); /* the threads are ours */
    *out = h;
    return NIB_OK;
}

void nib_hessian_destroy(nib_hessian *h)
{
    if (!h) return;
    nib_free(h->ctx, h->h);
    nib_free(h->ctx, h->x);
    nib_free(h->ctx, h->sizes);
    nib_free(h->ctx, h);
}

uint64_t nib_hessian_bytes(size_t in)
{
    return ((uint64_t)in + NIB_HESSIAN_ROWS) * in * sizeof(float) + in * sizeof(double);
}

/* --- observing --- */

typedef struct rows_seen { nib_hessian *h; const float *x; size_t rows, ld; } rows_seen;

static void add_tile(void *arg, size_t tile, unsigned worker)
{
    const rows_seen *s = arg;
    size_t in = s->h->in, i0 = tile * TILE, i1 = nib_min(i0 + TILE, in);

    (void)worker;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(i1 - i0), (int)i1, (int)s->rows, 1,
                s->x + i0, (int)s->ld, s->x, (int)s->ld, 1, s->h->h + i0 * in, (int)in);
}

void nib_hessian_observe(nib_hessian *h, const void *x, nib_dtype type, size_t rows, size_t ld)
{
    const nib_kernels k = nib_kernels_for(nib_ctx_cpu(h->ctx));

    assert(type == NIB_F32 || type == NIB_BF16);
    for (size_t r0 = 0; r0 < rows; r0 += NIB_HESSIAN_ROWS) {
        size_t n = nib_min(rows - r0, (size_t)NIB_HESSIAN_ROWS);
        rows_seen s = { h, (const float *)x + r0 * ld, n, ld };
        for (size_t r = 0; type == NIB_BF16 && r < n; r++)
            k.from_bf16(h->in, (const uint16_t *)x + (r0 + r) * ld, h->x + r * h->in);
        if (type == NIB_BF16) s.x = h->x, s.ld = h->in;
        nib_parallel_for(h->ctx, nib_ceil_div(h->in, TILE), add_tile, &s);
        for (size_t r = 0; r < n; r++)
            for (size_t i = 0; i < h->in; i++) h->sizes[i] += fabsf(s.x[r * s.ld + i]);
    }
    h->rows += rows;
}

void nib_hessian_unit(nib_hessian *h)
{
    memset(h->h, 0, h->in * h->in * sizeof *h->h);
    for (size_t i = 0; i < h->in; i++) {
        h->h[i * h->in + i] = 1;
        h->sizes[i] = 1;
    }
    h->rows = h->in;
}

/* --- errors --- */

typedef struct error_of {
    const nib_hessian *h;
    const nib_weight *a, *b;
    float *rows;    /* [workers][2][ROWS, in] */
    double *parts;  /* a tile's sum */
} error_of;

static void error_tile(void *arg, size_t tile, unsigned worker)
{
    const error_of *e = arg;
    size_t in = e->h->in, r0 = tile * ROWS, n = nib_min(e->a->out - r0, (size_t)ROWS);
    float *d = e->rows + (size_t)worker * 2 * ROWS * in, *product = d + ROWS * in;
    double sum = 0;

    nib_weight_decode(e->a, r0, r0 + n, d);
    if (e->b) {
        nib_weight_decode(e->b, r0, r0 + n, product);
        for (size_t i = 0; i < n * in; i++) d[i] -= product[i];
    }
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, (int)n, (int)in, 1, e->h->h, (int)in, d,
                (int)in, 0, product, (int)in);
    for (size_t i = 0; i < n * in; i++) sum += (double)d[i] * (double)product[i];
    e->parts[tile] = sum;
}

nib_status nib_hessian_error(const nib_hessian *h, const nib_weight *a, const nib_weight *b,
                             double *error, nib_error *err)
{
    size_t tiles = nib_ceil_div(a->out, ROWS);
    error_of e = { h, a, b, NULL, NULL };
    nib_status status = NIB_OK;

    assert(a->in == h->in && (!b || (b->in == a->in && b->out == a->out)));
    e.rows = nib_new_array(h->ctx, nib_threads(h->ctx) * 2 * ROWS, h->in * sizeof *e.rows);
    e.parts = nib_new_array(h->ctx, tiles, sizeof *e.parts);
    if (!e.rows || !e.parts) {
        status = nib_fail(err, NIB_E_NOMEM, "errors of %zu x %zu values: out of memory", a->out,
                          a->in);
        goto done;
    }
    nib_parallel_for(h->ctx, tiles, error_tile, &e);
    *error = 0;
    for (size_t i = 0; i < tiles; i++) *error += e.parts[i];
done:
    nib_free(h->ctx, e.rows);
    nib_free(h->ctx, e.parts);
    return status;
}
