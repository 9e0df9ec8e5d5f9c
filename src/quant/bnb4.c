/* bnb4.c - the scheme of bitsandbytes' 4-bit weights: value = table[code] * absmax of its block.
 *
 * Codes are packed two a byte over the flattened matrix, high nibble first, and
 * blocks are counted over it too, so a row may begin in the middle of a byte and
 * of a block.  Source: formats.md 4.3, 4.4. */
#include "quant/bnb4.h"

#include <math.h>
#include <stdio.h>

#include "quant/bnb4_encode.h"

static const nib_bnb4 *of(const nib_weight *w) { return (const nib_bnb4 *)w; }

/* Panels take their scales for every 64 values (or every 32), whatever the blocks: a larger block's
 * is repeated.  Units lie within blocks when rows are whole units, also where blocks cross rows. */
enum { MOST_UNIT = 64, MOST_SCALES = 2048 /* of a piece of a panel: 32 rows times 64 units */ };
static size_t unit_of(const nib_bnb4 *q) { return nib_min(q->blocksize, MOST_UNIT); }
/* A division a block would take longer than its scale. */
static unsigned shift_of(const nib_bnb4 *q) { return (unsigned)__builtin_ctz(q->blocksize); }

/* Scales of `count` units, one after the other from flat index `e` on, NIB_PANEL floats apart. */
static void unit_scales(const nib_bnb4 *q, size_t e, size_t count, float *scales)
{
    const size_t unit = unit_of(q), shift = shift_of(q), first = e >> shift;
    const float offset = q->nested_offset;

    if (q->absmax || q->blocksize > unit) {
        for (size_t i = 0; i < count; i++)
            scales[i * NIB_PANEL] = nib_bnb4_absmax(q, (e + i * unit) >> shift);
        return;
    }
    /* units are blocks: a run shares its nested scale */
    for (size_t i = 0, run; i < count; i += run) {
        size_t block = first + i;
        float nested = q->nested_absmax[block / NIB_NESTED_BLOCK];
        run = nib_min(NIB_NESTED_BLOCK - block % NIB_NESTED_BLOCK, count - i);
        for (size_t j = 0; j < run; j++)
            scales[(i + j) * NIB_PANEL] = q->nested_table[q->absmax_q[block + j]] * nested + offset;
    }
}

/* Decodes `count` values of one block, the first at flat index `e`. */
static void decode_run(const nib_bnb4 *q, size_t e, size_t count, float absmax, float *dst)
{
    float scaled[16]; /* the sixteen possible values: a product each, not one a value */
    size_t i = 0;

    for (unsigned c = 0; c < 16; c++) scaled[c] = q->table[c] * absmax;
    if (count && e % 2) dst[i++] = scaled[q->codes[e / 2] & 15];
    q->decode(q->codes + (e + i) / 2, count - i, scaled, dst + i);
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const nib_bnb4 *q = of(w);

    assert(r0 <= r1 && r1 <= w->out && k0 <= k1 && k1 <= w->in);
    for (size_t r = r0; r < r1; r++) {
        size_t e = r * w->in + k0, end = r * w->in + k1;
        float *to = dst + (r - r0) * ld;
        while (e < end) {
            size_t block = e / q->blocksize, stop = nib_min(end, (block + 1) * q->blocksize);
            decode_run(q, e, stop - e, nib_bnb4_absmax(q, block), to);
            to += stop - e;
            e = stop;
        }
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_bnb4 *)w)->owned);
    nib_free(ctx, w);
}

/* --- panels --- */

/* Scales of 32 rows' units from column k0 on, as [unit][32]. */
static void row_scales(const nib_weight *w, size_t r0, size_t k0, size_t units, float *scales)
{
    for (size_t n = 0; n < NIB_PANEL; n++)
        unit_scales(of(w), (r0 + n) * w->in + k0, units, scales + n);
}

static void pack_forward(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_bnb4 *q = of(w);
    float scales[MOST_SCALES];
    nib_codes4 c = { q->codes + (p->c0 * w->in + p->t0) / 2, w->in / 2, scales, unit_of(q),
                     q->table };

    row_scales(w, p->c0, p->t0, nib_ceil_div(p->terms, unit_of(q)), scales);
    if (p->kind == NIB_PACK_PAIRS) k->panel4_bf16(&c, p->terms, panel, p->terms * NIB_STRIP);
    else k->panel4_f32(&c, p->terms, p->kind == NIB_PACK_ROUNDED, panel, p->terms * NIB_STRIP);
}

