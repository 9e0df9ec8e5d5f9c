/* block.c - see block.h; the formats themselves are kernel/blocks.h's. */
#include "quant/block.h"

#include <math.h>
#include <stdio.h>

#include "quant/groups.h"
#include "quant/stored.h"

static const nib_block *of(const nib_weight *w) { return (const nib_block *)w; }

static const uint8_t *row_at(const nib_block *b, size_t row)
{
    return b->data + (b->rows ? b->rows[row] : row) * b->row_bytes;
}

static nib_block_rows rows_from(const nib_block *b, size_t row)
{
    return (nib_block_rows){ b->data + (b->rows ? 0 : row * b->row_bytes), b->row_bytes,
                             b->rows ? b->rows + row : NULL };
}

static void decode_groups(const nib_weight *w, size_t row, size_t g, size_t count, float *dst)
{
    const nib_block *b = of(w);

    b->decode(b->kind, count, row_at(b, row) + g * nib_block_layouts[b->kind].bytes, dst);
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    nib_decode_groups(w, nib_block_layouts[of(w)->kind].values, decode_groups, r0, r1, k0, k1, dst,
                      ld);
}

/* Backward a part of 32 values is a piece; forward the generic packer turns what is decoded. */
static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_block *b = of(w);
    const nib_block_layout *l = &nib_block_layouts[b->kind];
    nib_block_column c = { rows_from(b, p->t0), p->c0 % l->values / NIB_BLOCK_PART };

    if (!p->backward || p->c0 % NIB_BLOCK_PART || p->c0 + NIB_PANEL > w->in ||
        (p->kind == NIB_PACK_PAIRS && p->terms % 2)) return false;
    c.of.blocks += p->c0 / l->values * l->bytes;
    k->blocks_back(b->kind, &c, p->terms, p->kind, panel, p->terms * NIB_STRIP);
    return true;
}

static void destroy(nib_ctx *ctx, nib_weight *w) { nib_free(ctx, w); }

/* --- few rows --- */

/* In fixed point nothing is rounded to a type of 16 bits, which is finer; the floats' dot uses the
 * values as they decode, so not where they are rounded first. */
static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    (void)k;
    if (type != NIB_BF16 && precision != NIB_PRECISION_HIGH) return NIB_DOT_FLOATS;
    if (!nib_block_has_bytes(of(w)->kind)) return NIB_DOT_FIXED;
    if (w->in % 64 == 0) return NIB_DOT_BYTES;
    return type == NIB_F32 ? NIB_DOT_FLOATS : NIB_DOT_NONE;
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_block *b = of(w);
    size_t count = w->in / nib_block_layouts[b->kind].values;
    const nib_block_rows rows = rows_from(b, r0);
    const nib_fixed_x x = nib_fixed_x_at(ready, w->in, 0, w->in * sizeof(float));

    if (kind == NIB_DOT_FIXED)
        k->blocks_dot_fixed(b->kind, M, count, &rows, r1 - r0, &x, y, ldy);
    else if (kind == NIB_DOT_BYTES)
        k->blocks_dot_bytes(b->kind, M, count, &rows, r1 - r0, &x, y, ldy);
    else
        for (size_t r = r0; r < r1; r++)
            k->blocks_dot(b->kind, M, count, row_at(b, r), ready, y + r - r0, ldy);
}

/* --- the form --- */

enum { KIND }; /* of nib_form.settings */

static nib_form form(const nib_weight *w)
{
    return (nib_form){ .scheme = &nib_block_scheme, .dtype = w->dtype,
                       .settings = { [KIND] = of(w)->kind } };
}

static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    snprintf(text, NIB_FORM_ROOM, "%s", nib_block_layouts[f->settings[KIND]].name);
}

static bool kind_named(const char *name, nib_block_kind *kind)
{
    for (unsigned i = 0; i < NIB_BLOCK_KINDS; i++)
        if (strcmp(nib_block_layouts[i].name, name) == 0) {
            *kind = (nib_block_kind)i;
            return true;
        }
    return false;
}

static bool parse(const char *text, nib_form *f)
{
    nib_block_kind kind;

    if (!kind_named(text, &kind)) return false;
    *f = (nib_form){ .scheme = &nib_block_scheme, .dtype = f->dtype,
                     .settings = { [KIND] = kind } };
    return true;
}

/* Rows end with a block: one that `in` does not fill counts whole. */
static bool bytes_of(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    const nib_block_layout *l = &nib_block_layouts[f->settings[KIND]];

    return nib_mul_u64(nib_ceil_div(in, l->values), l->bytes, bytes) &&
           nib_mul_u64(*bytes, out, bytes) && *bytes <= SIZE_MAX / 2;
}

static bool block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    const nib_block *b = of(w);

    if (strcmp(nib_block_layouts[b->kind].name, type) != 0) return false;
    if (to) memcpy(to, row_at(b, row), b->row_bytes);
    return true;
}

const nib_scheme nib_block_scheme = {
    .name = "block", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .pack = pack, .dot_kind = dot_kind, .dot_ready = nib_dot_ready_plain, .dot = dot,
    .describe = describe,
    .parse = parse, .bytes = bytes_of, .block_row = block_row,
};

bool nib_stored_is_known(const char *type)
{
    nib_block_kind kind;

    return kind_named(type, &kind);
}

void nib_stored_known(char *out, size_t room)
{
    size_t used = 0;

    *out = 0;
    for (unsigned i = 0; i < NIB_BLOCK_KINDS && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "",
                                 nib_block_layouts[i].name);
}

nib_status nib_weight_blocks(nib_ctx *ctx, const char *type, size_t out, size_t in,
                             const void *data, const uint32_t *rows, nib_weight **w,
                             nib_error *err)
{
    nib_block *made;
    nib_block_kind kind;
    nib_form f = { .dtype = NIB_F32 };
    uint64_t bytes;
    char known[200];

    if (!kind_named(type, &kind)) {
        nib_stored_known(known, sizeof known);
        return nib_fail(err, NIB_E_UNSUPPORTED, "blocks of %s; known are %s", type, known);
    }
    parse(type, &f);
    if (in % nib_block_layouts[kind].values || !bytes_of(&f, out, in, &bytes))
        return nib_fail(err, NIB_E_FORMAT, "a %s weight of %zu x %zu values: rows are no whole "
                        "blocks, or too large", type, out, in);
    made = nib_new(ctx, sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    *made = (nib_block){ .base = { .scheme = &nib_block_scheme, .out = out, .in = in,
                                   .bytes = (size_t)bytes, .dtype = NIB_F32 },
                         .kind = kind, .data = data, .rows = rows,
                         .row_bytes = in / nib_block_layouts[kind].values *
                                      nib_block_layouts[kind].bytes,
                         .decode = nib_kernels_for(nib_ctx_cpu(ctx)).blocks_decode };
    *w = &made->base;
    return NIB_OK;
}
