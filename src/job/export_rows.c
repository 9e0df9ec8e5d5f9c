/* export_rows.c - see export_rows.h. */
#include "job/export_rows.h"

#include <math.h>

#include "base/thread.h"
#include "job/merge_rows.h"
#include "quant/block_encode.h"
#include "quant/stored.h"

enum { PIECE_VALUES = 1 << 18 };

typedef struct work {
    const nib_export_item *item;
    nib_kernels kernels;
    nib_block_kind kind;    /* where the type is blocks */
    const uint32_t *order;  /* [rows] which row of the family's lies here; NULL: in their order */
    const uint32_t *columns; /* [in] where each column lies; NULL: in their order */
    const nib_weight *stored; /* the weight before its columns were moved back so, or NULL */
    size_t row0, width, row_bytes;
    float *wide, *delta, *moved; /* [threads, width] each */
    const float *ready;     /* [rows, width] the values, or NULL: the weight's rows */
    uint8_t *out;           /* [rows of a piece, row_bytes] */
    uint8_t *bad;           /* [rows of a piece] the row holds what cannot be written */
} work;

/* Whether all values are finite, also as the type rounds them. */
static bool all_fit(const float *values, size_t count, nib_dtype type)
{
    bool fit = true;

    for (size_t i = 0; i < count; i++) {
        float v = values[i];
        if (type == NIB_F16) v = fabsf(v) < 65520 ? v : INFINITY; /* what rounds to 65504 */
        if (type == NIB_BF16) v = nib_round_bf16(v);
        fit &= isfinite(v) != 0;
    }
    return fit;
}

/* A row as it is after the adapter, if there is one. */
static void decode_row(const work *k, size_t row, unsigned worker, float *to)
{
    const nib_export_item *item = k->item;
    size_t in = item->weight->in;
    float *values = k->columns ? k->moved + worker * in : to;
    bool narrow; /* the converter multiplies float16 as such, which in F32 would be a loss */

    nib_weight_decode(item->weight, row, row + 1, values);
    if (item->branch)
        nib_merge_add_row(item->branch, item->columns, row, k->delta + worker * in, values, in);
    for (size_t i = 0; k->columns && i < in; i++) to[k->columns[i]] = values[i];
    if (!item->folds) return;
    narrow = !item->branch && nib_weight_is_dense(item->weight) &&
             item->weight->dtype == NIB_F16 && item->type->dtype != NIB_F32;
    for (size_t i = 0; i < in; i++) to[i] = nib_gguf_folded(&item->fold, row, narrow, to[i]);
}

/* The row's blocks as they lie, where they are of the type. */
static bool copy_row(const work *k, size_t row, uint8_t *to)
{
    const nib_weight *w = k->columns ? k->stored : k->item->weight;

    return !k->ready && !k->item->branch && !k->item->folds && w &&
           nib_weight_block_row(w, k->item->type->name, row, to);
}

static void encode_row(void *arg, size_t tile, unsigned worker)
{
    const work *k = arg;
    const nib_export_item *item = k->item;
    const nib_gguf_type *type = item->type;
    size_t at = k->row0 + tile;
    size_t row = k->order ? k->order[at] : item->first_row + at * item->row_step;
    const float *wide = k->ready ? k->ready + at * k->width : k->wide + worker * k->width;
    uint8_t *to = k->out + tile * k->row_bytes;

    k->bad[tile] = false;
    if (copy_row(k, row, to)) return;
    if (!k->ready) decode_row(k, row, worker, k->wide + worker * k->width);
    k->bad[tile] = !all_fit(wide, k->width, type->dtype);
    if (k->bad[tile]) return;
    if (type->dtype == NIB_DTYPE_OTHER)
        nib_block_encode(&k->kernels, k->kind, k->width / type->elements, wide,
                         item->importance, to);
    else nib_convert(to, type->dtype, wide, NIB_F32, k->width);
}

static nib_status make_order(nib_ctx *ctx, const nib_export_item *item,
                             const nib_gguf_heads *heads, uint32_t **out, nib_error *err)
{
    size_t rows = (size_t)item->shape[item->rank - 2];
    uint32_t *order;

    if (!nib_gguf_reorders(heads, item->held)) return NIB_OK;
    *out = order = nib_new_array(ctx, rows, sizeof *order);
    if (!order) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", item->name);
    for (size_t r = 0; r < item->weight->out; r++) {
        uint64_t at = nib_gguf_place(heads, item->held, r);
        if (at >= item->first_place && at - item->first_place < rows)
            order[at - item->first_place] = (uint32_t)r;
    }
    return NIB_OK;
}

/* Where the family's columns lie. */
static nib_status make_columns(nib_ctx *ctx, const nib_export_item *item,
                               const nib_gguf_heads *heads, work *k, uint32_t **out, nib_error *err)
{
    size_t in = item->weight->in;
    uint32_t *columns;

    if (!nib_gguf_reorders_columns(heads, item->held)) return NIB_OK;
    *out = columns = nib_new_array(ctx, in, sizeof *columns);
    k->moved = nib_new_array(ctx, nib_threads(ctx) * in, sizeof *k->moved);
    if (!columns || !k->moved) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", item->name);
    for (size_t c = 0; c < in; c++) columns[c] = (uint32_t)nib_gguf_place(heads, item->held, c);
    k->columns = columns;
    k->stored = nib_weight_before_columns(item->weight, columns);
    return NIB_OK;
}

