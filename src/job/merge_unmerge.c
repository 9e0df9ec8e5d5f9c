/* merge_unmerge.c - see merge_unmerge.h. */
#include "job/merge_unmerge.h"

#include <math.h>

#include "model/model.h"

typedef struct sums { double difference, norm; uint64_t equal, values; } sums;

static nib_status compare_linear(nib_ctx *ctx, const nib_linear *a, const nib_linear *b, sums *s,
                                 nib_error *err)
{
    const nib_weight *v = a->weight, *w = b->weight;
    float *rows;

    if (strcmp(a->name, b->name) != 0 || v->out != w->out || v->in != w->in)
        return nib_fail(err, NIB_E_MISMATCH, "base_original: %s [%zu, %zu] where %s [%zu, %zu] is "
                        "compared", a->name, v->out, v->in, b->name, w->out, w->in);
    rows = nib_new_array(ctx, 2 * v->in, sizeof *rows);
    if (!rows) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", a->name);
    for (size_t r = 0; r < v->out; r++) {
        const float *x = rows, *y = rows + v->in;
        nib_weight_decode(v, r, r + 1, rows);
        nib_weight_decode(w, r, r + 1, rows + v->in);
        for (size_t i = 0; i < v->in; i++) {
            double d = (double)y[i] - (double)x[i];
            s->equal += x[i] == y[i];
            s->difference += d * d;
            s->norm += (double)x[i] * (double)x[i];
        }
    }
    s->values += (uint64_t)v->out * v->in;
    nib_free(ctx, rows);
    return NIB_OK;
}

nib_status nib_unmerge_compare(nib_ctx *ctx, const char *original, const char *dir,
                               nib_merge_result *result, nib_error *err)
{
    nib_model_options o = { .model = original };
    nib_model *a = NULL, *b = NULL;
    sums s = { 0 };
    nib_status status = nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &a, err);

    o.model = dir;
    if (!status) status = nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &b, err);
    if (!status && a->linear_count != b->linear_count)
        status = nib_fail(err, NIB_E_MISMATCH, "base_original: %s has %zu linears, not %zu",
                          original, a->linear_count, b->linear_count);
    for (size_t i = 0; !status && i < a->linear_count; i++)
        status = compare_linear(ctx, a->linears[i], b->linears[i], &s, err);
    nib_model_close(b);
    nib_model_close(a);
    if (status) return status;
    result->equal_again = s.values ? (double)s.equal / (double)s.values : 1;
    result->change_left = s.norm > 0 ? sqrt(s.difference / s.norm) : 0;
    nib_note(ctx, "%.2f %% of %" PRIu64 " values are those of %s again; rounding left a difference "
             "of %.2g of the weights' norm", 100 * result->equal_again, s.values, original,
             result->change_left);
    return NIB_OK;
}
