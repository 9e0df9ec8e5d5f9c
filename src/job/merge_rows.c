/* merge_rows.c - see merge_rows.h. */
#include "job/merge_rows.h"

#include <math.h>

#include "adapter/residual.h"
#include "base/thread.h"
#include "format/tensor_values.h"

enum { PIECE_VALUES = 1 << 18, TILE_ROWS = 8 };

nib_status nib_merge_rows_init(nib_ctx *ctx, size_t widest, nib_merge_rows *out, nib_error *err)
{
    nib_merge_rows r = { .ctx = ctx, .widest = nib_max(widest, 1) };
    size_t values;

    r.rows = nib_max(PIECE_VALUES / r.widest, 16);
    values = nib_max(r.rows * r.widest, PIECE_VALUES);
    r.wide = nib_new_array(ctx, values, sizeof *r.wide);
    r.delta = nib_new_array(ctx, nib_threads(ctx) * r.widest, sizeof *r.delta);
    r.narrow = nib_new_array(ctx, values, sizeof(float));
    if (!r.wide || !r.delta || !r.narrow) {
        nib_merge_rows_free(&r);
        return nib_fail(err, NIB_E_NOMEM, "merging rows of %zu values: out of memory", widest);
    }
    *out = r;
    return NIB_OK;
}

void nib_merge_rows_free(nib_merge_rows *r)
{
    if (!r->ctx) return;
    nib_free(r->ctx, r->wide);
    nib_free(r->ctx, r->delta);
    nib_free(r->ctx, r->narrow);
    *r = (nib_merge_rows){ 0 };
}

/* --- a few rows a tile --- */

typedef struct work {
    const nib_merge_rows *r;
    const nib_merge_item *item;
    size_t row0, count;
} work;

/* delta[d] = sum over r of A[r, id] B[d, r] */
static void column_delta(const nib_branch *l, size_t id, float *delta)
{
    size_t rank = l->a->rows, width = l->b->rows;

    for (size_t d = 0; d < width; d++) {
        float sum = 0;
        for (size_t q = 0; q < rank; q++)
            sum += l->a->value[q * l->a->cols + id] * l->b->value[d * rank + q];
        delta[d] = sum;
    }
}

void nib_merge_add_row(const nib_branch *l, bool columns, size_t row, float *delta, float *to,
                       size_t width)
{
    if (!columns)
        nib_residual_add_row(l->a->rows, width, l->b->value + row * l->a->rows, l->a->value,
                             l->scale, delta, to);
    if (columns) column_delta(l, row, delta);
    for (size_t i = 0; columns && i < width; i++) to[i] += l->scale * delta[i];
    for (size_t i = 0; l->magnitude && i < width; i++)
        to[i] *= nib_branch_gains(l)[columns ? i : row];
}

static void merge_rows(void *arg, size_t tile, unsigned worker)
{
    const work *k = arg;
    const nib_merge_item *item = k->item;
    size_t width = nib_merge_row_width(item), first = tile * TILE_ROWS;
    size_t row0 = item->first_row + k->row0 + first, count = nib_min(TILE_ROWS, k->count - first);
    float *to = k->r->wide + first * width, *delta = k->r->delta + worker * k->r->widest;

    if (item->transposed) nib_weight_decode_columns(item->weight, row0, row0 + count, to);
    else nib_weight_decode(item->weight, row0, row0 + count, to);
    /* a row of an embedding is a column of its factors, as here */
    for (size_t i = 0; item->branch && i < count; i++)
        nib_merge_add_row(item->branch, item->embedding || item->transposed, row0 + i, delta,
                          to + i * width, width);
    nib_convert(k->r->narrow + first * width * nib_dtype_bytes(item->plan.dtype), item->plan.dtype,
                to, NIB_F32, count * width);
}

/* --- putting --- */

