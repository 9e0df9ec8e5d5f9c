/* awq.c - see awq.h. */
#include "quant/awq.h"

#include <cblas.h>
#include <math.h>

#include "base/thread.h"
#include "quant/grouped.h"

enum { RATIOS = 20, TRIES = RATIOS + 1 /* the last: s = 1 */, ROWS = 64, SHRINKS = 10 };

static size_t group_of(const nib_form *form, size_t in)
{
    nib_grouped_options o = nib_grouped_form_options(form);

    return o.group == NIB_GROUP_ROW ? in : o.group;
}

uint64_t nib_awq_bytes(nib_ctx *ctx, const nib_form *form, size_t in)
{
    return nib_threads(ctx) * 3 * ROWS * (uint64_t)in * sizeof(float) +
           (TRIES + group_of(form, in)) * (uint64_t)in * sizeof(float);
}

/* --- factors --- */

typedef struct search {
    nib_ctx *ctx;
    const nib_awq_matrix *matrices;
    size_t count, in;
    size_t *first;   /* [count + 1] tiles of the matrices before */
    float *tries;    /* [TRIES, in] */
    float *rooms;    /* [workers][3][ROWS, in] */
    double *errors;  /* [tiles, TRIES] */
} search;

/* Sums of |w| as fractions of the greatest in its group, over the rows of all matrices. */
static nib_status mean_weights(const search *s, double *mean, nib_error *err)
{
    float *row = s->rooms;
    uint64_t rows = 0;

    for (size_t m = 0; m < s->count; m++) {
        const nib_weight *w = s->matrices[m].from;
        size_t group = group_of(s->matrices[m].form, s->in);
        for (size_t o = 0; o < w->out; o++) {
            nib_weight_decode(w, o, o + 1, row);
            for (size_t i0 = 0; i0 < s->in; i0 += group) {
                size_t end = nib_min(i0 + group, s->in);
                float most = 0;
                for (size_t i = i0; i < end; i++) most = fmaxf(most, fabsf(row[i]));
                if (!isfinite(most))
                    return nib_fail(err, NIB_E_NUMERIC, "row %zu holds a value that is not finite",
                                    o);
                for (size_t i = i0; i < end; i++) mean[i] += fabsf(row[i]) / (most + 1e-6f);
            }
        }
        rows += w->out;
    }
    for (size_t i = 0; i < s->in; i++) mean[i] /= (double)nib_max(rows, (uint64_t)1);
    return NIB_OK;
}

/* Over the rows of all matrices, those of a Hessian once. */
static nib_status mean_inputs(const search *s, double *mean, nib_error *err)
{
    uint64_t rows = 0;

    for (size_t m = 0; m < s->count; m++) {
        bool again = false;
        for (size_t k = 0; k < m; k++) again |= s->matrices[k].h == s->matrices[m].h;
        if (again) continue;
        rows += s->matrices[m].h->rows;
        for (size_t i = 0; i < s->in; i++) mean[i] += s->matrices[m].h->sizes[i];
    }
    for (size_t i = 0; i < s->in; i++) {
        mean[i] /= (double)nib_max(rows, (uint64_t)1);
        if (!isfinite(mean[i]))
            return nib_fail(err, NIB_E_NUMERIC, "input %zu of the matrix has values that are not "
                            "finite", i);
    }
    return NIB_OK;
}

static void make_try(const double *x, const double *w, double ratio, size_t in, float *s)
{
    float low = INFINITY, high = 0;

    for (size_t i = 0; i < in; i++) {
        s[i] = fmaxf((float)(pow(x[i], ratio) / (pow(w[i], 1 - ratio) + 1e-4)), 1e-4f);
        low = fminf(low, s[i]);
        high = fmaxf(high, s[i]);
    }
    for (size_t i = 0; i < in; i++) {
        s[i] /= sqrtf(low * high);
        if (!isfinite(s[i]) || !(s[i] > 0)) s[i] = 1;
    }
}

