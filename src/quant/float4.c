/* float4.c - see float4.h. */
#include "quant/float4.h"

#include <math.h>
#include <stdio.h>

#include "quant/groups.h"

enum { E4M3_ONE = 0x38 };

static const nib_float4 *of(const nib_weight *w) { return (const nib_float4 *)w; }

/* The row from value k0 on, which begins a group. */
static nib_float4_row row_from(const nib_float4 *q, size_t row, size_t k0)
{
    unsigned group = nib_float4_group(q->kind);
    size_t in = q->base.in;

    return (nib_float4_row){ .codes = q->codes + (row * in + k0) / 2,
                             .scales = q->scales + (row * in + k0) / group, .halves = q->halves,
                             .group = group, .round = q->kind == NIB_NVFP4,
                             .powers = q->kind == NIB_MXFP4,
                             .e4m3 = q->kind == NIB_NVFP4 ? q->halves[E4M3_ONE] : 0 };
}

static void decode_groups(const nib_weight *w, size_t row, size_t g, size_t count, float *dst)
{
    size_t group = nib_float4_group(of(w)->kind);
    nib_float4_row r = row_from(of(w), row, g * group);

    of(w)->decode(&r, count * group, dst);
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    nib_decode_groups(w, nib_float4_group(of(w)->kind), decode_groups, r0, r1, k0, k1, dst, ld);
}

/* Backward: 32 columns are whole groups.  Forward the generic packer turns what is decoded. */
static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_float4_row first = row_from(of(w), p->t0, p->c0);

    if (!p->backward || p->c0 % NIB_PANEL || p->c0 + NIB_PANEL > w->in ||
        (p->kind == NIB_PACK_PAIRS && p->terms % 2)) return false;
    k->float4_back(&first, w->in / 2, w->in / first.group, p->terms, p->kind, panel,
                   p->terms * NIB_STRIP);
    return true;
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_float4 *)w)->owned);
    nib_free(ctx, w);
}

/* --- few rows: decoded values are bfloat16, right in both compute types; in fixed point the
 * product with a scale is not rounded --- */

static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    bool high = type == NIB_BF16 || precision == NIB_PRECISION_HIGH; /* finer than bfloat16 */

    (void)k;
    return high && w->in % 64 == 0 ? NIB_DOT_FIXED : NIB_DOT_FLOATS;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    if (kind == NIB_DOT_FIXED) k->arrange_fixed(w->in, NIB_FIXED_TURNS4, x, ready);
    else memcpy(ready, x, w->in * sizeof(float));
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_fixed_x x = nib_fixed_x_at(ready, w->in, 0, w->in * sizeof(float));

    for (size_t r = r0; r < r1; r++) {
        nib_float4_row row = row_from(of(w), r, 0);
        if (kind == NIB_DOT_FIXED) k->float4_dot_fixed(&row, M, w->in, &x, y + r - r0, ldy);
        else k->float4_dot(&row, M, w->in, ready, y + r - r0, ldy);
    }
}

/* --- the form --- */

enum { KIND }; /* of nib_form.settings */

static const char *const names[] = { [NIB_MXFP4] = "mxfp4", [NIB_NVFP4] = "nvfp4" };

nib_form nib_float4_form(nib_float4_kind kind, nib_dtype dtype)
{
    return (nib_form){ .scheme = &nib_float4_scheme, .dtype = dtype,
                       .settings = { [KIND] = kind } };
}

static nib_form form(const nib_weight *w) { return nib_float4_form(of(w)->kind, w->dtype); }

static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    snprintf(text, NIB_FORM_ROOM, "%s", names[f->settings[KIND]]);
}

