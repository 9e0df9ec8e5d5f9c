/* merge_form.c - see merge_form.h.
 *
 * The difference of a matrix is |W - Q| / |W| in the Frobenius norm, Q being W in the 4-bit form. A
 * dense W is encoded.  Of a 4-bit one W is not known: each value lies in the cell of its code,
 * which ends half-way to the next, so at most the greater half-gap times the block's scale away. */
#include "job/merge_form.h"

#include <math.h>
#include <stdio.h>

static nib_status no_memory(const nib_linear *l, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
}

static bool read_form(const char *form, nib_bnb4_options *o)
{
    char kind[4], twice[8] = "";
    unsigned blocksize;
    int n = sscanf(form, "%3s %u %7s", kind, &blocksize, twice);

    if (n < 2 || blocksize > 4096 || (strcmp(kind, "nf4") != 0 && strcmp(kind, "fp4") != 0))
        return false;
    if (*twice && strcmp(twice, "double") != 0) return false;
    *o = (nib_bnb4_options){ .fp4 = kind[0] == 'f', .double_quant = *twice != 0, .blocksize = blocksize };
    return true;
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

/* How far from each code's value the original may have been, in parts of the scale. */
static void half_gaps(const float table[16], double gaps[16])
{
    for (int i = 0; i < 16; i++) {
        double below = 0, above = 0;
        for (int k = 0; k < 16; k++) {
            double d = (double)table[k] - (double)table[i];
            if (d > 0 && (above == 0 || d < above)) above = d;
            if (d < 0 && (below == 0 || -d < below)) below = -d;
        }
        gaps[i] = fmax(below, above) / 2;
    }
}

static double most_change(const nib_weight *w, float *row)
{
    const nib_bnb4 *q = &w->as.bnb4;
    double gaps[16], difference = 0, norm = 0;

    half_gaps(q->table, gaps);
    for (size_t r = 0; r < w->out; r++) {
        nib_weight_decode(w, r, r + 1, row);
        for (size_t k = 0; k < w->in; k++) {
            size_t i = r * w->in + k;
            unsigned code = i % 2 ? q->codes[i / 2] & 15u : q->codes[i / 2] >> 4;
            double d = gaps[code] * fabs((double)nib_bnb4_absmax(q, i / q->blocksize));
            difference += d * d;
            norm += (double)row[k] * (double)row[k];
        }
    }
    return norm > 0 ? sqrt(difference / norm) : 0;
}

static nib_status change_of(const nib_adapter *a, const nib_linear *l, nib_bnb4_options o,
                            bool bound, double *change, nib_error *err)
{
    nib_ctx *ctx = a->ctx;
    const nib_weight *w = l->frozen ? l->frozen : l->weight;
    const nib_dense *dense = nib_weight_as_dense(w);
    float *rows = nib_new_array(ctx, 2 * w->in, sizeof *rows);
    nib_weight *q = NULL;
    nib_status status = NIB_OK;

    *change = 0;
    if (!rows) return no_memory(l, err);
    if (bound) {
        if (!dense) *change = most_change(w, rows);
    } else if (dense) {
        o.dtype = dense->dtype;
        status = nib_bnb4_encode_weight(ctx, &o, w, &q, err);
        if (status) status = nib_fail_in(err, status, "%s", l->name);
        else *change = encoded_change(w, q, rows, rows + w->in);
    }
    nib_weight_destroy(ctx, q);
    nib_free(ctx, rows);
    return status;
}

nib_status nib_merge_compare_forms(const nib_adapter *a, nib_merge_result *out, nib_error *err)
{
    nib_bnb4_options o = { .blocksize = 64 };
    bool to_dense, bound;
    nib_status status = NIB_OK;

    *out = (nib_merge_result){ .greatest_change = -1 };
    nib_base_form(a->model, out->model_form);
    snprintf(out->trained_form, sizeof out->trained_form, "%s", a->base_form);
    out->other_form = a->base_form[0] && strcmp(out->model_form, a->base_form) != 0;
    to_dense = strcmp(out->model_form, "dense") == 0 && read_form(a->base_form, &o);
    bound = strcmp(a->base_form, "dense") == 0;
    if (!out->other_form || !(to_dense || bound)) return NIB_OK;
    out->change_is_bound = bound;
    for (size_t i = 0; i < a->model->linear_count && !status; i++) {
        const nib_linear *l = a->model->linears[i];
        double change;
        /* the head stays dense in both */
        if (l == a->model->head || nib_should_stop(a->ctx)) continue;
        status = change_of(a, l, o, bound, &change, err);
        if (status || change <= out->greatest_change) continue;
        out->greatest_change = change;
        snprintf(out->matrix, sizeof out->matrix, "%s", l->name);
    }
    return status;
}
