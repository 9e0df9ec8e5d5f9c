/* columns.c - a stored weight with its columns in another order, without a copy of it.
 *
 * For Qwen3.5's out_proj, whose columns are heads that GGUF has in another order: runs of
 * neighbours stay together, and decode together.  In a product of few rows x is moved instead,
 * where what is stored takes it as it lies. */
#include "quant/groups.h"
#include "quant/stored.h"

typedef struct moved {
    nib_weight base;
    nib_weight *stored;
    const uint32_t *columns;
} moved;

static const moved *of(const nib_weight *w) { return (const moved *)w; }

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const moved *m = of(w);
    size_t run;

    for (size_t k = k0; k < k1; k += run) {
        size_t at = m->columns[k];
        for (run = 1; k + run < k1 && m->columns[k + run] == at + run;) run++;
        m->stored->scheme->decode_tile(m->stored, r0, r1, at, at + run, dst + k - k0, ld);
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_weight_destroy(ctx, ((moved *)w)->stored);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(of(w)->stored); }

static bool finite(const nib_weight *w) { return nib_weight_finite(of(w)->stored); }

/* As it lies is as floats: in fixed point it is arranged, for which there is no second room. */
static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    const nib_weight *stored = of(w)->stored;

    (void)precision;
    if (stored->scheme->dot_ready != nib_dot_ready_plain) return NIB_DOT_NONE;
    return stored->scheme->dot_kind(stored, k, type, NIB_PRECISION_HIGHEST) == NIB_DOT_FLOATS
               ? NIB_DOT_FLOATS : NIB_DOT_NONE;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    (void)k, (void)kind;
    for (size_t i = 0; i < w->in; i++)
        ((float *)ready)[of(w)->columns[i]] = ((const float *)x)[i];
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_weight *stored = of(w)->stored;

    stored->scheme->dot(stored, k, kind, M, ready, r0, r1, y, ldy);
}

/* Its form is that of what is stored, which describes, parses and encodes for it. */
static const nib_scheme scheme = {
    .name = "columns", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .finite = finite, .dot_kind = dot_kind, .dot_ready = dot_ready, .dot = dot,
};

nib_status nib_weight_columns(nib_ctx *ctx, nib_weight *stored, const uint32_t *columns,
                              nib_weight **w, nib_error *err)
{
    moved *made = nib_new(ctx, sizeof *made);

    if (!made)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", stored->out,
                        stored->in);
    *made = (moved){ .base = *stored, .stored = stored, .columns = columns };
    made->base.scheme = &scheme;
    *w = &made->base;
    return NIB_OK;
}

const nib_weight *nib_weight_before_columns(const nib_weight *w, const uint32_t *columns)
{
    if (w->scheme != &scheme || memcmp(of(w)->columns, columns, w->in * sizeof *columns) != 0)
        return NULL;
    return of(w)->stored;
}
