/* reordered.c - a stored weight with its rows or its columns in another order, without a copy of
 * it.
 *
 * Rows of dense ones, which GGUF may have moved, and of those of two tensors; other blocks look
 * rows up themselves.  Columns of Qwen3.5's out_proj, which are heads that GGUF has in another
 * order: in a product of few rows x is moved instead, where what is stored takes it as it lies.
 * What stays neighbours is read together. */
#include "quant/groups.h"
#include "quant/stored.h"

typedef struct reordered {
    nib_weight base;
    nib_weight *stored;
    const uint32_t *order; /* where each row, or each column, lies */
} reordered;

static const reordered *of(const nib_weight *w) { return (const reordered *)w; }

/* How many from i on lie one behind the other. */
static size_t run_of(const reordered *o, size_t i, size_t end)
{
    size_t count = 1;

    while (i + count < end && o->order[i + count] == o->order[i] + count) count++;
    return count;
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_weight_destroy(ctx, ((reordered *)w)->stored);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(of(w)->stored); }

static bool finite(const nib_weight *w) { return nib_weight_finite(of(w)->stored); }

static nib_status create(nib_ctx *ctx, const nib_scheme *scheme, nib_weight *stored,
                         const uint32_t *order, nib_weight **w, nib_error *err)
{
    reordered *made = nib_new(ctx, sizeof *made);

    if (!made)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", stored->out,
                        stored->in);
    *made = (reordered){ .base = *stored, .stored = stored, .order = order };
    made->base.scheme = scheme;
    *w = &made->base;
    return NIB_OK;
}

/* --- rows --- */

static void decode_rows(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const reordered *o = of(w);
    size_t count;

    for (size_t r = r0; r < r1; r += count) {
        count = run_of(o, r, r1);
        o->stored->scheme->decode_tile(o->stored, o->order[r], o->order[r] + count, k0, k1,
                                       dst + (r - r0) * ld, ld);
    }
}

static nib_dot_kind rows_dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                                  nib_precision precision)
{
    const nib_weight *stored = of(w)->stored;

    return stored->scheme->dot_kind ? stored->scheme->dot_kind(stored, k, type, precision)
                                    : NIB_DOT_NONE;
}

static void rows_dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                           const void *x, void *ready)
{
    of(w)->stored->scheme->dot_ready(of(w)->stored, k, kind, x, ready);
}

static void rows_dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                     const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const reordered *o = of(w);
    size_t count;

    for (size_t r = r0; r < r1; r += count) {
        count = run_of(o, r, r1);
        o->stored->scheme->dot(o->stored, k, kind, M, ready, o->order[r], o->order[r] + count,
                               y + r - r0, ldy);
    }
}

static bool block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    return nib_weight_block_row(of(w)->stored, type, of(w)->order[row], to);
}

/* Its form is that of what is stored, which describes, parses and encodes for it. */
static const nib_scheme rows_scheme = {
    .name = "reordered", .decode_tile = decode_rows, .destroy = destroy, .form = form,
    .finite = finite, .dot_kind = rows_dot_kind, .dot_ready = rows_dot_ready, .dot = rows_dot,
    .block_row = block_row,
};

nib_status nib_weight_reordered(nib_ctx *ctx, nib_weight *stored, const uint32_t *rows,
                                nib_weight **w, nib_error *err)
{
    return create(ctx, &rows_scheme, stored, rows, w, err);
}

/* --- columns --- */

static void decode_columns(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1,
                           float *dst, size_t ld)
{
    const reordered *o = of(w);
    size_t count;

    for (size_t k = k0; k < k1; k += count) {
        count = run_of(o, k, k1);
        o->stored->scheme->decode_tile(o->stored, r0, r1, o->order[k], o->order[k] + count,
                                       dst + k - k0, ld);
    }
}

/* As it lies is as floats: in fixed point it is arranged, for which there is no second room. */
static nib_dot_kind columns_dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                                     nib_precision precision)
{
    const nib_weight *stored = of(w)->stored;

    (void)precision;
    if (stored->scheme->dot_ready != nib_dot_ready_plain) return NIB_DOT_NONE;
    return stored->scheme->dot_kind(stored, k, type, NIB_PRECISION_HIGHEST) == NIB_DOT_FLOATS
               ? NIB_DOT_FLOATS : NIB_DOT_NONE;
}

static void columns_dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                              const void *x, void *ready)
{
    (void)k, (void)kind;
    for (size_t i = 0; i < w->in; i++) ((float *)ready)[of(w)->order[i]] = ((const float *)x)[i];
}

static void columns_dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                        const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_weight *stored = of(w)->stored;

    stored->scheme->dot(stored, k, kind, M, ready, r0, r1, y, ldy);
}

static const nib_scheme columns_scheme = {
    .name = "columns", .decode_tile = decode_columns, .destroy = destroy, .form = form,
    .finite = finite, .dot_kind = columns_dot_kind, .dot_ready = columns_dot_ready,
    .dot = columns_dot,
};

nib_status nib_weight_columns(nib_ctx *ctx, nib_weight *stored, const uint32_t *columns,
                              nib_weight **w, nib_error *err)
{
    return create(ctx, &columns_scheme, stored, columns, w, err);
}

const nib_weight *nib_weight_before_columns(const nib_weight *w, const uint32_t *columns)
{
    if (w->scheme != &columns_scheme ||
        memcmp(of(w)->order, columns, w->in * sizeof *columns) != 0)
        return NULL;
    return of(w)->stored;
}