static nib_status write_pieces(nib_ctx *ctx, work *k, size_t rows, size_t most, nib_gguf_writer *w,
                               nib_error *err)
{
    nib_status status = NIB_OK;

    for (; k->row0 < rows && !status; k->row0 += most) {
        size_t n = nib_min(most, rows - k->row0);
        nib_parallel_for(ctx, n, encode_row, k);
        for (size_t i = 0; i < n && !status; i++)
            if (k->bad[i])
                status = nib_fail(err, NIB_E_NUMERIC, "%s: row %zu holds a value that is not "
                                  "finite, or that %s cannot hold; F32 or BF16 may",
                                  k->item->name, k->row0 + i, k->item->type->name);
        if (!status) status = nib_gguf_writer_put(w, k->out, n * k->row_bytes, err);
    }
    return status;
}

/* The columns of `count` rows from first_row on, as rows of the file: [in, count]. */
static nib_status turn_rows(nib_ctx *ctx, work *k, size_t count, float **out, nib_error *err)
{
    const nib_export_item *item = k->item;
    size_t in = item->weight->in;
    float *row = nib_new_array(ctx, in, sizeof *row);
    float *made = nib_new_array(ctx, in * count, sizeof *made); /* a part of the weight's values */

    for (size_t r = 0; row && made && r < count; r++) {
        decode_row(k, item->first_row + r, 0, row);
        for (size_t i = 0; i < in; i++) made[i * count + r] = row[i];
    }
    nib_free(ctx, row);
    *out = made;
    k->ready = made;
    return row && made ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", item->name);
}

static nib_status write_one(nib_ctx *ctx, const nib_export_item *item, const nib_gguf_heads *heads,
                            nib_gguf_writer *w, nib_error *err)
{
    const nib_gguf_type *type = item->type;
    size_t in = item->weight->in, width = item->turned ? (size_t)item->shape[2] : in;
    size_t most = nib_max(PIECE_VALUES / nib_max(width, 1), 16);
    work k = { .item = item, .kernels = nib_kernels_for(nib_ctx_cpu(ctx)), .width = width,
               .row_bytes = width / type->elements * type->bytes };
    uint32_t *order = NULL, *columns = NULL;
    float *turned = NULL;
    bool known = type->dtype != NIB_DTYPE_OTHER || nib_block_encodes(type->name, &k.kind);
    nib_status status = make_order(ctx, item, heads, &order, err);

    if (!status) status = make_columns(ctx, item, heads, &k, &columns, err);
    assert(known);
    (void)known;
    k.order = order;
    k.wide = nib_new_array(ctx, nib_threads(ctx) * in, sizeof *k.wide);
    k.delta = nib_new_array(ctx, nib_threads(ctx) * in, sizeof *k.delta);
    k.out = nib_new_array(ctx, most, k.row_bytes);
    k.bad = nib_new_array(ctx, most, 1);
    if (!status && (!k.wide || !k.delta || !k.out || !k.bad))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", item->name);
    if (!status && item->turned) status = turn_rows(ctx, &k, width, &turned, err);
    if (!status) status = write_pieces(ctx, &k, (size_t)item->shape[item->rank - 2], most, w, err);
    nib_free(ctx, turned);
    nib_free(ctx, order);
    nib_free(ctx, columns);
    nib_free(ctx, k.moved);
    nib_free(ctx, k.wide);
    nib_free(ctx, k.delta);
    nib_free(ctx, k.out);
    nib_free(ctx, k.bad);
    return status;
}

static nib_status write_heads(nib_ctx *ctx, const nib_export_item *item,
                              const nib_gguf_heads *heads, nib_gguf_writer *w, nib_error *err)
{
    size_t per = item->weight->out / (size_t)item->shape[0];
    nib_status status = NIB_OK;

    for (size_t h = 0; h < item->shape[0] && !status; h++) {
        nib_export_item one = *item;
        one.first_row += h * per;
        if (one.importance) one.importance += h * (size_t)item->shape[2];
        status = write_one(ctx, &one, heads, w, err);
    }
    return status;
}

static nib_status write_matrix(nib_ctx *ctx, const nib_export_item *item,
                               const nib_gguf_heads *heads, nib_gguf_writer *w, nib_error *err)
{
    nib_status status = NIB_OK;

    if (item->heads) return write_heads(ctx, item, heads, w, err);
    if (!item->experts) return write_one(ctx, item, heads, w, err);
    for (uint64_t i = 0; i < item->shape[0] && !status; i++) {
        const nib_linear *l = item->experts[i];
        nib_export_item one = *item;
        one.weight = l->weight;
        one.branch = nib_branch_at(&l->branches, 0);
        if (one.importance) one.importance += i * l->weight->in;
        status = write_one(ctx, &one, heads, w, err);
    }
    return status;
}

static nib_status write_values(nib_ctx *ctx, const nib_export_item *item,
                               const nib_gguf_heads *heads, nib_gguf_writer *w, nib_error *err)
{
    size_t inner = item->rank > 1 ? (size_t)item->shape[1] : 1;
    size_t count = (size_t)item->shape[0] * inner;
    bool moved = nib_gguf_reorders(heads, item->held);
    float *made;
    nib_status status;

    if (!all_fit(item->values, count, NIB_F32))
        return nib_fail(err, NIB_E_NUMERIC, "%s holds a value that is not finite", item->name);
    made = nib_new_array(ctx, count, sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", item->name);
    for (size_t i = 0; i < count; i++) {
        size_t row = i / inner;
        if (moved) row = (size_t)nib_gguf_place(heads, item->held, row);
        made[row * inner + i % inner] = item->values[i] + item->offset;
    }
    status = nib_gguf_writer_put(w, made, count * sizeof *made, err);
    nib_free(ctx, made);
    return status;
}

nib_status nib_export_write(nib_ctx *ctx, const nib_export_item *item, const nib_gguf_heads *heads,
                            nib_gguf_writer *w, nib_error *err)
{
    return item->weight ? write_matrix(ctx, item, heads, w, err)
                        : write_values(ctx, item, heads, w, err);
}
