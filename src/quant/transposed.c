/* transposed.c - the transpose of a stored weight, without a copy of it.
 *
 * A panel of the transpose forward is a panel of what is stored backward, and the other way round,
 * so the stored weight's own packers serve both.  The product of few rows runs along the stored
 * rows:
 *
 *     y[n] = sum over k of x[k] stored[k, n] */
#include "quant/transposed.h"

#include "quant/groups.h"

enum { WIDEST = 128 }; /* outputs of a piece of the dot */

typedef struct transposed {
    nib_weight base;
    nib_weight *stored; /* [in, out] */
} transposed;

static const nib_weight *stored_of(const nib_weight *w) { return ((const transposed *)w)->stored; }

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const nib_weight *stored = stored_of(w);
    float piece[16 * 64];

    for (size_t k = k0; k < k1; k += 16)
        for (size_t r = r0; r < r1; r += 64) {
            size_t rows = nib_min(16, k1 - k), columns = nib_min(64, r1 - r);
            stored->scheme->decode_tile(stored, k, k + rows, r, r + columns, piece, columns);
            for (size_t j = 0; j < columns; j++)
                for (size_t i = 0; i < rows; i++)
                    dst[(r - r0 + j) * ld + k - k0 + i] = piece[i * columns + j];
        }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_weight_destroy(ctx, ((transposed *)w)->stored);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(stored_of(w)); }

static bool finite(const nib_weight *w) { return nib_weight_finite(stored_of(w)); }

static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_weight *stored = stored_of(w);
    nib_pack other = *p;

    other.backward = !p->backward;
    return stored->scheme->pack && stored->scheme->pack(stored, k, &other, panel);
}

/* --- few rows --- */

/* Stored values are used as they decode: where they would have to be rounded to the compute type
 * first, rows are decoded. */
static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    (void)k, (void)precision;
    return type == NIB_F32 || w->dtype == NIB_BF16 ? NIB_DOT_FLOATS : NIB_DOT_NONE;
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_weight *stored = stored_of(w);
    const float *x = ready;
    float values[WIDEST];

    (void)kind;
    for (size_t r = r0; r < r1; r += WIDEST) {
        size_t count = nib_min(WIDEST, r1 - r);
        for (size_t m = 0; m < M; m++) memset(y + m * ldy + r - r0, 0, count * sizeof *y);
        for (size_t t = 0; t < w->in; t++) {
            stored->scheme->decode_tile(stored, t, t + 1, r, r + count, values, count);
            for (size_t m = 0; m < M; m++)
                k->axpy(count, x[m * w->in + t], values, y + m * ldy + r - r0);
        }
    }
}

/* Its form is that of what is stored, which describes, parses and encodes for it. */
static const nib_scheme scheme = {
    .name = "transposed", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .finite = finite, .pack = pack, .dot_kind = dot_kind, .dot_ready = nib_dot_ready_plain,
    .dot = dot,
};

nib_status nib_weight_transposed(nib_ctx *ctx, nib_weight *stored, nib_weight **w, nib_error *err)
{
    transposed *made = nib_new(ctx, sizeof *made);

    if (!made)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", stored->in,
                        stored->out);
    *made = (transposed){ .base = { .scheme = &scheme, .out = stored->in, .in = stored->out,
                                    .bytes = stored->bytes, .owned_bytes = stored->owned_bytes,
                                    .dtype = stored->dtype, .source = stored->source },
                          .stored = stored };
    *w = &made->base;
    return NIB_OK;
}

const nib_weight *nib_weight_stored(const nib_weight *w)
{
    return w->scheme == &scheme ? stored_of(w) : NULL;
}
