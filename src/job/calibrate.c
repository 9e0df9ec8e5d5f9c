/* calibrate.c - see calibrate.h; a layer at a time. */
#include "job/calibrate.h"

#include <stdio.h>

#include "job/calibrate_walk.h"

/* --- passes over a segment --- */

static nib_status check_inputs(const nib_walk *w, const nib_batch *b, size_t batch, nib_error *err)
{
    const nib_observer *o = &w->observer;

    if (!o->bad) return NIB_OK;
    return nib_fail(err, NIB_E_NUMERIC, "%s: record %zu of %s makes its inputs infinite or NaN; "
                    "take the record out, or compute in float32", o->bad->name,
                    nib_calibration_record(&w->data, b, batch, o->bad_row), w->o->calibration.data);
}

/* until: the last node whose inputs are looked for, up to which the segment runs; NULL: it runs to
 * its end, and what it gives takes the place of what it was given. */
static nib_status pass(nib_walk *w, int segment, const nib_node *until, nib_error *err)
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
            if (!t || t->made || nib_observer_find(&w->observer, node, e)) continue;
            bytes += nib_hessian_bytes(t->linear->weight->in);
            if (w->observer.count && !w->awq && /* whose pairs are seen together */
                (bytes > w->hessian_bytes ||
                 (w->o->true_sequential && w->observer.list[0].value != node->inputs[0])))
                return NIB_OK;
            status = nib_observer_add(&w->observer, node, e, err);
        }
    }
    return status;
}

static nib_status calibrate_segment(nib_walk *w, int segment, nib_error *err)
{
    nib_status status = NIB_OK;

    while (!status) {
        const nib_node *until;
        status = begin_pass(w, segment, err);
        if (status || !w->observer.count) break;
        w->run->tap = nib_observer_tap;
        w->run->tap_user = &w->observer;
        until = w->awq ? NULL : nib_observer_last(&w->observer);
        status = pass(w, segment, until, err);
        w->run->tap = NULL;
        if (!status)
            status = w->awq ? nib_walk_awq(w, segment, err) : nib_walk_encode(w, segment, err);
        nib_observer_forget(&w->observer);
    }
    nib_observer_forget(&w->observer);
    return status ? status : nib_walk_store(w, segment, err);
}

/* Pages of the dense matrices, which are not read again. */
static void give_back(const nib_walk *w, int segment)
{
    size_t first, end;

    nib_walk_segment(w, segment, &first, &end);
    for (size_t i = first; i < end; i++) {
        const nib_tensor *t = nib_tensors_find(w->model->tensors, w->targets[i].t->tensor);
        if (t) nib_filemap_release(t->map, t->data, (size_t)t->bytes);
    }
}

static nib_status run_segment(nib_walk *w, int segment, nib_error *err)
{
    size_t first, end;
    bool passed; /* by AWQ, which runs the layer as it was, once */
    nib_status status = NIB_OK;

    nib_walk_segment(w, segment, &first, &end);
    passed = w->awq && first < end && !w->c->store.layers[segment];
    if (first < end && !w->c->store.layers[segment]) status = calibrate_segment(w, segment, err);
    if (!status && first < end) status = nib_walk_use(w, segment, err);
    give_back(w, segment);
    if (!status && !passed && w->done < w->count) status = pass(w, segment, NULL, err);
    return status;
}

nib_status nib_calibrate(nib_ctx *ctx, nib_calibration *c, nib_error *err)
{
    nib_walk w = { .ctx = ctx, .c = c, .o = c->options, .observer = { .ctx = ctx },
                   .start = nib_clock_seconds() };
    nib_status status = nib_walk_open(&w, err);

    for (int s = 0; !status && s < w.model->graph->segments && w.done < w.count; s++)
        status = run_segment(&w, s, err);
    nib_walk_close(&w);
    return status;
}
