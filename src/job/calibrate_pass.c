/* calibrate_pass.c - passes of the calibration texts through a segment, and what was observed. */
#include "job/calibrate_walk.h"

/* An expert that sees fewer of the tokens than one in FEW is rounded to nearest, as by
 * GPTQModel. */
enum { FEW = 200 };

static nib_status check_inputs(const nib_walk *w, const nib_batch *b, size_t batch, nib_error *err)
{
    const nib_observer *o = &w->observer;

    if (!o->bad) return NIB_OK;
    return nib_fail(err, NIB_E_NUMERIC, "%s: record %zu of %s makes its inputs infinite or NaN; "
                    "take the record out, or compute in float32", o->bad->name,
                    nib_calibration_record(&w->data, b, batch, o->bad_row), w->o->calibration.data);
}

nib_status nib_walk_pass(nib_walk *w, int segment, const nib_node *until, nib_error *err)
{
    nib_calibration_data *d = &w->data;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < d->batches && !status; i++) {
        nib_batch b = nib_calibration_batch(d, i);
        uint8_t *values = d->values + d->places[i];
        if (nib_should_stop(w->ctx)) return nib_walk_stopped(w, err);
        const void *in = segment ? values : NULL;
        if (until) nib_run_until(w->run, &b, segment, until, in);
        else nib_run_range(w->run, &b, segment, segment + 1, in, values);
        status = check_inputs(w, &b, i, err);
    }
    return status;
}

/* Hessians for the inputs of the linears still to be made, as many as memory allows;
 * true_sequential: for those of one value. */
static nib_status begin_pass(nib_walk *w, int segment, nib_error *err)
{
    const nib_graph *g = w->model->graph;
    uint64_t bytes = 0;
    nib_status status = NIB_OK;

    for (size_t n = 0; n < g->node_count && !status; n++) {
        const nib_node *node = &g->nodes[n];
        for (size_t e = 0; node->segment == segment && e < nib_node_linears(node) && !status; e++) {
            const nib_walk_target *t = nib_walk_target_of(w, node, e);
            if (!t || nib_walk_is_done(w, t) ||
                nib_observer_find(&w->observer, node, e))
                continue;
            bytes += nib_hessian_bytes(t->linear->weight->in);
            if (w->observer.count && !w->awq && /* whose pairs are seen together */
                (bytes > w->hessian_bytes ||
                 (w->o->true_sequential && !w->measuring &&
                  w->observer.list[0].value != node->inputs[0])))
                return NIB_OK;
            status = nib_observer_add(&w->observer, node, e, err);
        }
    }
    return status;
}

nib_status nib_walk_observe(nib_walk *w, int segment, nib_walk_segment_fn *take, nib_error *err)
{
    nib_status status = NIB_OK;

    while (!status) {
        const nib_node *until;
        status = begin_pass(w, segment, err);
        if (status || !w->observer.count) break;
        w->run->tap = nib_observer_tap;
        w->run->tap_user = &w->observer;
        until = w->awq ? NULL : nib_observer_last(&w->observer);
        status = nib_walk_pass(w, segment, until, err);
        w->run->tap = NULL;
        if (!status) status = take(w, segment, err);
        nib_observer_forget(&w->observer);
    }
    nib_observer_forget(&w->observer);
    return status;
}

/* Experts of a node that too few rows chose.  What they were observed by is put aside: codes are
 * chosen without it. */
bool nib_walk_saw_few(const nib_walk *w, const nib_node *n, const nib_observed *s)
{
    return s->few || (n->experts && s->hessian->rows * FEW < w->data.tokens);
}

void nib_walk_name_few(const nib_walk *w, const nib_walk_target *t, const nib_observed *s)
{
    nib_warn_code(w->ctx, "few-rows", "%s: %" PRIu64 " of %zu tokens chose this expert, too few to "
                  "calibrate it: rounded to nearest; more or other texts reach more experts",
                  t->t->module, s->few ? s->rows : s->hessian->rows, w->data.tokens);
}

nib_status nib_walk_each(nib_walk *w, int segment, nib_walk_matrix_fn *take, nib_error *err)
{
    const nib_graph *g = w->model->graph;
    nib_status status = NIB_OK;

    for (size_t n = 0; n < g->node_count && !status; n++) {
        const nib_node *node = &g->nodes[n];
        for (size_t e = 0; node->segment == segment && e < nib_node_linears(node) && !status; e++) {
            nib_walk_target *t = nib_walk_target_of(w, node, e);
            nib_observed *s = t && !nib_walk_is_done(w, t)
                                  ? nib_observer_find(&w->observer, node, e) : NULL;
            bool few = s && nib_walk_saw_few(w, node, s);
            if (!s) continue;
            if (nib_should_stop(w->ctx)) return nib_walk_stopped(w, err);
            if (few && !s->few) {
                s->rows = s->hessian->rows;
                nib_hessian_unit(s->hessian);
                s->few = true;
            }
            status = take(w, t, s, few, err);
        }
    }
    return status;
}
