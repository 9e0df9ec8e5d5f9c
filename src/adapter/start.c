/* start.c - see start.h. */
#include "adapter/start.h"

#include <math.h>

#include "adapter/halves.h"
#include "adapter/merged.h"
#include "adapter/orthogonal.h"
#include "adapter/residual.h"
#include "base/thread.h"
#include "model/bind_weight.h"
#include "quant/singular.h"

enum {
    TILE = 16,           /* rows of a weight that a thread takes at a time */
    LOFTQ_ITERATIONS = 4, /* an error's singular values lie close together: more give next to
                             nothing (tests/quant/test_singular.c) */
    BLAS_BYTES = 64 << 20 /* about what OpenBLAS touches of its own buffers */
};

/* One linear with what it starts from. */
typedef struct matrix {
    nib_linear *l;
    const nib_branch *branch;
    size_t out, in, rank;
    float *w, *d;      /* [out, in]: W; of LoftQ an error or a trial */
    float *a, *b, *s;  /* [R, in], [out, R], [R] */
    float *delta;      /* [threads, in] */
} matrix;

typedef struct start {
    nib_ctx *ctx;
    nib_adapter *a;
    nib_start kind;
    int iterations;
    uint64_t seed;
    const nib_start_options *o;
    size_t count;
    double norm, before, after; /* LoftQ: sums of squares of W, W - Q and W - Q - s B A */
} start;

static nib_status no_memory(const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
}

/* --- rows of a matrix --- */

typedef struct rows { const matrix *m; const nib_weight *from; float *to; float s; } rows;

static void decode_tile(void *arg, size_t tile, unsigned worker)
{
    const rows *r = arg;
    size_t r0 = tile * TILE, r1 = nib_min(r0 + TILE, r->m->out);

    (void)worker;
    nib_weight_decode(r->from, r0, r1, r->to + r0 * r->m->in);
}

static void add_tile(void *arg, size_t tile, unsigned worker)
{
    const rows *r = arg;
    const matrix *m = r->m;
    size_t r0 = tile * TILE, r1 = nib_min(r0 + TILE, m->out);

    for (size_t i = r0; i < r1; i++)
        nib_residual_add_row(m->rank, m->in, m->b + i * m->rank, m->a, r->s,
                             m->delta + worker * m->in, r->to + i * m->in);
}

static void decode(nib_ctx *ctx, const matrix *m, const nib_weight *from, float *to)
{
    nib_parallel_for(ctx, nib_ceil_div(m->out, TILE), decode_tile, &(rows){ m, from, to, 0 });
}

/* to -= s B A */
static void subtract(nib_ctx *ctx, const matrix *m, float *to)
{
    nib_parallel_for(ctx, nib_ceil_div(m->out, TILE), add_tile,
                     &(rows){ m, NULL, to, -m->branch->scale });
}

