/* calibrate_awq.c - activation-aware quantization of a segment: factors for the values that its
 * linears read, moved into what makes them; clipped; rounded to nearest.
 *
 * All factors are found on the layer as it is, then all are applied: a linear's columns are
 * multiplied by those of its input, its rows divided by those of what is made of its output.  What
 * is divided and is no target (norms, biases, a router) goes into the layer's file as float32. */
#include <math.h>

#include "graph/pairs.h"
#include "job/calibrate_walk.h"
#include "job/quantize_algorithm.h"
#include "quant/awq.h"

enum { ALL = -1 };

typedef struct factors {
    nib_scale_pair pair;
    int expert;   /* whose linears alone, on both sides; ALL */
    float *s;     /* [pair.width] */
} factors;

typedef struct job {
    nib_walk *w;
    int segment;
    factors *list;
    size_t count, capacity;
} job;

static bool is_linear(const job *j, const nib_node *n)
{
    return n->segment == j->segment && nib_node_linears(n) && n->inputs[0] != NIB_NONE &&
           !n->op->objective;
}

/* --- who can be changed --- */

/* The tensor of a dense weight that is no target; NULL: there is none of its own. */
static const nib_tensor *dense_tensor(const nib_walk *w, const nib_linear *l)
{
    char *name = nib_sprintf(w->ctx, "%s.weight", l->name);
    const nib_tensor *t = NULL;

    if (name && !l->transposed && !l->stack && nib_weight_is_dense(l->weight))
        t = nib_model_tensor(w->model->tensors, w->model->config, name);
    nib_free(w->ctx, name);
    return t && t->rank == 2 && t->shape[0] == l->weight->out && t->shape[1] == l->weight->in ? t
                                                                                             : NULL;
}

static bool can_change(const job *j, const nib_node *n)
{
    for (size_t e = 0; e < nib_node_linears(n); e++)
        if (!nib_walk_target_of(j->w, n, e) && !dense_tensor(j->w, nib_node_linear(n, e)))
            return false;
    return true;
}

static bool pair_is_usable(const job *j, const nib_scale_pair *p)
{
    const nib_graph *g = j->w->model->graph;

    if (p->before && !can_change(j, p->before)) return false;
    for (size_t i = 0; i < g->node_count; i++)
        if (is_linear(j, &g->nodes[i]) && nib_scale_value(g, &g->nodes[i]) == p->value &&
            !can_change(j, &g->nodes[i]))
            return false;
    return true;
}

/* --- searching --- */

/* The matrices that read the pair's value and are targets, of one expert or of all. */
static size_t list_readers(const job *j, const nib_scale_pair *p, int expert, nib_awq_matrix *to)
{
    const nib_graph *g = j->w->model->graph;
    size_t count = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (!is_linear(j, n) || nib_scale_value(g, n) != p->value) continue;
        for (size_t e = 0; e < nib_node_linears(n); e++) {
            const nib_walk_target *t = nib_walk_target_of(j->w, n, e);
            const nib_observed *s = t ? nib_observer_find(&j->w->observer, n, e) : NULL;
            if (!s || !s->hessian->rows || (expert != ALL && e != (size_t)expert)) continue;
            if (to) to[count] = (nib_awq_matrix){ s->hessian, t->linear->weight, &t->t->form };
            count++;
        }
    }
    return count;
}

static nib_status find_factors(job *j, const nib_scale_pair *p, int expert, nib_error *err)
{
    nib_ctx *ctx = j->w->ctx;
    size_t count = list_readers(j, p, expert, NULL);
    nib_awq_matrix *readers;
    factors f = { .pair = *p, .expert = expert };
    double share;
    nib_status status = NIB_OK;

    if (!count) return NIB_OK;
    readers = nib_new_array(ctx, count, sizeof *readers);
    f.s = nib_new_array(ctx, p->width, sizeof *f.s);
    if (!readers || !f.s ||
        !nib_grow(ctx, &j->list, &j->capacity, j->count + 1, sizeof *j->list)) {
        status = nib_fail(err, NIB_E_NOMEM, "factors of %zu inputs: out of memory", p->width);
    } else {
        list_readers(j, p, expert, readers);
        status = nib_awq_scales(ctx, readers, count, f.s, &share, err);
    }
    nib_free(ctx, readers);
    if (status) nib_free(ctx, f.s);
    else j->list[j->count++] = f;
    return status;
}

static bool is_listed(const job *j, int value)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->list[i].pair.value == value) return true;
    return false;
}