static nib_status make_tries(search *s, nib_error *err)
{
    double *x = nib_new_array(s->ctx, s->in, sizeof *x);
    double *w = nib_new_array(s->ctx, s->in, sizeof *w);
    nib_status status = NIB_OK;

    if (!x || !w)
        status = nib_fail(err, NIB_E_NOMEM, "factors of %zu inputs: out of memory", s->in);
    if (!status) status = mean_inputs(s, x, err);
    if (!status) status = mean_weights(s, w, err);
    for (size_t t = 0; t < TRIES && !status; t++)
        for (size_t i = 0; i < s->in; i++) s->tries[t * s->in + i] = 1;
    for (size_t t = 0; t < RATIOS && !status; t++)
        make_try(x, w, (double)t / RATIOS, s->in, s->tries + t * s->in);
    nib_free(s->ctx, x);
    nib_free(s->ctx, w);
    return status;
}

/* The error of rows of a matrix for each try. */
static void try_tile(void *arg, size_t tile, unsigned worker)
{
    const search *s = arg;
    const nib_awq_matrix *m = s->matrices;
    size_t in = s->in, k = 0, r0, n;
    float *w = s->rooms + (size_t)worker * 3 * ROWS * in, *d = w + ROWS * in;
    float *product = d + ROWS * in;

    while (tile >= s->first[k + 1]) k++;
    r0 = (tile - s->first[k]) * ROWS;
    n = nib_min(m[k].from->out - r0, (size_t)ROWS);
    nib_weight_decode(m[k].from, r0, r0 + n, w);
    for (size_t t = 0; t < TRIES; t++) {
        const float *f = s->tries + t * in;
        double sum = 0;
        for (size_t r = 0; r < n; r++)
            for (size_t i = 0; i < in; i++) d[r * in + i] = w[r * in + i] * f[i];
        nib_grouped_round(m[k].form, d, n, in);
        for (size_t r = 0; r < n; r++)
            for (size_t i = 0; i < in; i++) d[r * in + i] = d[r * in + i] / f[i] - w[r * in + i];
        cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, (int)n, (int)in, 1, m[k].h->h, (int)in,
                    d, (int)in, 0, product, (int)in);
        for (size_t i = 0; i < n * in; i++) sum += (double)d[i] * (double)product[i];
        s->errors[tile * TRIES + t] = sum;
    }
}

static void choose(const search *s, float *out, double *share)
{
    size_t tiles = s->first[s->count], best = TRIES - 1;
    double sums[TRIES] = { 0 };

    for (size_t i = 0; i < tiles; i++)
        for (size_t t = 0; t < TRIES; t++) sums[t] += s->errors[i * TRIES + t];
    for (size_t t = 0; t < RATIOS; t++)
        if (sums[t] < sums[best]) best = t;
    memcpy(out, s->tries + best * s->in, s->in * sizeof *out);
    *share = sums[TRIES - 1] > 0 ? sums[best] / sums[TRIES - 1] : 1;
}

nib_status nib_awq_scales(nib_ctx *ctx, const nib_awq_matrix *matrices, size_t count, float *s,
                          double *share, nib_error *err)
{
    search a = { .ctx = ctx, .matrices = matrices, .count = count, .in = matrices[0].from->in };
    nib_status status = NIB_OK;

    a.first = nib_new_array(ctx, count + 1, sizeof *a.first);
    for (size_t m = 0; a.first && m < count; m++)
        a.first[m + 1] = a.first[m] + nib_ceil_div(matrices[m].from->out, ROWS);
    a.tries = nib_new_array(ctx, TRIES, a.in * sizeof *a.tries);
    a.rooms = nib_new_array(ctx, nib_threads(ctx) * 3 * ROWS, a.in * sizeof *a.rooms);
    if (a.first) a.errors = nib_new_array(ctx, a.first[count], TRIES * sizeof *a.errors);
    if (!a.first || !a.tries || !a.rooms || !a.errors)
        status = nib_fail(err, NIB_E_NOMEM, "factors of %zu inputs: out of memory", a.in);
    if (!status) status = make_tries(&a, err);
    if (!status) {
        nib_parallel_for(ctx, a.first[count], try_tile, &a);
        choose(&a, s, share);
    }
    nib_free(ctx, a.first);
    nib_free(ctx, a.tries);
    nib_free(ctx, a.rooms);
    nib_free(ctx, a.errors);
    return status;
}

