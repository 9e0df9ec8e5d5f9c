/* replaced.c - see replaced.h.  Products and dots decode: no packer of its own. */
#include "quant/replaced.h"

#include <stdlib.h>

typedef struct place { uint32_t row, at; } place; /* row of the weight, and which it was given as */

typedef struct replaced {
    nib_weight base;
    const nib_weight *under;
    const float *values;
    place *places;  /* [count] by row */
    uint32_t *rows; /* [count] as given */
    size_t count;
} replaced;

static const nib_scheme scheme;

static const replaced *of(const nib_weight *w)
{
    assert(w->scheme == &scheme);
    return (const replaced *)w;
}

/* The first of the places at or behind a row. */
static size_t first_at(const replaced *w, size_t row)
{
    size_t low = 0, high = w->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->places[middle].row < row) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void decode_tile(const nib_weight *weight, size_t r0, size_t r1, size_t k0, size_t k1,
                        float *dst, size_t ld)
{
    const replaced *w = of(weight);

    w->under->scheme->decode_tile(w->under, r0, r1, k0, k1, dst, ld);
    for (size_t i = first_at(w, r0); i < w->count && w->places[i].row < r1; i++)
        memcpy(dst + (w->places[i].row - r0) * ld, w->values + w->places[i].at * weight->in + k0,
               (k1 - k0) * sizeof *dst);
}

static void destroy(nib_ctx *ctx, nib_weight *weight)
{
    replaced *w = (replaced *)weight;

    nib_free(ctx, w->places);
    nib_free(ctx, w->rows);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(of(w)->under); }

static const nib_scheme scheme = { .name = "replaced", .decode_tile = decode_tile,
                                   .destroy = destroy, .form = form };

static int by_row(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

static nib_status check(const replaced *w, nib_error *err)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->places[i].row >= w->under->out)
            return nib_fail(err, NIB_E_INVALID, "row %u of a matrix of %zu rows",
                            w->places[i].row, w->under->out);
        if (i && w->places[i].row == w->places[i - 1].row)
            return nib_fail(err, NIB_E_INVALID, "row %u is given twice", w->places[i].row);
    }
    return NIB_OK;
}

nib_status nib_weight_replaced(nib_ctx *ctx, const nib_weight *under, const uint32_t *rows,
                               size_t count, const float *values, nib_weight **out, nib_error *err)
{
    replaced *w = nib_new(ctx, sizeof *w);
    nib_status status;

    if (!w) return nib_fail(err, NIB_E_NOMEM, "%zu rows: out of memory", count);
    *w = (replaced){ .base = *under, .under = under, .values = values, .count = count };
    w->base.scheme = &scheme;
    w->base.owned_bytes = 0;
    w->places = nib_new_array(ctx, count, sizeof *w->places);
    w->rows = nib_new_array(ctx, count, sizeof *w->rows);
    if (!w->places || !w->rows) {
        status = nib_fail(err, NIB_E_NOMEM, "%zu rows: out of memory", count);
        goto done;
    }
    for (size_t i = 0; i < count; i++) w->places[i] = (place){ w->rows[i] = rows[i], (uint32_t)i };
    qsort(w->places, count, sizeof *w->places, by_row);
    status = check(w, err);
    if (status) goto done;
    *out = &w->base;
    w = NULL; /* handed over */
done:
    if (w) destroy(ctx, &w->base);
    return status;
}

void nib_replaced_move(nib_weight *weight, const nib_weight *under)
{
    replaced *w = (replaced *)weight;

    assert(weight->scheme == &scheme && under->out == weight->out && under->in == weight->in);
    w->base = *under;
    w->base.scheme = &scheme;
    w->base.owned_bytes = 0;
    w->under = under;
}

int64_t nib_replaced_find(const nib_weight *weight, size_t row)
{
    const replaced *w = of(weight);
    size_t i = first_at(w, row);

    return i < w->count && w->places[i].row == row ? (int64_t)w->places[i].at : NIB_NOT_REPLACED;
}

size_t nib_replaced_row(const nib_weight *w, size_t i) { return of(w)->rows[i]; }
