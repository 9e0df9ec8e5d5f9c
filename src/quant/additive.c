/* additive.c - see additive.h. */
#include "quant/additive.h"

#include <stdio.h>

#include "quant/groups.h"

static const nib_additive *of(const nib_weight *w) { return (const nib_additive *)w; }

static unsigned width_of(unsigned bits) { return bits > 8 ? 2 : 1; }

/* The row from group g on. */
static nib_additive_row row_from(const nib_additive *q, size_t row, size_t g)
{
    const nib_additive_options *o = &q->options;
    size_t down = row / o->outputs;
    nib_additive_row r = {
        .codes = q->codes + down * q->row_step + g * q->group_step, .step = q->group_step,
        .entries = q->entries, .type = q->entry_type, .width = width_of(o->bits),
        .bits = o->bits, .books = o->books, .group = o->inputs, .entry = o->outputs * o->inputs,
        .part = (unsigned)(row % o->outputs) * o->inputs };

    nib_convert(&r.scale, NIB_F32, q->scales + down * nib_dtype_bytes(q->scale_type),
                q->scale_type, 1);
    return r;
}

static void decode_groups(const nib_weight *w, size_t row, size_t g, size_t count, float *dst)
{
    nib_additive_row r = row_from(of(w), row, g);

    of(w)->decode(&r, count, dst);
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    nib_decode_groups(w, of(w)->options.inputs, decode_groups, r0, r1, k0, k1, dst, ld);
}

enum { MOST_TERMS = 2048 }; /* of a panel */

/* Backward: 32 columns are whole groups, each of one row.  Forward the generic packer turns what is
 * decoded. */
static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_additive *q = of(w);
    float scales[MOST_TERMS];
    nib_additive_column c = { .stride = q->row_step, .scales = scales };

    if (!p->backward || q->options.outputs != 1 || NIB_PANEL % q->options.inputs ||
        p->c0 % q->options.inputs || p->c0 + NIB_PANEL > w->in || p->terms > MOST_TERMS ||
        (p->kind == NIB_PACK_PAIRS && p->terms % 2)) return false;
    c.first = row_from(q, p->t0, p->c0 / q->options.inputs);
    nib_convert(scales, NIB_F32, q->scales + p->t0 * nib_dtype_bytes(q->scale_type),
                q->scale_type, p->terms);
    k->additive_back(&c, p->terms, p->kind, panel, p->terms * NIB_STRIP);
    return true;
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_additive *)w)->owned);
    nib_free(ctx, w);
}

/* --- few rows: the values are used as they decode, so not where they are rounded first --- */

static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    (void)w, (void)k, (void)precision;
    return type == NIB_F32 ? NIB_DOT_FLOATS : NIB_DOT_NONE;
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    (void)kind;
    for (size_t r = r0; r < r1; r++) {
        nib_additive_row row = row_from(of(w), r, 0);
        k->additive_dot(&row, M, w->in / row.group, ready, y + r - r0, ldy);
    }
}

/* --- the form --- */

enum { BOOKS, BITS, OUTPUTS, INPUTS }; /* of nib_form.settings */

nib_form nib_additive_form(const nib_additive_options *o)
{
    return (nib_form){ .scheme = &nib_additive_scheme, .dtype = o->dtype,
                       .settings = { [BOOKS] = o->books, [BITS] = o->bits,
                                     [OUTPUTS] = o->outputs, [INPUTS] = o->inputs } };
}

nib_additive_options nib_additive_form_options(const nib_form *f)
{
    return (nib_additive_options){ .books = f->settings[BOOKS], .bits = f->settings[BITS],
                                   .outputs = f->settings[OUTPUTS],
                                   .inputs = f->settings[INPUTS], .dtype = f->dtype };
}

static nib_form form(const nib_weight *w)
{
    nib_additive_options o = of(w)->options;

    o.dtype = w->dtype;
    return nib_additive_form(&o);
}

static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    nib_additive_options o = nib_additive_form_options(f);

    snprintf(text, NIB_FORM_ROOM, "aqlm %ux%u of %ux%u", o.books, o.bits, o.outputs, o.inputs);
}

