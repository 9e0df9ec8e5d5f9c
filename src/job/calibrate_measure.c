/* calibrate_measure.c - what each matrix would lose in each width, measured on the model as it is
 * before its first layer is encoded, for the choice looks at all of them at once. */
#include <math.h>
#include <stdio.h>

#include "format/json.h"
#include "job/calibrate_walk.h"

static nib_allot_part *part_of(const nib_walk *w, const nib_walk_target *t)
{
    return &w->c->bits->parts[t->t - w->c->targets];
}

/* --- one matrix --- */

/* What one width loses, of all that is `whole`. */
static nib_status measure_width(nib_walk *w, const nib_walk_target *t, const nib_hessian *h,
                                const nib_form *form, double whole, double *share, nib_error *err)
{
    const nib_weight *from = t->linear->weight;
    nib_gptq_report found;
    nib_weight *made = NULL;
    double error = 0;
    nib_status status = nib_gptq_encode(h, form, from, &w->gptq, &made, &found, err);

    if (!status) status = nib_hessian_error(h, from, made, &error, err);
    nib_weight_destroy(w->ctx, made);
    *share = whole > 0 ? error / whole : 0;
    if (!status && !isfinite(*share))
        status = nib_fail(err, NIB_E_NUMERIC, "what it loses is not finite");
    return status;
}

static nib_status measure_matrix(nib_walk *w, nib_walk_target *t, nib_observed *s, bool few,
                                 nib_error *err)
{
    const nib_hessian *h = s->hessian; /* of an expert that too few rows chose: of none */
    nib_allot_part *part = part_of(w, t);
    const nib_bit_matrix *m = &w->c->bits->matrices[t->t - w->c->targets];
    double whole = 0;
    nib_status status = nib_hessian_error(h, t->linear->weight, NULL, &whole, err);

    (void)few;
    for (size_t k = 0; k < part->count && !status; k++)
        status = measure_width(w, t, h, &m->forms[k], whole, &part->choices[k].error, err);
    t->measured = true;
    return status ? nib_fail_in(err, status, "%s", t->t->module) : NIB_OK;
}

static nib_status measure_observed(nib_walk *w, int segment, nib_error *err)
{
    return nib_walk_each(w, segment, measure_matrix, err);
}

/* --- the store --- */

static nib_status put_errors(nib_walk *w, int segment, nib_error *err)
{
    json_t *list = json_array();
    size_t first, end;
    nib_status status;

    nib_walk_segment(w, segment, &first, &end);
    for (size_t i = first; i < end; i++) {
        const nib_allot_part *part = part_of(w, &w->targets[i]);
        json_t *errors = json_array();
        for (size_t k = 0; k < part->count; k++)
            json_array_append_new(errors, json_real(part->choices[k].error));
        json_array_append_new(list, json_pack("{s:s, s:o}", "module", w->targets[i].t->module,
                                              "errors", errors));
    }
    status = list && json_array_size(list) == end - first
                 ? nib_layer_store_put_errors(&w->c->store, (size_t)segment, list, err)
                 : nib_fail(err, NIB_E_NOMEM, "errors of a layer: out of memory");
    json_decref(list);
    return status;
}

/* One matrix's, of a run that was interrupted. */
static bool take_matrix(nib_walk *w, nib_walk_target *t, const json_t *entry)
{
    const char *module = json_string_value(json_object_get(entry, "module"));
    const json_t *errors = json_object_get(entry, "errors");
    nib_allot_part *part = part_of(w, t);

    if (!module || strcmp(module, t->t->module) != 0 || json_array_size(errors) != part->count)
        return false;
    for (size_t k = 0; k < part->count; k++) {
        const json_t *e = json_array_get(errors, k);
        if (!json_is_number(e) || !isfinite(json_number_value(e))) return false;
        part->choices[k].error = json_number_value(e);
    }
    return t->measured = true;
}

static nib_status take_errors(nib_walk *w, int segment, nib_error *err)
{
    json_t *list = NULL;
    size_t first, end;
    nib_status status = nib_layer_store_errors(&w->c->store, (size_t)segment, &list, err);

    nib_walk_segment(w, segment, &first, &end);
    if (!status && list && json_array_size(list) != end - first)
        status = nib_fail(err, NIB_E_FORMAT, "%s: errors of %zu matrices of layer %d, expected "
                          "%zu; overwrite begins anew", w->c->store.dir.path,
                          json_array_size(list), segment, end - first);
    for (size_t i = first; !status && list && i < end; i++)
        if (!take_matrix(w, &w->targets[i], json_array_get(list, i - first)))
            status = nib_fail(err, NIB_E_FORMAT, "%s: no errors of %s among those of layer %d; "
                              "overwrite begins anew", w->c->store.dir.path,
                              w->targets[i].t->module, segment);
    json_decref(list);
    return status;
}

/* --- all --- */

static void show_progress(const nib_walk *w, int segment, size_t done)
{
    char what[100];

    if (!w->o->on_progress) return;
    snprintf(what, sizeof what, "measuring widths, layer %d of %d", segment,
             w->model->graph->segments - 2);
    w->o->on_progress(w->o->user, what, (double)done / (double)w->count);
}

static nib_status measure_segment(nib_walk *w, int segment, size_t *left, nib_error *err)
{
    size_t first, end;
    nib_status status = NIB_OK;

    nib_walk_segment(w, segment, &first, &end);
    if (first < end && !w->targets[first].measured) {
        status = nib_walk_observe(w, segment, measure_observed, err);
        for (size_t i = first; i < end && !status; i++)
            if (!w->targets[i].measured)
                status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: no calibration text reaches it",
                                  w->targets[i].t->module);
        if (!status) status = put_errors(w, segment, err);
        *left -= end - first;
        if (!status) show_progress(w, segment, w->count - *left);
    }
    return status || !*left ? status : nib_walk_pass(w, segment, NULL, err);
}

nib_status nib_walk_measure(nib_walk *w, nib_error *err)
{
    nib_bit_plan *bits = w->c->bits;
    int segments = w->model->graph->segments;
    size_t left = 0;
    nib_status status = NIB_OK;

    for (int s = 0; s < segments && !status; s++) {
        size_t first, end;
        nib_walk_segment(w, s, &first, &end);
        if (first < end) status = take_errors(w, s, err);
    }
    for (size_t i = 0; i < w->count; i++) left += !w->targets[i].measured;
    w->measuring = true;
    for (int s = 0; s < segments && left && !status; s++)
        status = measure_segment(w, s, &left, err);
    w->measuring = false;
    if (!status) status = nib_bit_plan_allot(bits, err);
    for (size_t i = 0; i < bits->count && !status; i++)
        w->c->targets[i].form = *nib_bit_plan_form(bits, i, NIB_ALLOT_CHOSEN);
    return status;
}