static nib_status find_all(job *j, nib_error *err)
{
    const nib_graph *g = j->w->model->graph;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < g->node_count && !status; i++) {
        const nib_node *n = &g->nodes[i];
        nib_scale_pair p;
        if (!is_linear(j, n) || is_listed(j, nib_scale_value(g, n)) ||
            !nib_scale_pair_find(g, nib_scale_value(g, n), &p) || !pair_is_usable(j, &p))
            continue;
        if (p.before && p.before->experts)
            for (size_t e = 0; e < p.before->route.experts && !status; e++)
                status = find_factors(j, &p, (int)e, err);
        else status = find_factors(j, &p, ALL, err);
    }
    return status;
}

/* --- applying --- */

static const factors *columns_of(const job *j, const nib_node *n, size_t expert)
{
    int value = nib_scale_value(j->w->model->graph, n);

    for (size_t i = 0; i < j->count; i++)
        if (j->list[i].pair.value == value &&
            (j->list[i].expert == ALL || (size_t)j->list[i].expert == expert))
            return &j->list[i];
    return NULL;
}

/* rows [out]: what each row is divided by.  False: by 1. */
static bool rows_of(const job *j, const nib_node *n, size_t expert, size_t out, float *rows)
{
    bool any = false;

    for (size_t o = 0; o < out; o++) rows[o] = 1;
    for (size_t i = 0; i < j->count; i++) {
        const factors *f = &j->list[i];
        if (f->pair.before != n || (f->expert != ALL && (size_t)f->expert != expert)) continue;
        any = true;
        for (size_t c = 0; c < f->pair.width; c++)
            rows[nib_scale_pair_row(&f->pair, c)] *= f->s[c];
    }
    return any;
}

/* What becomes of one linear. */
typedef struct moved {
    nib_linear *linear;
    const float *s;  /* [in] columns are multiplied by it; NULL: 1 */
    float *rows;     /* [out] and rows divided */
    bool divides;    /* some are not 1 */
    float *w;        /* [out, in] the result */
} moved;

static nib_status move(const job *j, const nib_node *n, size_t expert, moved *m, nib_error *err)
{
    const factors *f = columns_of(j, n, expert);
    nib_ctx *ctx = j->w->ctx;
    size_t out, in;

    m->linear = nib_node_linear(n, expert);
    out = m->linear->weight->out;
    in = m->linear->weight->in;
    m->s = f ? f->s : NULL;
    m->rows = nib_new_array(ctx, out, sizeof *m->rows);
    m->w = nib_new_array(ctx, out, in * sizeof *m->w);
    if (!m->rows || !m->w)
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->linear->name);
    m->divides = rows_of(j, n, expert, out, m->rows);
    nib_weight_decode(m->linear->weight, 0, out, m->w);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++) m->w[o * in + i] *= (m->s ? m->s[i] : 1) / m->rows[o];
    return NIB_OK;
}

static void free_moved(nib_ctx *ctx, moved *m)
{
    nib_free(ctx, m->rows);
    nib_free(ctx, m->w);
}

/* Takes values over. */
static nib_status change(nib_walk *w, const char *module, const char *part, float *values,
                         nib_error *err)
{
    char *name = part ? nib_sprintf(w->ctx, "%s%s", module, part) : nib_strdup(w->ctx, module);
    const nib_tensor *t = name ? nib_model_tensor(w->model->tensors, w->model->config, name) : NULL;
    nib_status status = NIB_OK;

    if (!values || !name ||
        !nib_grow(w->ctx, &w->changes, &w->change_capacity, w->change_count + 1,
                  sizeof *w->changes))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
    else if (!t)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no tensor of that name, which the factors change",
                          name);
    if (status) nib_free(w->ctx, values);
    else w->changes[w->change_count++] = (nib_walk_change){ t, values };
    nib_free(w->ctx, name);
    return status;
}

static float *divided(nib_ctx *ctx, const float *from, const float *by, size_t n, float plus)
{
    float *to = nib_new_array(ctx, n, sizeof *to);

    for (size_t i = 0; to && i < n; i++) to[i] = (plus + from[i]) / by[i] - plus;
    return to;
}

static nib_status change_norm(nib_walk *w, const factors *f, nib_error *err)
{
    const nib_norm *norm = f->pair.norm->norm;
    float plus = f->pair.norm->rms_form == NIB_RMS_ONE_PLUS; /* y = (1 + w) x^ */
    const char *part = norm->weights == NIB_NORM_SCALE ? ".scale" : ".weight";
    nib_status status = change(w, norm->name, part,
                               divided(w->ctx, norm->weight, f->s, f->pair.width, plus), err);

    if (!status && norm->bias)
        status = change(w, norm->name, ".bias",
                        divided(w->ctx, norm->bias, f->s, f->pair.width, 0), err);
    return status;
}

static nib_status change_bias(nib_walk *w, const moved *m, nib_error *err)
{
    const nib_linear *l = m->linear;

    if (!m->divides || !l->bias) return NIB_OK;
    return change(w, l->bias_name ? l->bias_name : l->name, l->bias_name ? NULL : ".bias",
                  divided(w->ctx, l->bias, m->rows, l->weight->out, 0), err);
}

