/* gptq_factor.c - see gptq_factor.h.
 *
 * H is turned round (last row and column first): if that is L L^T, H itself is R R^T with R upper,
 * so that U = R^-1 is the inverse of a triangle, and H^-1 is never formed.  In double. */
#include "quant/gptq_factor.h"

#include <lapacke.h>
#include <math.h>

enum { FLOORS = 6 };

typedef struct factor {
    const nib_hessian *h;
    const uint32_t *order;
    size_t n;
    double *a; /* [n, n] column by column, the lower triangle of H turned round */
    double mean, most; /* of the diagonal */
} factor;

/* An input that was never anything but 0 stands alone with 1 on the diagonal. */
static double diagonal(const nib_hessian *h, size_t i)
{
    double d = (double)nib_hessian_at(h, i, i);

    return d == 0 ? 1 : d;
}

static nib_status measure(factor *f, nib_error *err)
{
    for (size_t i = 0; i < f->n; i++) {
        double d = diagonal(f->h, i);
        if (!isfinite(d))
            return nib_fail(err, NIB_E_NUMERIC, "input %zu of the matrix has values that are not "
                            "finite", i);
        f->mean += d / (double)f->n;
        f->most = fmax(f->most, d);
    }
    return NIB_OK;
}

/* info of the decomposition with so much added to the diagonal: 0, it is positive definite. */
static int decompose(factor *f, double damp)
{
    size_t n = f->n;

    for (size_t c = 0; c < n; c++) {
        double *column = f->a + c * n;
        size_t j = f->order[n - 1 - c];
        for (size_t r = c; r < n; r++)
            column[r] = (double)nib_hessian_at(f->h, f->order[n - 1 - r], j);
        column[c] = diagonal(f->h, j) + damp;
    }
    return (int)LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', (lapack_int)n, f->a, (lapack_int)n);
}

/* More and more damping, and at last multiples of the greatest value, as GPTQModel goes. */
static nib_status damp_until_definite(factor *f, const nib_gptq_options *o,
                                      nib_gptq_report *report, nib_error *err)
{
    double extra = f->most * 1e-6;

    report->raises = 0;
    for (double share = o->damp_percent; share < 1; share += o->damp_auto_increment) {
        report->damp = share;
        if (decompose(f, share * f->mean) == 0) return NIB_OK;
        report->raises++;
        if (!(o->damp_auto_increment > 0)) break;
    }
    for (int i = 0; i < FLOORS; i++, extra *= 10) {
        report->damp = o->damp_percent + extra / f->mean;
        if (decompose(f, o->damp_percent * f->mean + extra) == 0) return NIB_OK;
        report->raises++;
    }
    return nib_fail(err, NIB_E_NUMERIC,
                    "the inputs' second moments stay singular with a damping of %.3g: give more "
                    "calibration text, or a greater damp_percent than %g", report->damp,
                    o->damp_percent);
}

nib_status nib_gptq_factor(const nib_hessian *h, const uint32_t *order,
                           const nib_gptq_options *options, float *u, nib_gptq_report *report,
                           nib_error *err)
{
    size_t n = h->in;
    factor f = { .h = h, .order = order, .n = n, .a = nib_new_array(h->ctx, n, n * sizeof *f.a) };
    nib_status status = f.a ? measure(&f, err)
                            : nib_fail(err, NIB_E_NOMEM, "a factor of %zu inputs: out of memory",
                                       n);

    if (!status) status = damp_until_definite(&f, options, report, err);
    if (!status && LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'L', 'N', (lapack_int)n, f.a, (lapack_int)n))
        status = nib_fail(err, NIB_E_NUMERIC, "the inputs' second moments have no inverse");
    for (size_t i = 0; i < n && !status; i++)
        for (size_t j = 0; j < n; j++)
            u[i * n + j] = j < i ? 0 : (float)f.a[(n - 1 - j) * n + n - 1 - i];
    nib_free(h->ctx, f.a);
    return status;
}