static bool parse(const char *text, nib_form *f)
{
    for (unsigned i = 0; i < NIB_COUNT(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *f = nib_float4_form((nib_float4_kind)i, f->dtype);
            return true;
        }
    return false;
}

static bool bytes_of(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    unsigned group = nib_float4_group((nib_float4_kind)f->settings[KIND]);

    return nib_mul_u64(nib_ceil_div(in, group), group / 2 + 1, bytes) &&
           nib_mul_u64(*bytes, out, bytes) && *bytes <= SIZE_MAX / 2;
}

static nib_status random_weight(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                                nib_weight **w, nib_error *err)
{
    nib_float4_parts p = { .kind = (nib_float4_kind)f->settings[KIND], .out = out, .in = in,
                           .global = 1, .dtype = f->dtype, .source = "" };
    unsigned group = nib_float4_group(p.kind);
    size_t scales = out * (in / group);
    uint8_t least = p.kind == NIB_MXFP4 ? 121 : 0x08, *bytes; /* 2^-6 */
    nib_status status;

    if (in % group)
        return nib_fail(err, NIB_E_FORMAT, "%s: rows of %zu values, expected a multiple of %u",
                        names[p.kind], in, group);
    bytes = nib_alloc(ctx, scales * (group / 2 + 1));
    if (!bytes) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    nib_random_bytes(scales * (group / 2 + 1), bytes);
    for (size_t i = 0; i < scales; i++) bytes[i] = (uint8_t)(least + bytes[i] % 2);
    p.scales = bytes;
    p.codes = bytes + scales;
    p.owned = bytes;
    status = nib_float4_create(ctx, &p, w, err);
    if (status) nib_free(ctx, bytes);
    return status;
}

/* GGUF's block is the scale and then the codes, the first half of them in the low halves of the
 * bytes, the second in the high ones; here neighbours lie in a byte. */
static bool block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    nib_float4_row r = row_from(of(w), row, 0);

    if (of(w)->kind != NIB_MXFP4 || strcmp(type, "MXFP4") != 0) return false;
    for (size_t g = 0; to && g < w->in / r.group; g++, to += 1 + r.group / 2) {
        const uint8_t *codes = r.codes + g * r.group / 2;
        to[0] = r.scales[g];
        for (unsigned i = 0; i < r.group / 2; i++) {
            unsigned low = codes[i / 2] >> 4 * (i % 2) & 15;
            unsigned high = codes[r.group / 4 + i / 2] >> 4 * (i % 2) & 15;
            to[1 + i] = (uint8_t)(low | high << 4);
        }
    }
    return true;
}

const nib_scheme nib_float4_scheme = {
    .name = "fp4", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .pack = pack, .dot_kind = dot_kind, .dot_ready = dot_ready, .dot = dot,
    .describe = describe,
    .parse = parse, .bytes = bytes_of, .random = random_weight, .block_row = block_row,
};

/* --- making one --- */

static void fill_mx(float halves[256])
{
    for (unsigned e = 0; e < 255; e++) halves[e] = nib_e8m0_half((uint8_t)e);
    halves[255] = NAN;
}

/* Halved at the end, which is exact: nib_float4_create() keeps s away from subnormal numbers. */
static void fill_nv(float global, bool divide, float halves[256])
{
    nib_float8_scale by = { .by = global, .divide = divide, .round = NIB_F32 };
    uint8_t codes[256];

    for (unsigned i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    nib_float8_decode_ref(256, codes, by, halves);
    for (unsigned i = 0; i < 256; i++) halves[i] /= 2;
}

nib_status nib_float4_create(nib_ctx *ctx, const nib_float4_parts *p, nib_weight **w,
                             nib_error *err)
{
    nib_form f = nib_float4_form(p->kind, p->dtype);
    nib_float4 *q;
    uint64_t bytes;

    assert(p->in % nib_float4_group(p->kind) == 0);
    if (p->kind == NIB_NVFP4 && !(p->global > 1e-25f && p->global < 1e25f))
        return nib_fail(err, NIB_E_FORMAT, "%s: the scale of the matrix is %g, expected a number "
                        "above 0", p->source, (double)p->global);
    if (!bytes_of(&f, p->out, p->in, &bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu x %zu values are too many", p->source, p->out,
                        p->in);
    q = nib_new(ctx, sizeof *q);
    if (!q)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", p->out, p->in);
    q->base = (nib_weight){ .scheme = &nib_float4_scheme, .out = p->out, .in = p->in,
                            .bytes = (size_t)bytes, .owned_bytes = p->owned ? (size_t)bytes : 0,
                            .dtype = p->dtype, .source = p->source };
    q->owned = p->owned;
    q->kind = p->kind;
    q->codes = p->codes;
    q->scales = p->scales;
    q->decode = nib_kernels_for(nib_ctx_cpu(ctx)).float4_decode;
    if (p->kind == NIB_MXFP4) fill_mx(q->halves);
    else fill_nv(p->global, p->divide, q->halves);
    *w = &q->base;
    return NIB_OK;
}