static bool fits(float value, nib_dtype type)
{
    float rounded = value;

    if (type == NIB_F16) rounded = nib_f16_to_f32(nib_f32_to_f16(value));
    if (type == NIB_BF16) rounded = nib_round_bf16(value);
    return isfinite(rounded);
}

/* Puts the first `count` values of `narrow`, made of `wide`. */
static nib_status put(nib_merge_rows *r, nib_tensor_writer *w, const nib_merge_item *item,
                      const float *values, uint64_t first, size_t count, nib_error *err)
{
    nib_dtype type = item->plan.dtype;

    for (size_t i = 0; i < count; i++)
        if (!fits(values[i], type))
            return nib_fail(err, NIB_E_NUMERIC,
                            "%s: value %" PRIu64 " is %g, which %s cannot hold; take dtype float32",
                            item->plan.name, first + i, (double)values[i], nib_dtype_name(type));
    return nib_tensor_writer_put(w, r->narrow, count * nib_dtype_bytes(type), err);
}

nib_status nib_merge_write_weight(nib_merge_rows *r, nib_tensor_writer *w,
                                  const nib_merge_item *item, nib_error *err)
{
    size_t in = nib_merge_row_width(item), rows = (size_t)item->plan.shape[0];
    size_t most = in ? nib_max(PIECE_VALUES / in, 16) : 16;
    nib_status status = NIB_OK;

    for (size_t row = 0; row < rows && !status; row += most) {
        size_t n = nib_min(most, rows - row);
        work k = { .r = r, .item = item, .row0 = row, .count = n };
        nib_parallel_for(r->ctx, nib_ceil_div(n, TILE_ROWS), merge_rows, &k);
        status = put(r, w, item, r->wide, (uint64_t)row * in, n * in, err);
    }
    return status;
}

nib_status nib_merge_write_stack(nib_merge_rows *r, nib_tensor_writer *w,
                                 const nib_merge_item *item, nib_error *err)
{
    nib_status status = NIB_OK;

    for (uint64_t i = 0; i < item->plan.shape[0] && !status; i++) {
        const nib_linear *l = item->slices[i];
        nib_merge_item slice = *item;

        slice.weight = l->weight;
        slice.branch = nib_branch_at(&l->branches, 0);
        slice.plan.shape[0] = item->plan.shape[1];
        status = nib_merge_write_weight(r, w, &slice, err);
    }
    return status;
}

nib_status nib_merge_write_values(nib_merge_rows *r, nib_tensor_writer *w,
                                  const nib_merge_item *item, nib_error *err)
{
    uint64_t count = item->plan.shape[0];
    nib_status status = NIB_OK;

    for (uint64_t at = 0; at < count && !status; at += PIECE_VALUES) {
        size_t n = (size_t)(count - at < PIECE_VALUES ? count - at : PIECE_VALUES);
        nib_convert(r->narrow, item->plan.dtype, item->values + at, NIB_F32, n);
        status = put(r, w, item, item->values + at, at, n, err);
    }
    return status;
}

nib_status nib_merge_write_copy(nib_merge_rows *r, nib_tensor_writer *w, const nib_merge_item *item,
                                nib_error *err)
{
    const nib_tensor *t = item->source;
    nib_dtype type = item->plan.dtype;
    size_t each = nib_dtype_bytes(t->dtype);
    nib_status status = NIB_OK;

    for (uint64_t at = 0; at < t->elements && !status; at += PIECE_VALUES) {
        size_t n = (size_t)(t->elements - at < PIECE_VALUES ? t->elements - at : PIECE_VALUES);
        const uint8_t *from = (const uint8_t *)t->data + at * each;
        if (type == t->dtype && nib_tensor_is_plain(t)) {
            status = nib_tensor_writer_put(w, from, n * each, err);
        } else {
            nib_tensor_values(t, at, n, r->wide);
            nib_convert(r->narrow, type, r->wide, NIB_F32, n);
            status = put(r, w, item, r->wide, at, n, err);
        }
        if (!t->rest) nib_filemap_release(t->map, from, n * each);
    }
    return status;
}
