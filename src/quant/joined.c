/* joined.c - a weight whose rows are those of two stored ones, one behind the other or by turns,
 * without a copy of either.
 *
 * Where a family holds gate and up in one matrix, GGUF holds two. */
#include "quant/groups.h"
#include "quant/stored.h"

typedef struct joined {
    nib_weight base;
    nib_weight *parts[2]; /* by turns: of as many rows each */
    bool turns;
} joined;

static const joined *of(const nib_weight *w) { return (const joined *)w; }

/* Row r, and how many rows behind it lie behind it in its part too. */
static const nib_weight *find_row(const joined *j, size_t r, size_t end, size_t *at, size_t *count)
{
    size_t first = j->parts[0]->out;
    bool second = j->turns ? r % 2 : r >= first;

    *at = j->turns ? r / 2 : r - (second ? first : 0);
    *count = j->turns ? 1 : nib_min(end, second ? j->base.out : first) - r;
    return j->parts[second];
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    size_t at, count;

    for (size_t r = r0; r < r1; r += count) {
        const nib_weight *part = find_row(of(w), r, r1, &at, &count);
        part->scheme->decode_tile(part, at, at + count, k0, k1, dst + (r - r0) * ld, ld);
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_weight_destroy(ctx, ((joined *)w)->parts[0]);
    nib_weight_destroy(ctx, ((joined *)w)->parts[1]);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(of(w)->parts[0]); }

static bool finite(const nib_weight *w)
{
    return nib_weight_finite(of(w)->parts[0]) && nib_weight_finite(of(w)->parts[1]);
}

/* Parts of one form read x alike, and so do those of one scheme that take it as it lies. */
static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    const nib_weight *a = of(w)->parts[0], *b = of(w)->parts[1];
    char texts[2][NIB_FORM_ROOM];
    nib_dot_kind kind;
    nib_form forms[2] = { nib_weight_form(a), nib_weight_form(b) };

    for (int i = 0; i < 2; i++) nib_form_text(&forms[i], texts[i]);
    if (a->scheme != b->scheme || !a->scheme->dot_kind ||
        (strcmp(texts[0], texts[1]) != 0 && a->scheme->dot_ready != nib_dot_ready_plain))
        return NIB_DOT_NONE;
    kind = a->scheme->dot_kind(a, k, type, precision);
    return b->scheme->dot_kind(b, k, type, precision) == kind ? kind : NIB_DOT_NONE;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    of(w)->parts[0]->scheme->dot_ready(of(w)->parts[0], k, kind, x, ready);
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    size_t at, count;

    for (size_t r = r0; r < r1; r += count) {
        const nib_weight *part = find_row(of(w), r, r1, &at, &count);
        part->scheme->dot(part, k, kind, M, ready, at, at + count, y + r - r0, ldy);
    }
}

static bool block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    size_t at, count;
    const nib_weight *part = find_row(of(w), row, row + 1, &at, &count);

    return nib_weight_block_row(part, type, at, to);
}

/* Its form is that of the first part, which describes, parses and encodes for it. */
static const nib_scheme scheme = {
    .name = "joined", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .finite = finite, .dot_kind = dot_kind, .dot_ready = dot_ready, .dot = dot,
    .block_row = block_row,
};

nib_status nib_weight_joined(nib_ctx *ctx, nib_weight *first, nib_weight *second, bool turns,
                             nib_weight **w, nib_error *err)
{
    joined *made = nib_new(ctx, sizeof *made);

    assert((!turns || first->out == second->out) && first->in == second->in);
    if (!made)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory",
                        first->out + second->out, first->in);
    *made = (joined){ .base = *first, .parts = { first, second }, .turns = turns };
    made->base.scheme = &scheme;
    made->base.out = first->out + second->out;
    made->base.bytes = first->bytes + second->bytes;
    made->base.owned_bytes = first->owned_bytes + second->owned_bytes;
    *w = &made->base;
    return NIB_OK;
}