static void pack_backward(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_bnb4 *q = of(w);
    float scales[MOST_SCALES];
    size_t strip = p->terms * NIB_STRIP, shift = shift_of(q);

    for (size_t r = 0, rows; r < p->terms; r += rows) {
        nib_codes4 c = { q->codes + ((p->t0 + r) * w->in + p->c0) / 2, w->in / 2, scales,
                         q->blocksize, q->table };
        rows = nib_min(MOST_SCALES, p->terms - r);
        for (size_t i = 0; i < rows; i++)
            scales[i] = nib_bnb4_absmax(q, ((p->t0 + r + i) * w->in + p->c0) >> shift);
        if (p->kind == NIB_PACK_PAIRS)
            k->panel4_back_bf16(&c, rows, (uint16_t *)panel + r * NIB_STRIP, strip);
        else
            k->panel4_back_f32(&c, rows, p->kind == NIB_PACK_ROUNDED,
                               (float *)panel + r * NIB_STRIP, strip);
    }
}

/* Rows and pieces must be whole units. */
static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_bnb4 *q = of(w);

    if (w->in % unit_of(q) || p->c0 + NIB_PANEL > (p->backward ? w->in : w->out)) return false;
    if (p->backward) {
        if (p->c0 % 32 || (p->kind == NIB_PACK_PAIRS && p->terms % 2)) return false;
        pack_backward(w, k, p, panel);
    } else {
        if (p->t0 % unit_of(q) || p->terms % 32 ||
            nib_ceil_div(p->terms, unit_of(q)) * NIB_PANEL > MOST_SCALES) return false;
        pack_forward(w, k, p, panel);
    }
    return true;
}

/* --- one row --- */

static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    if (unit_of(of(w)) != NIB_DOT4_BLOCK || w->in % NIB_DOT4_BLOCK) return NIB_DOT_NONE;
    if (type == NIB_BF16 && k->dot4_bf16) return NIB_DOT_PAIRS;
    if (k->dot4_fixed && (type == NIB_BF16 || precision == NIB_PRECISION_HIGH))
        return NIB_DOT_FIXED; /* finer than bfloat16 */
    return NIB_DOT_FLOATS;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    if (kind == NIB_DOT_PAIRS) k->arrange4_bf16(w->in, x, ready);
    else if (kind == NIB_DOT_FIXED) k->arrange4_fixed(w->in, x, ready);
    else k->arrange4(w->in, x, ready);
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_bnb4 *q = of(w);
    size_t blocks = w->in / NIB_DOT4_BLOCK;
    nib_dot4 d = { .codes = q->codes + r0 * w->in / 2, .table = q->table,
                   .rows = r1 - r0, .blocks = blocks, .first = r0 * blocks,
                   .shift = shift_of(q) - (unsigned)__builtin_ctz(NIB_DOT4_BLOCK),
                   .scales = q->absmax, .scale_codes = q->absmax_q, .scale_table = q->nested_table,
                   .nested = q->nested_absmax, .offset = q->nested_offset };

    if (kind == NIB_DOT_PAIRS) k->dot4_bf16(&d, M, ready, w->in, y, ldy);
    else if (kind == NIB_DOT_FIXED) k->dot4_fixed(&d, M, ready, 2 * w->in, y, ldy);
    else k->dot4(&d, M, ready, w->in, y, ldy);
}

/* --- how far the original may have been --- */

/* A value lies in the cell of its code, which ends half-way to the next: from each code's value at
 * most the greater half-gap away, in parts of the scale. */
static void half_gaps(const float table[16], float gaps[16])
{
    for (int i = 0; i < 16; i++) {
        float below = 0, above = 0;
        for (int k = 0; k < 16; k++) {
            float d = table[k] - table[i];
            if (d > 0 && (above == 0 || d < above)) above = d;
            if (d < 0 && (below == 0 || -d < below)) below = -d;
        }
        gaps[i] = fmaxf(below, above) / 2;
    }
}

static void error_row(const nib_weight *w, size_t row, float *most)
{
    const nib_bnb4 *q = of(w);
    float gaps[16];

    half_gaps(q->table, gaps);
    for (size_t k = 0; k < w->in; k++) {
        size_t i = row * w->in + k;
        unsigned code = i % 2 ? q->codes[i / 2] & 15u : q->codes[i / 2] >> 4;
        most[k] = gaps[code] * fabsf(nib_bnb4_absmax(q, i >> shift_of(q)));
    }
}

bool nib_bnb4_finite(const nib_weight *w)
{
    const nib_bnb4 *b = (const nib_bnb4 *)w;
    size_t blocks = nib_ceil_div(w->out * w->in, b->blocksize);

    for (size_t i = 0; i < blocks; i++)
        if (!isfinite(nib_bnb4_absmax(b, i))) return false;
    return true;
}