/* --- clipping --- */

typedef struct clipping {
    const nib_form *form;
    float *w;       /* [out, in] */
    float *blocks;  /* [groups][group, group] of the Hessian of the inputs divided by s */
    float *rooms;   /* [workers][2][ROWS, group] */
    size_t out, in, group;
} clipping;

static void make_blocks(clipping *c, const nib_hessian *h, const float *s)
{
    for (size_t i0 = 0; i0 < c->in; i0 += c->group) {
        size_t n = nib_min(c->group, c->in - i0);
        float *block = c->blocks + i0 * c->group;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                block[i * n + j] = nib_hessian_at(h, i0 + i, i0 + j) /
                                   (s ? s[i0 + i] * s[i0 + j] : 1);
    }
}

static float greatest(const float *w, size_t n)
{
    float most = 0;

    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    return most;
}

/* One group of some rows: for each row the first of the best shares. */
static void clip_group(const clipping *c, size_t r0, size_t rows, size_t i0, float *d,
                       float *product)
{
    size_t n = nib_min(c->group, c->in - i0);
    double least[ROWS];
    float limit[ROWS];

    for (int k = 0; k < SHRINKS; k++) {
        for (size_t r = 0; r < rows; r++) {
            const float *w = c->w + (r0 + r) * c->in + i0;
            float most = greatest(w, n) * (1 - (float)k / (2 * SHRINKS));
            for (size_t i = 0; i < n; i++) d[r * n + i] = fminf(fmaxf(w[i], -most), most);
            nib_grouped_round(c->form, d + r * n, 1, n);
            for (size_t i = 0; i < n; i++) d[r * n + i] -= w[i];
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)n, (int)n, 1, d,
                    (int)n, c->blocks + i0 * c->group, (int)n, 0, product, (int)n);
        for (size_t r = 0; r < rows; r++) {
            double error = 0;
            for (size_t i = r * n; i < (r + 1) * n; i++)
                error += (double)d[i] * (double)product[i];
            if (k && !(error < least[r])) continue;
            least[r] = error;
            limit[r] = greatest(c->w + (r0 + r) * c->in + i0, n) * (1 - (float)k / (2 * SHRINKS));
        }
    }
    for (size_t r = 0; r < rows; r++) {
        float *w = c->w + (r0 + r) * c->in + i0;
        for (size_t i = 0; i < n; i++) w[i] = fminf(fmaxf(w[i], -limit[r]), limit[r]);
    }
}

static void clip_tile(void *arg, size_t tile, unsigned worker)
{
    const clipping *c = arg;
    size_t r0 = tile * ROWS, rows = nib_min(c->out - r0, (size_t)ROWS);
    float *d = c->rooms + (size_t)worker * 2 * ROWS * c->group;

    for (size_t i0 = 0; i0 < c->in; i0 += c->group)
        clip_group(c, r0, rows, i0, d, d + ROWS * c->group);
}

nib_status nib_awq_clip(nib_ctx *ctx, const nib_hessian *h, const float *s, const nib_form *form,
                        float *w, size_t out, size_t in, nib_error *err)
{
    clipping c = { .form = form, .w = w, .out = out, .in = in, .group = group_of(form, in) };
    nib_status status = NIB_OK;

    c.blocks = nib_new_array(ctx, nib_ceil_div(in, c.group) * c.group, c.group * sizeof *c.blocks);
    c.rooms = nib_new_array(ctx, nib_threads(ctx) * 2 * ROWS, c.group * sizeof *c.rooms);
    if (!c.blocks || !c.rooms)
        status = nib_fail(err, NIB_E_NOMEM, "a matrix of %zu x %zu: out of memory", out, in);
    if (!status) {
        make_blocks(&c, h, s);
        nib_parallel_for(ctx, nib_ceil_div(out, ROWS), clip_tile, &c);
    }
    nib_free(ctx, c.blocks);
    nib_free(ctx, c.rooms);
    return status;
}