static double square(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* --- factors --- */

/* B = U sqrt(S / s), A = sqrt(S / s) V of `of`. */
static nib_status factor(const start *s, const matrix *m, const float *of, int iterations,
                         nib_error *err)
{
    const nib_svd_options o = { .rank = m->rank, .iterations = iterations, .seed = s->seed,
                                .key = m->branch->key };
    nib_status status = nib_svd(s->ctx, of, m->out, m->in, &o, m->b, m->s, m->a, err);

    if (status) return nib_fail_in(err, status, "%s", m->l->name);
    for (size_t q = 0; q < m->rank; q++) {
        float root = sqrtf(m->s[q] / m->branch->scale);
        for (size_t k = 0; k < m->in; k++) m->a[q * m->in + k] *= root;
        for (size_t i = 0; i < m->out; i++) m->b[i * m->rank + q] *= root;
    }
    return NIB_OK;
}

/* B and A of a method that takes s B A out of W. */
static nib_status factor_whole(const start *s, const matrix *m, nib_error *err)
{
    nib_status status;

    if (s->kind == NIB_START_PISSA) return factor(s, m, m->w, s->iterations, err);
    status = nib_qr(s->ctx, m->w, m->out, m->in, m->rank, m->b, m->a, err);
    return status ? nib_fail_in(err, status, "%s", m->l->name) : NIB_OK;
}

/* --- changing the base --- */

/* The values `w` in the type or form of the linear's weight. */
static nib_status remake(const start *s, const matrix *m, float *w, nib_weight **made,
                         nib_error *err)
{
    nib_form form = nib_weight_form(m->l->weight);
    nib_weight *floats = NULL;
    void *narrow;
    nib_status status;

    if (nib_form_is_dense(&form)) {
        narrow = nib_new_array(s->ctx, m->out, m->in * nib_dtype_bytes(form.dtype));
        if (!narrow) return no_memory(m->l->name, err);
        nib_convert(narrow, form.dtype, w, NIB_F32, m->out * m->in);
        status = nib_weight_dense(s->ctx, m->out, m->in, form.dtype, narrow, narrow, made, err);
        if (status) nib_free(s->ctx, narrow);
        return status;
    }
    status = nib_weight_dense(s->ctx, m->out, m->in, NIB_F32, w, NULL, &floats, err);
    if (!status) status = nib_form_encode(s->ctx, &form, floats, made, err);
    nib_weight_destroy(s->ctx, floats);
    return status ? nib_fail_in(err, status, "%s", m->l->name) : NIB_OK;
}

/* Puts `made` in the place of the linear's weight, from which B A as they are were taken. */
static nib_status replace(start *s, const matrix *m, nib_weight *made, nib_error *err)
{
    nib_adapter *a = s->a;
    bool low = nib_start_is_low(m->l);
    nib_taken t = { .linear = m->l, .before = low ? NULL : m->l->weight };

    t.a = nib_new_array(s->ctx, m->rank, m->in * sizeof *t.a);
    t.b = nib_new_array(s->ctx, m->out, m->rank * sizeof *t.b);
    if (!t.a || !t.b ||
        !nib_grow(s->ctx, &a->taken, &a->taken_capacity, a->taken_count + 1, sizeof *a->taken)) {
        nib_free(s->ctx, t.a);
        nib_free(s->ctx, t.b);
        nib_weight_destroy(s->ctx, made);
        return no_memory(m->l->name, err);
    }
    memcpy(t.a, m->a, m->rank * m->in * sizeof *t.a);
    memcpy(t.b, m->b, m->out * m->rank * sizeof *t.b);
    made->source = m->l->weight->source;
    if (low) nib_weight_destroy(s->ctx, m->l->weight);
    m->l->weight = made;
    a->taken[a->taken_count++] = t;
    a->recoded |= low;
    return NIB_OK;
}

static nib_status start_whole(start *s, const matrix *m, nib_error *err)
{
    nib_weight *made = NULL;
    nib_status status = factor_whole(s, m, err);

    if (status) return status;
    subtract(s->ctx, m, m->w);
    status = remake(s, m, m->w, &made, err);
    return status ? status : replace(s, m, made, err);
}

/* --- LoftQ --- */

/* d = W - Q, and its square. */
static double find_error(const start *s, const matrix *m, const nib_weight *q)
{
    decode(s->ctx, m, q, m->d);
    for (size_t i = 0; i < m->out * m->in; i++) m->d[i] = m->w[i] - m->d[i];
    return square(m->d, m->out * m->in);
}

static nib_status start_loftq(start *s, const matrix *m, nib_error *err)
{
    int64_t most = s->a->config.loftq_iter;
    nib_status status;

    s->norm += square(m->w, m->out * m->in);
    s->before += find_error(s, m, m->l->weight);
    status = factor(s, m, m->d, LOFTQ_ITERATIONS, err);
    for (int64_t t = 1; t < most && !status; t++) {
        nib_weight *made = NULL;
        if (nib_should_stop(s->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        memcpy(m->d, m->w, m->out * m->in * sizeof *m->d);
        subtract(s->ctx, m, m->d);
        status = remake(s, m, m->d, &made, err);
        if (status) return status;
        if (t + 1 == most) {
            status = replace(s, m, made, err);
            if (status) return status;
        }
        (void)find_error(s, m, made);
        if (t + 1 < most) nib_weight_destroy(s->ctx, made);
        status = factor(s, m, m->d, LOFTQ_ITERATIONS, err);
    }
    if (status) return status;
    subtract(s->ctx, m, m->d);
    s->after += square(m->d, m->out * m->in);
    return NIB_OK;
}

/* --- all linears --- */

static void free_matrix(nib_ctx *ctx, matrix *m)
{
    nib_free(ctx, m->w);
    nib_free(ctx, m->d);
    nib_free(ctx, m->a);
    nib_free(ctx, m->b);
    nib_free(ctx, m->s);
    nib_free(ctx, m->delta);
}

static nib_status open_matrix(const start *s, nib_linear *l, const nib_branch *b, matrix *m,
                              nib_error *err)
{
    const nib_weight *from = l->weight;
    nib_weight *original = NULL;
    nib_status status = NIB_OK;

    *m = (matrix){ .l = l, .branch = b, .out = l->weight->out, .in = l->weight->in,
                   .rank = s->a->doubled ? b->a->rows / 2 : b->a->rows };
    m->w = nib_new_array(s->ctx, m->out, m->in * sizeof *m->w);
    if (s->kind == NIB_START_LOFTQ) m->d = nib_new_array(s->ctx, m->out, m->in * sizeof *m->d);
    m->a = nib_new_array(s->ctx, m->rank, m->in * sizeof *m->a);
    m->b = nib_new_array(s->ctx, m->out, m->rank * sizeof *m->b);
    m->s = nib_new_array(s->ctx, m->rank, sizeof *m->s);
    m->delta = nib_new_array(s->ctx, nib_threads(s->ctx), m->in * sizeof *m->delta);
    if (!m->w || (s->kind == NIB_START_LOFTQ && !m->d) || !m->a || !m->b || !m->s || !m->delta)
        return no_memory(l->name, err);
    if (nib_start_is_low(l) && !s->a->model->quantized_now)
        from = nib_start_original(s->o, l)->weight; /* as checked */
    else if (nib_start_is_low(l)) status = nib_bind_original(s->a->model, l, &original, err);
    if (status) return status;
    decode(s->ctx, m, original ? original : from, m->w);
    if (from == l->weight) nib_bind_release(s->a->model, l);
    else nib_bind_release(s->o->original, nib_start_original(s->o, l));
    nib_weight_destroy(s->ctx, original);
    return NIB_OK;
}

static nib_status start_linear(start *s, nib_linear *l, const nib_branch *b, nib_error *err)
{
    matrix m = { 0 };
    nib_status status;

    if (nib_should_stop(s->ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "interrupted while the adapter was made of the "
                        "weights");
    if (s->kind == NIB_START_ORTHOGONAL) return nib_orthogonal(s->ctx, b, s->seed, err);
    if (s->kind == NIB_START_LOFTQ && !nib_start_is_low(l)) return NIB_OK;
    status = open_matrix(s, l, b, &m, err);
    if (!status && s->a->doubled) {
        status = factor_whole(s, &m, err);
        if (!status) nib_halves_fill(b, m.a, m.b);
    } else if (!status) {
        status = s->kind == NIB_START_LOFTQ ? start_loftq(s, &m, err) : start_whole(s, &m, err);
        if (!status) memcpy(b->a->value, m.a, m.rank * m.in * sizeof *m.a);
        if (!status) memcpy(b->b->value, m.b, m.out * m.rank * sizeof *m.b);
    }
    free_matrix(s->ctx, &m);
    s->count += !status;
    return status;
}

static void report(const start *s)
{
    const char *init = s->a->config.init_lora_weights;

    if (s->kind == NIB_START_LOFTQ && s->norm > 0)
        nib_note(s->ctx, "loftq: of %zu matrices |W - Q| is %.3f %% of |W|, and |W - Q - s B A| "
                 "%.3f %%", s->count, 100 * sqrt(s->before / s->norm),
                 100 * sqrt(s->after / s->norm));
    if (s->a->recoded)
        nib_note(s->ctx, "%s: %zu matrices of the base were quantized again without what the "
                 "adapter took of them: `nibble quantize` with --adapter OUT/base_change makes "
                 "the base that the adapter fits", init, s->a->taken_count);
    else if (s->a->taken_count)
        nib_note(s->ctx, "%s: what the adapter took of %zu matrices of the base is put back when "
                 "it is saved, as a LoRA of twice the rank, which fits %s", init, s->a->taken_count,
                 s->a->model->dir);
}

nib_status nib_start_run(nib_adapter *a, uint64_t seed, const nib_start_options *o, nib_error *err)
{
    start s = { .ctx = a->ctx, .a = a, .seed = seed, .o = o };
    nib_status status = NIB_OK;

    s.kind = nib_start_of(a->config.init_lora_weights, &s.iterations);
    if (s.kind == NIB_START_PLAIN) return NIB_OK;
    for (size_t i = 0; i < a->model->linear_count && !status; i++) {
        nib_linear *l = a->model->linears[i];
        const nib_branch *b = nib_branch_at(&l->branches, a->slot);
        if (b && nib_weight_is_blank(l->weight)) return NIB_OK;
        if (b) status = start_linear(&s, l, b, err);
        if (b && o->progress.report)
            o->progress.report(o->progress.user, "starting the adapter",
                               (double)(i + 1) / (double)a->model->linear_count);
    }
    if (!status && a->recoded) nib_merged_fingerprint(a, true, a->base_change);
    if (!status && !a->doubled) report(&s);
    return status;
}

uint64_t nib_start_bytes(const nib_adapter *a)
{
    int iterations;
    nib_start kind = nib_start_of(a->config.init_lora_weights, &iterations);
    uint64_t values = 0;

    if (kind != NIB_START_PISSA && kind != NIB_START_OLORA &&
        !(kind == NIB_START_LOFTQ && a->config.loftq_iter > 1))
        return 0;
    for (size_t i = 0; i < a->model->linear_count; i++) {
        const nib_branch *b = nib_branch_at(&a->model->linears[i]->branches, a->slot);
        if (b) values += nib_param_count(b->a) + nib_param_count(b->b);
    }
    return values * sizeof(float);
}

/* Values, errors or trials, factors and the weight that is made.  The original's pages are given
 * back before most of that is touched. */
static uint64_t peak_of(const nib_adapter *a, nib_start kind, int iterations, const nib_linear *l,
                        const nib_branch *b)
{
    const nib_weight *w = l->weight;
    const nib_svd_options svd = { .rank = nib_min(b->a->rows, nib_min(w->out, w->in)),
                                  .iterations = iterations };
    uint64_t n = (uint64_t)w->out * w->in;
    bool changes = kind != NIB_START_LOFTQ || a->config.loftq_iter > 1;

    return BLAS_BYTES + n * (kind == NIB_START_LOFTQ ? 2 : 1) * sizeof(float) +
           (nib_param_count(b->a) + nib_param_count(b->b)) * sizeof(float) +
           nib_svd_bytes(w->out, w->in, &svd) +
           nib_threads(a->ctx) * w->in * sizeof(float) +
           (changes ? w->bytes : 0);
}

uint64_t nib_start_peak(const nib_adapter *a)
{
    int iterations;
    nib_start kind = nib_start_of(a->config.init_lora_weights, &iterations);
    uint64_t most = 0;

    if (kind != NIB_START_PISSA && kind != NIB_START_OLORA && kind != NIB_START_LOFTQ) return 0;
    if (kind != NIB_START_PISSA) iterations = LOFTQ_ITERATIONS;
    for (size_t i = 0; i < a->model->linear_count; i++) {
        const nib_linear *l = a->model->linears[i];
        const nib_branch *b = nib_branch_at(&l->branches, a->slot);
        if (b) most = nib_max(most, peak_of(a, kind, iterations, l, b));
    }
    return most;
}

void nib_start_undo(nib_adapter *a)
{
    for (size_t i = 0; i < a->taken_count; i++) {
        nib_taken *t = &a->taken[i];
        if (t->before) {
            nib_weight_destroy(a->ctx, t->linear->weight);
            t->linear->weight = t->before;
        }
        nib_free(a->ctx, t->a);
        nib_free(a->ctx, t->b);
    }
    nib_free(a->ctx, a->taken);
    a->taken = NULL;
    a->taken_count = a->taken_capacity = 0;
}
