/* calibrate_encode.c - the linears of a segment that were observed, encoded, reported and put into
 * the store. */
#include <math.h>
#include <stdio.h>

#include "format/json.h"
#include "job/calibrate_walk.h"
#include "job/quantize_algorithm.h"

/* --- reports --- */

static void show_progress(const nib_walk *w, const nib_walk_target *t)
{
    size_t made = w->done - w->done_before, left = w->count - w->done;
    double seconds = (nib_clock_seconds() - w->start) / (double)made * (double)left;
    char what[160];

    if (!w->o->on_progress) return;
    snprintf(what, sizeof what, "layer %d of %d, %s, %.0f %s left,", t->segment,
             w->model->graph->segments - 2, t->t->module, seconds < 120 ? seconds : seconds / 60,
             seconds < 120 ? "s" : "min");
    w->o->on_progress(w->o->user, what, (double)w->done / (double)w->count);
}

/* --- one matrix --- */

static nib_status share_lost(const nib_hessian *h, const nib_weight *from, const nib_weight *made,
                             double whole, double *share, nib_error *err)
{
    double error = 0;
    nib_status status = nib_hessian_error(h, from, made, &error, err);

    *share = whole > 0 ? error / whole : 0;
    return status;
}

nib_status nib_walk_errors(nib_walk *w, const nib_walk_target *t, const nib_hessian *h,
                           const nib_weight *made, nib_matrix_report *report, nib_error *err)
{
    const nib_gptq_options in_order = { .damp_percent = 0 };
    const nib_form plain = nib_gptq_form(&t->t->form, &in_order);
    nib_weight *nearest = NULL;
    double whole = 0;
    nib_status status = nib_form_encode(w->ctx, &plain, t->linear->weight, &nearest, err);

    if (!status) status = nib_hessian_error(h, t->linear->weight, NULL, &whole, err);
    if (!status)
        status = share_lost(h, t->linear->weight, nearest, whole, &report->error_rounded, err);
    if (!status) status = share_lost(h, t->linear->weight, made, whole, &report->error, err);
    nib_weight_destroy(w->ctx, nearest);
    return status;
}

nib_status nib_walk_report(nib_walk *w, const nib_walk_target *t, const nib_matrix_report *r,
                           nib_error *err)
{
    json_t *json = nib_quantize_matrix_json(r);

    w->done++;
    if (w->o->on_matrix) w->o->on_matrix(w->o->user, r);
    show_progress(w, t);
    if (!w->layer) w->layer = json_array();
    if (!json || json_array_append_new(w->layer, json))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", r->module);
    return NIB_OK;
}

static nib_status encode(nib_walk *w, nib_walk_target *t, const nib_observed *s, bool few,
                         nib_error *err)
{
    const nib_hessian *h = s->hessian;
    nib_matrix_report report = { .module = t->t->module,
                                 .bits = nib_quantize_form_bits(w->c->held, &t->t->form),
                                 .algorithm = few ? "rtn" : "gptq",
                                 .rows = few ? s->rows : h->rows };
    nib_gptq_report found;
    double start = nib_clock_seconds();
    nib_status status = nib_gptq_encode(h, &t->t->form, t->linear->weight, &w->gptq, &t->made,
                                        &found, err);

    if (!status) status = nib_walk_errors(w, t, h, t->made, &report, err);
    if (status) return nib_fail_in(err, status, "%s", t->t->module);
    report.damp = found.damp;
    report.seconds = nib_clock_seconds() - start;
    if (found.raises)
        nib_note(w->ctx, "%s: the inputs are nearly dependent: damping raised to %.3g",
                 t->t->module, found.damp);
    return nib_walk_report(w, t, &report, err);
}

static nib_status encode_and_use(nib_walk *w, nib_walk_target *t, nib_observed *s, bool few,
                                 nib_error *err)
{
    nib_status status;

    if (few) nib_walk_name_few(w, t, s);
    status = encode(w, t, s, few, err);
    if (status || !w->o->true_sequential) return status;
    t->linear->frozen = t->linear->weight;
    t->linear->weight = t->made;
    return NIB_OK;
}

nib_status nib_walk_encode(nib_walk *w, int segment, nib_error *err)
{
    return nib_walk_each(w, segment, encode_and_use, err);
}

/* --- the store --- */