/* --- the form --- */

enum { FP4, DOUBLE, BLOCKSIZE }; /* of nib_form.settings */

nib_form nib_bnb4_form(const nib_bnb4_options *o)
{
    return (nib_form){ .scheme = &nib_bnb4_scheme, .dtype = o->dtype,
                       .settings = { [FP4] = o->fp4, [DOUBLE] = o->double_quant,
                                     [BLOCKSIZE] = o->blocksize } };
}

nib_bnb4_options nib_bnb4_form_options(const nib_form *f)
{
    assert(f->scheme == &nib_bnb4_scheme);
    return (nib_bnb4_options){ .fp4 = f->settings[FP4], .double_quant = f->settings[DOUBLE],
                               .blocksize = f->settings[BLOCKSIZE], .dtype = f->dtype };
}

static nib_form form(const nib_weight *w)
{
    const nib_bnb4 *q = of(w);

    return nib_bnb4_form(&(nib_bnb4_options){ q->is_fp4, !q->absmax, q->blocksize, w->dtype });
}

static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    snprintf(text, NIB_FORM_ROOM, "%s %u%s", f->settings[FP4] ? "fp4" : "nf4",
             f->settings[BLOCKSIZE], f->settings[DOUBLE] ? " double" : "");
}

static bool parse(const char *text, nib_form *f)
{
    char kind[4], twice[8] = "", again[NIB_FORM_ROOM];
    unsigned blocksize;
    nib_bnb4_options o = { .dtype = f->dtype };
    nib_form read;

    if (sscanf(text, "%3s %u %7s", kind, &blocksize, twice) < 2 ||
        !nib_bnb4_blocksize_known(blocksize))
        return false;
    o.fp4 = kind[0] == 'f';
    o.double_quant = *twice != 0;
    o.blocksize = blocksize;
    read = nib_bnb4_form(&o);
    describe(&read, again);
    if (strcmp(text, again) != 0) return false;
    *f = read;
    return true;
}

static bool bytes_of(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    uint64_t elements, blocks;

    if (!nib_mul_u64(out, in, &elements) || elements > SIZE_MAX / 8) return false;
    blocks = nib_ceil_div(elements, f->settings[BLOCKSIZE]);
    *bytes = nib_ceil_div(elements, 2) +
             (f->settings[DOUBLE]
                  ? blocks + nib_ceil_div(blocks, NIB_NESTED_BLOCK) * sizeof(float)
                  : blocks * sizeof(float));
    return true;
}

/* --- encoding: bnb4_encode.c's weight gets the scheme, which it does not know --- */

static nib_status encode_matrix(nib_ctx *ctx, const nib_bnb4_options *options,
                                const nib_bnb4_matrix *from, nib_weight **w, nib_error *err)
{
    nib_bnb4 *made;
    nib_status status = nib_bnb4_encode_matrix(ctx, options, from, &made, err);

    if (status) return status;
    made->base.scheme = &nib_bnb4_scheme;
    *w = &made->base;
    return NIB_OK;
}

nib_status nib_bnb4_encode(nib_ctx *ctx, const nib_bnb4_options *options, size_t out, size_t in,
                           nib_rows_fn rows, void *arg, nib_weight **w, nib_error *err)
{
    nib_bnb4_matrix from = { .out = out, .in = in, .rows = rows, .arg = arg };

    return encode_matrix(ctx, options, &from, w, err);
}

static void rows_of(void *arg, size_t r0, size_t r1, float *dst)
{
    nib_weight_decode(arg, r0, r1, dst);
}

nib_status nib_bnb4_encode_weight(nib_ctx *ctx, const nib_bnb4_options *options,
                                  const nib_weight *from, nib_weight **w, nib_error *err)
{
    nib_bnb4_matrix matrix = { .out = from->out, .in = from->in,
                               .dense = nib_weight_as_dense(from), .rows = rows_of,
                               .arg = (void *)(uintptr_t)from };

    return encode_matrix(ctx, options, &matrix, w, err);
}

static nib_status encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                         nib_error *err)
{
    nib_bnb4_options options = nib_bnb4_form_options(f);

    return nib_bnb4_encode_weight(ctx, &options, from, w, err);
}

const nib_scheme nib_bnb4_scheme = {
    .name = "bnb4", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .error_row = error_row, .finite = nib_bnb4_finite, .pack = pack, .dot_kind = dot_kind,
    .dot_ready = dot_ready, .dot = dot, .describe = describe, .parse = parse, .bytes = bytes_of,
    .encode = encode,
};