/* --- encoding --- */

/* The error of what was made in the inputs and outputs of before. */
static nib_status report_errors(nib_walk *w, const nib_walk_target *t, const nib_hessian *h,
                                moved *m, nib_matrix_report *r, nib_error *err)
{
    const nib_weight *from = t->linear->weight;
    size_t out = from->out, in = from->in;
    nib_weight *undone = NULL;
    nib_status status;

    nib_weight_decode(t->made, 0, out, m->w);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++) m->w[o * in + i] *= m->rows[o] / (m->s ? m->s[i] : 1);
    status = nib_weight_dense(w->ctx, out, in, NIB_F32, m->w, NULL, &undone, err);
    if (!status) status = nib_walk_errors(w, t, h, undone, r, err);
    nib_weight_destroy(w->ctx, undone);
    return status;
}

static nib_status encode(job *j, const nib_node *n, size_t expert, nib_walk_target *t,
                         nib_error *err)
{
    nib_walk *w = j->w;
    const nib_observed *s = nib_observer_find(&w->observer, n, expert);
    bool few = nib_walk_saw_few(w, n, s);
    nib_matrix_report report = { .module = t->t->module,
                                 .bits = nib_quantize_form_bits(w->c->held, &t->t->form),
                                 .algorithm = few ? "rtn" : "awq",
                                 .rows = s->hessian->rows };
    double start = nib_clock_seconds();
    nib_weight *scaled = NULL;
    moved m = { 0 };
    nib_status status = move(j, n, expert, &m, err);

    if (few) nib_walk_name_few(w, t, s);
    if (!status && !few && (n->experts || !nib_makes_scores(w->model->graph, n)))
        status = nib_awq_clip(w->ctx, s->hessian, m.s, &t->t->form, m.w, t->linear->weight->out,
                              t->linear->weight->in, err);
    if (!status)
        status = nib_weight_dense(w->ctx, t->linear->weight->out, t->linear->weight->in, NIB_F32,
                                  m.w, NULL, &scaled, err);
    if (!status) status = nib_form_encode(w->ctx, &t->t->form, scaled, &t->made, err);
    if (!status && !nib_weight_finite(t->made))
        status = nib_fail(err, NIB_E_NUMERIC, "the matrix holds a value that is not finite");
    if (!status) status = report_errors(w, t, s->hessian, &m, &report, err);
    if (!status) status = change_bias(w, &m, err);
    nib_weight_destroy(w->ctx, scaled);
    free_moved(w->ctx, &m);
    if (status) return nib_fail_in(err, status, "%s", t->t->module);
    report.seconds = nib_clock_seconds() - start;
    return nib_walk_report(w, t, &report, err);
}

/* A linear that stays dense: a router beside its experts. */
static nib_status change_dense(job *j, const nib_node *n, size_t expert, nib_error *err)
{
    moved m = { 0 };
    nib_status status = NIB_OK;

    if (!columns_of(j, n, expert)) {
        size_t out = nib_node_linear(n, expert)->weight->out;
        float *rows = nib_new_array(j->w->ctx, out, sizeof *rows);
        bool divides = rows && rows_of(j, n, expert, out, rows);
        if (!rows) status = nib_fail(err, NIB_E_NOMEM, "a dense matrix: out of memory");
        nib_free(j->w->ctx, rows);
        if (status || !divides) return status;
    }
    status = move(j, n, expert, &m, err);
    if (!status) status = change_bias(j->w, &m, err);
    if (!status) {
        status = change(j->w, m.linear->name, ".weight", m.w, err);
        m.w = NULL;
    }
    free_moved(j->w->ctx, &m);
    return status;
}

static nib_status apply(job *j, nib_error *err)
{
    const nib_graph *g = j->w->model->graph;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < j->count && !status; i++)
        if (j->list[i].pair.norm) status = change_norm(j->w, &j->list[i], err);
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        for (size_t e = 0; is_linear(j, n) && e < nib_node_linears(n) && !status; e++) {
            nib_walk_target *t = nib_walk_target_of(j->w, n, e);
            if (nib_should_stop(j->w->ctx)) return nib_walk_stopped(j->w, err);
            status = t ? encode(j, n, e, t, err) : change_dense(j, n, e, err);
        }
    }
    return status;
}

nib_status nib_walk_awq(nib_walk *w, int segment, nib_error *err)
{
    job j = { .w = w, .segment = segment };
    nib_status status = find_all(&j, err);

    if (!status) status = apply(&j, err);
    for (size_t i = 0; i < j.count; i++) nib_free(w->ctx, j.list[i].s);
    nib_free(w->ctx, j.list);
    return status;
}
