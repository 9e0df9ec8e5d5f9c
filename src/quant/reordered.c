/* reordered.c - a stored weight with its rows in another order, without a copy of it.
 *
 * For dense ones, whose rows GGUF may have moved, and those of two tensors; other blocks look rows
 * up themselves.  Rows that stay neighbours are read together. */
#include "quant/stored.h"

typedef struct reordered {
    nib_weight base;
    nib_weight *stored;
    const uint32_t *rows;
} reordered;

static const reordered *of(const nib_weight *w) { return (const reordered *)w; }

/* How many rows from r on lie one behind the other. */
static size_t run_of(const reordered *o, size_t r, size_t end)
{
    size_t count = 1;

    while (r + count < end && o->rows[r + count] == o->rows[r] + count) count++;
    return count;
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const reordered *o = of(w);
    size_t count;

    for (size_t r = r0; r < r1; r += count) {
        count = run_of(o, r, r1);
        o->stored->scheme->decode_tile(o->stored, o->rows[r], o->rows[r] + count, k0, k1,
                                       dst + (r - r0) * ld, ld);
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_weight_destroy(ctx, ((reordered *)w)->stored);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(of(w)->stored); }

static bool finite(const nib_weight *w) { return nib_weight_finite(of(w)->stored); }

static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    const nib_weight *stored = of(w)->stored;

    return stored->scheme->dot_kind ? stored->scheme->dot_kind(stored, k, type, precision)
                                    : NIB_DOT_NONE;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    of(w)->stored->scheme->dot_ready(of(w)->stored, k, kind, x, ready);
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const reordered *o = of(w);
    size_t count;

    for (size_t r = r0; r < r1; r += count) {
        count = run_of(o, r, r1);
        o->stored->scheme->dot(o->stored, k, kind, M, ready, o->rows[r], o->rows[r] + count,
                               y + r - r0, ldy);
    }
}

static bool block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    return nib_weight_block_row(of(w)->stored, type, of(w)->rows[row], to);
}

/* Its form is that of what is stored, which describes, parses and encodes for it. */
static const nib_scheme scheme = {
    .name = "reordered", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .finite = finite, .dot_kind = dot_kind, .dot_ready = dot_ready, .dot = dot,
    .block_row = block_row,
};

nib_status nib_weight_reordered(nib_ctx *ctx, nib_weight *stored, const uint32_t *rows,
                                nib_weight **w, nib_error *err)
{
    reordered *made = nib_new(ctx, sizeof *made);

    if (!made)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", stored->out,
                        stored->in);
    *made = (reordered){ .base = *stored, .stored = stored, .rows = rows };
    made->base.scheme = &scheme;
    *w = &made->base;
    return NIB_OK;
}
