/* mean_rows.c - see mean_rows.h. */
#include "job/mean_rows.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>

#include "base/hash.h"
#include "base/random.h"
#include "quant/hessian.h"

static const double shrink = 1e-9; /* of the covariance; of a bias, of the deviation */

typedef struct table {
    const nib_tensor *t;
    size_t rows, width;
    double *sums;   /* [width] */
    float *block;   /* [NIB_HESSIAN_ROWS, width] */
} table;

static nib_status no_memory(const nib_tensor *t, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->name);
}

/* Rows r .. r + n as floats. */
static void read_block(const table *a, size_t r, size_t n)
{
    size_t each = a->width * nib_dtype_bytes(a->t->dtype);
    const uint8_t *from = (const uint8_t *)a->t->data + r * each;

    nib_convert(a->block, NIB_F32, from, a->t->dtype, n * a->width);
    nib_filemap_release(a->t->map, from, n * each);
}

static nib_status find_mean(const table *a, float *mean, nib_error *err)
{
    for (size_t r = 0; r < a->rows; r += NIB_HESSIAN_ROWS) {
        size_t n = nib_min(a->rows - r, (size_t)NIB_HESSIAN_ROWS);
        read_block(a, r, n);
        for (size_t i = 0; i < n * a->width; i++) {
            if (!isfinite(a->block[i]))
                return nib_fail(err, NIB_E_NUMERIC, "%s: %s: row %zu holds a value that is not "
                                "finite", a->t->file, a->t->name, r + i / a->width);
            a->sums[i % a->width] += (double)a->block[i];
        }
    }
    for (size_t c = 0; c < a->width; c++) mean[c] = (float)(a->sums[c] / (double)a->rows);
    return NIB_OK;
}

/* Adds the rows, less the mean, to the second moments. */
static void observe(const table *a, const float *mean, nib_hessian *h)
{
    for (size_t r = 0; r < a->rows; r += NIB_HESSIAN_ROWS) {
        size_t n = nib_min(a->rows - r, (size_t)NIB_HESSIAN_ROWS);
        read_block(a, r, n);
        for (size_t i = 0; i < n * a->width; i++) a->block[i] -= mean[i % a->width];
        nib_hessian_observe(h, a->block, NIB_F32, n, a->width);
    }
}

/* The factor of 1e-9 times the covariance; m->factor stays NULL where there is none. */
static nib_status find_factor(const table *a, nib_mean_rows *m, nib_error *err)
{
    size_t d = a->width;
    nib_hessian *h = NULL;
    nib_status status = nib_hessian_create(m->ctx, d, &h, err);
    lapack_int info;

    if (status) return status;
    m->factor = d > SIZE_MAX / d ? NULL : nib_new_array(m->ctx, d * d, sizeof *m->factor);
    if (!m->factor) {
        nib_hessian_destroy(h);
        return no_memory(a->t, err);
    }
    observe(a, m->mean, h);
    for (size_t c = 0; c < d; c++)
        for (size_t r = c; r < d; r++)
            m->factor[c * d + r] = (float)(shrink * (double)nib_hessian_at(h, r, c) /
                                           (double)a->rows);
    nib_hessian_destroy(h);
    info = LAPACKE_spotrf(LAPACK_COL_MAJOR, 'L', (lapack_int)d, m->factor, (lapack_int)d);
    if (info < 0) return no_memory(a->t, err);
    if (info == 0) return NIB_OK;
    nib_free(m->ctx, m->factor);
    m->factor = NULL;
    return NIB_OK;
}

/* A bias: 1e-9 times the deviation, with n - 1 as torch.std has it. */
static nib_status find_deviation(const table *a, nib_mean_rows *m, nib_error *err)
{
    double sum = 0;

    m->factor = nib_new(m->ctx, sizeof *m->factor);
    if (!m->factor) return no_memory(a->t, err);
    for (size_t r = 0; r < a->rows; r += NIB_HESSIAN_ROWS) {
        size_t n = nib_min(a->rows - r, (size_t)NIB_HESSIAN_ROWS);
        read_block(a, r, n);
        for (size_t i = 0; i < n; i++) {
            double x = (double)a->block[i] - (double)m->mean[0];
            sum += x * x;
        }
    }
    if (a->rows > 1) *m->factor = (float)(shrink * sqrt(sum / (double)(a->rows - 1)));
    return NIB_OK;
}

nib_status nib_mean_rows_make(nib_ctx *ctx, const nib_tensor *t, uint64_t seed, nib_mean_rows *out,
                              nib_error *err)
{
    size_t width = t->rank == 1 ? 1 : (size_t)t->shape[1];
    table a = { .t = t, .rows = (size_t)t->shape[0], .width = width };
    nib_mean_rows m = { .ctx = ctx, .width = width,
                        .key = { (uint32_t)seed ^ nib_fnv1a(t->name, strlen(t->name)),
                                 (uint32_t)(seed >> 32) ^ 0x726f7773 } };
    nib_status status = NIB_OK;

    assert(t->rank == 1 || t->rank == 2);
    assert(a.rows && width);
    a.sums = nib_new_array(ctx, width, sizeof *a.sums);
    a.block = width > SIZE_MAX / NIB_HESSIAN_ROWS
                  ? NULL
                  : nib_new_array(ctx, NIB_HESSIAN_ROWS * width, sizeof *a.block);
    m.mean = nib_new_array(ctx, width, sizeof *m.mean);
    m.noise = nib_new_array(ctx, width, sizeof *m.noise);
    if (!a.sums || !a.block || !m.mean || !m.noise) status = no_memory(t, err);
    if (!status) status = find_mean(&a, m.mean, err);
    /* rows less their mean span fewer dimensions than there are rows */
    if (!status && t->rank == 2 && a.rows > width) status = find_factor(&a, &m, err);
    if (!status && t->rank == 1) status = find_deviation(&a, &m, err);
    nib_free(ctx, a.sums);
    nib_free(ctx, a.block);
    if (status) nib_mean_rows_free(&m);
    else *out = m;
    return status;
}

void nib_mean_rows_free(nib_mean_rows *m)
{
    nib_free(m->ctx, m->mean);
    nib_free(m->ctx, m->factor);
    nib_free(m->ctx, m->noise);
    *m = (nib_mean_rows){ 0 };
}

void nib_mean_rows_get(const nib_mean_rows *m, uint64_t row, float *out)
{
    memcpy(out, m->mean, m->width * sizeof *out);
    if (!m->factor) return;
    nib_normal_fill(m->noise, m->width, m->key, (uint32_t)row, (uint32_t)(row >> 32), 1);
    cblas_strmv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)m->width, m->factor,
                (int)m->width, m->noise, 1);
    for (size_t i = 0; i < m->width; i++) out[i] += m->noise[i];
}