static bool parse(const char *text, nib_form *f)
{
    nib_additive_options o = { .dtype = f->dtype };
    char again[NIB_FORM_ROOM];
    nib_form made;

    if (sscanf(text, "aqlm %ux%u of %ux%u", &o.books, &o.bits, &o.outputs, &o.inputs) != 4)
        return false;
    if (!o.books || !o.bits || o.bits > 16 || !o.outputs || !o.inputs ||
        o.inputs > NIB_GROUP_WIDEST)
        return false;
    made = nib_additive_form(&o);
    describe(&made, again);
    if (strcmp(text, again) != 0) return false;
    *f = made;
    return true;
}

/* Bytes of the codes and of the codebooks, in float16. */
static bool sizes_of(const nib_additive_options *o, size_t out, size_t in, uint64_t *codes,
                     uint64_t *entries)
{
    uint64_t groups;

    return nib_mul_u64(nib_ceil_div(out, o->outputs), nib_ceil_div(in, o->inputs), &groups) &&
           nib_mul_u64(groups, (uint64_t)o->books * width_of(o->bits), codes) &&
           nib_mul_u64((uint64_t)o->books << o->bits, (uint64_t)o->outputs * o->inputs * 2,
                       entries) &&
           *codes <= SIZE_MAX / 8 && *entries <= SIZE_MAX / 8;
}

static bool bytes_of(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    nib_additive_options o = nib_additive_form_options(f);
    uint64_t codes, entries;

    if (!sizes_of(&o, out, in, &codes, &entries) || out > SIZE_MAX / 8) return false;
    *bytes = codes + entries + 2 * nib_ceil_div(out, o.outputs);
    return true;
}

nib_status nib_additive_create(nib_ctx *ctx, const nib_additive *made, nib_weight **w,
                               nib_error *err)
{
    nib_additive *q = nib_new(ctx, sizeof *q);

    assert(made->base.in % made->options.inputs == 0 && made->options.inputs <= NIB_GROUP_WIDEST);
    assert(made->base.out % made->options.outputs == 0);
    if (!q)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", made->base.out,
                        made->base.in);
    *q = *made;
    q->base.scheme = &nib_additive_scheme;
    q->base.dtype = made->options.dtype;
    q->decode = nib_kernels_for(nib_ctx_cpu(ctx)).additive_decode;
    *w = &q->base;
    return NIB_OK;
}

/* Entries of +-.03 and scales of 1. */
static nib_status random_weight(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                                nib_weight **w, nib_error *err)
{
    nib_additive made = { .base = { .out = out, .in = in, .source = "" },
                          .options = nib_additive_form_options(f), .entry_type = NIB_BF16,
                          .scale_type = NIB_BF16 };
    const nib_additive_options *o = &made.options;
    uint64_t codes, entries, bytes;
    uint8_t *data;
    nib_status status;

    if (in % o->inputs || out % o->outputs || !sizes_of(o, out, in, &codes, &entries) ||
        !bytes_of(f, out, in, &bytes))
        return nib_fail(err, NIB_E_FORMAT, "%zu x %zu values are no whole groups of %u x %u, or "
                        "too many", out, in, o->outputs, o->inputs);
    data = nib_alloc(ctx, (size_t)bytes);
    if (!data) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    nib_random_bytes((size_t)bytes, data);
    /* sign and exponent of bfloat16: 2^-6 to 2^-5 */
    for (size_t i = 1; i < entries; i += 2) data[i] = (data[i] & 0x80) | 0x3c;
    for (size_t i = 0; i < out / o->outputs; i++)
        memcpy(data + entries + 2 * i, &(uint16_t){ 0x3f80 }, 2);
    made.entries = made.owned = data;
    made.scales = data + entries;
    made.codes = made.scales + out / o->outputs * 2;
    made.group_step = (size_t)o->books * width_of(o->bits);
    made.row_step = in / o->inputs * made.group_step;
    made.base.bytes = made.base.owned_bytes = (size_t)bytes;
    status = nib_additive_create(ctx, &made, w, err);
    if (status) nib_free(ctx, data);
    return status;
}

const nib_scheme nib_additive_scheme = {
    .name = "aqlm", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .pack = pack, .dot_kind = dot_kind, .dot_ready = nib_dot_ready_plain, .dot = dot,
    .describe = describe,
    .parse = parse, .bytes = bytes_of, .random = random_weight,
};
