/* other_form.c - see other_form.h.
 *
 * The difference of a matrix is |W - Q| / |W| in the Frobenius norm, Q being W in the low-bit form.
 * A dense W is encoded.  Of a low-bit one W is not known, but the scheme knows how far each value
 * may have been from what it decodes to. */
#include "job/other_form.h"

#include <math.h>
#include <stdio.h>

static nib_status no_memory(const nib_linear *l, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
}

static double encoded_change(const nib_weight *w, const nib_weight *q, float *a, float *b)
{
    double difference = 0, norm = 0;

    for (size_t r = 0; r < w->out; r++) {
        nib_weight_decode(w, r, r + 1, a);
        nib_weight_decode(q, r, r + 1, b);
        for (size_t k = 0; k < w->in; k++) {
            double d = (double)a[k] - (double)b[k];
            difference += d * d;
            norm += (double)a[k] * (double)a[k];
        }
    }
    return norm > 0 ? sqrt(difference / norm) : 0;
}

/* The most that it can be, by how far each value may have been; NaN: the scheme does not tell. */
static double most_change(const nib_weight *w, float *row, float *most)
{
    double difference = 0, norm = 0;

    if (!w->scheme->error_row) return NAN;
    for (size_t r = 0; r < w->out; r++) {
        nib_weight_decode(w, r, r + 1, row);
        w->scheme->error_row(w, r, most);
        for (size_t k = 0; k < w->in; k++) {
            difference += (double)most[k] * (double)most[k];
            norm += (double)row[k] * (double)row[k];
        }
    }
    return norm > 0 ? sqrt(difference / norm) : 0;
}

static nib_status change_of(const nib_adapter *a, const nib_linear *l, nib_form form,
                            bool bound, double *change, nib_error *err)
{
    nib_ctx *ctx = a->ctx;
    const nib_weight *w = l->frozen ? l->frozen : l->weight;
    bool dense = nib_weight_is_dense(w);
    float *rows = nib_new_array(ctx, 2 * w->in, sizeof *rows);
    nib_weight *q = NULL;
    nib_status status = NIB_OK;

    *change = 0;
    if (!rows) return no_memory(l, err);
    if (bound) {
        if (!dense) *change = most_change(w, rows, rows + w->in);
    } else if (dense) {
        form.dtype = w->dtype;
        status = nib_form_encode(ctx, &form, w, &q, err);
        if (status == NIB_E_UNSUPPORTED) status = NIB_OK; /* a shape that the form leaves dense */
        else if (status) status = nib_fail_in(err, status, "%s", l->name);
        else *change = encoded_change(w, q, rows, rows + w->in);
    }
    nib_weight_destroy(ctx, q);
    nib_free(ctx, rows);
    return status;
}

/* Sets the greatest difference of a matrix, and which one has it. */
static nib_status measure_change(const nib_adapter *a, nib_form form, nib_merge_result *out,
                                 nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < a->model->linear_count && !status; i++) {
        const nib_linear *l = a->model->linears[i];
        double change;
        /* the head stays dense in both, and so do bare parameters */
        if (l == a->model->head || l->parameter || nib_should_stop(a->ctx)) continue;
        status = change_of(a, l, form, out->change_is_bound, &change, err);
        if (status || !(change > out->greatest_change)) continue;
        out->greatest_change = change;
        snprintf(out->matrix, sizeof out->matrix, "%s", l->name);
    }
    return status;
}

/* On other weights than it was trained on, an adapter is not quite what it was. */
static void warn(const nib_adapter *a, const char *use, const nib_merge_result *r)
{
    char change[400] = "";

    if (r->greatest_change >= 0)
        snprintf(change, sizeof change,
                 ": between the two a matrix differs by %s %.2g %% of its norm (%s)",
                 r->change_is_bound ? "less than" : "up to", 100 * r->greatest_change, r->matrix);
    nib_warn_code(a->ctx, "other-form",
                  "%s: the adapter was trained on %s weights and is %s %s ones%s", a->dir,
                  r->trained_form, use, r->model_form, change);
}

nib_status nib_compare_forms(const nib_adapter *a, const char *use, bool measure,
                             nib_merge_result *out, nib_error *err)
{
    nib_form form = nib_form_dense(NIB_F32);
    bool to_dense;
    nib_status status = NIB_OK;

    *out = (nib_merge_result){ .greatest_change = -1 };
    nib_base_form(a->model, out->model_form);
    snprintf(out->trained_form, sizeof out->trained_form, "%s", a->base_form);
    out->other_form = a->base_form[0] && strcmp(out->model_form, a->base_form) != 0;
    if (!out->other_form) return NIB_OK;
    /* of a form that is only read nothing can be measured */
    to_dense = strcmp(out->model_form, "dense") == 0 && nib_form_parse(a->base_form, &form) &&
               form.scheme->encode;
    out->change_is_bound = strcmp(a->base_form, "dense") == 0;
    if (measure && (to_dense || out->change_is_bound)) status = measure_change(a, form, out, err);
    if (!status && use) warn(a, use, out);
    return status;
}