/* What the file of a layer holds. */
typedef struct contents {
    nib_ctx *ctx;
    nib_parts_out *parts;  /* [matrices] */
    nib_tensor_plan *plans;
    const void **data;
    size_t count;
} contents;

static nib_status list(nib_walk *w, size_t first, size_t end, contents *c, nib_error *err)
{
    size_t most = NIB_PARTS_MOST * (end - first) + w->change_count;
    nib_status status = NIB_OK;

    c->parts = nib_new_array(w->ctx, end - first, sizeof *c->parts);
    c->plans = nib_new_array(w->ctx, most, sizeof *c->plans);
    c->data = nib_new_array(w->ctx, most, sizeof *c->data);
    if (!c->parts || !c->plans || !c->data)
        return nib_fail(err, NIB_E_NOMEM, "a layer's tensors: out of memory");
    for (size_t i = first; i < end && !status; i++) {
        nib_parts_out *p = &c->parts[i - first];
        status = w->c->held->format->tensors(w->targets[i].made, w->targets[i].t->tensor, p, err);
        for (size_t k = 0; k < p->count && !status; k++) {
            c->plans[c->count] = (nib_tensor_plan){
                .name = p->parts[k].name, .dtype = p->parts[k].dtype, .rank = p->parts[k].rank,
                .shape = { p->parts[k].shape[0], p->parts[k].shape[1] } };
            c->data[c->count++] = p->parts[k].data;
        }
    }
    for (size_t i = 0; i < w->change_count; i++) {
        const nib_tensor *t = w->changes[i].tensor;
        c->plans[c->count] = (nib_tensor_plan){ .name = t->name, .dtype = NIB_F32,
                                                .rank = t->rank };
        memcpy(c->plans[c->count].shape, t->shape, sizeof t->shape);
        c->data[c->count++] = w->changes[i].values;
    }
    return status;
}

static void take_back(nib_walk *w, nib_walk_target *t)
{
    if (t->linear->frozen) t->linear->weight = t->linear->frozen;
    t->linear->frozen = NULL;
    nib_weight_destroy(w->ctx, t->made);
    t->made = NULL;
}

nib_status nib_walk_store(nib_walk *w, int segment, nib_error *err)
{
    contents c = { .ctx = w->ctx };
    size_t first, end;
    char *report = nib_json_dump(w->ctx, w->layer, JSON_COMPACT);
    nib_status status = NIB_OK;

    nib_walk_segment(w, segment, &first, &end);
    for (size_t i = first; i < end && !status; i++)
        if (!w->targets[i].made)
            status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: no calibration text reaches it",
                              w->targets[i].t->module);
    if (!status) status = list(w, first, end, &c, err);
    if (!status && !report) status = nib_fail(err, NIB_E_NOMEM, "a report: out of memory");
    if (!status)
        status = nib_layer_store_put(&w->c->store, (size_t)segment, c.plans, c.data, c.count,
                                     report, err);
    for (size_t i = first; i < end; i++) take_back(w, &w->targets[i]);
    json_decref(w->layer);
    w->layer = NULL;
    for (size_t i = 0; i < w->change_count; i++) nib_free(w->ctx, w->changes[i].values);
    w->change_count = 0;
    nib_free(w->ctx, report);
    nib_free(w->ctx, c.parts);
    nib_free(w->ctx, c.plans);
    nib_free(w->ctx, c.data);
    return status;
}

nib_status nib_walk_use(nib_walk *w, int segment, nib_error *err)
{
    nib_part_finder finder = nib_layer_store_finder(&w->c->store);
    size_t first, end;
    nib_status status = NIB_OK;

    nib_walk_segment(w, segment, &first, &end);
    for (size_t i = first; i < end && !status; i++) {
        nib_walk_target *t = &w->targets[i];
        nib_format_module module = { .class = t->t->transposed ? "Conv1D" : "Linear" };
        nib_held stored = w->stored;
        char name[512];
        t->t->finished = true;
        if (w->awq) continue;
        nib_module_of_weight(t->t->tensor, name);
        module.name = name;
        if (w->c->bits) stored.form = t->t->form;
        status = stored.format->open(w->ctx, finder, &stored, &module, &t->made, err);
        if (!status && !t->made)
            status = nib_fail(err, NIB_E_FORMAT, "%s: has layer %d, but not %s",
                              w->c->store.dir.path, segment, name);
        if (status) break;
        t->linear->frozen = t->linear->weight;
        t->linear->weight = t->made;
    }
    return status;
}
