/* float8.c - the scheme of scaled E4M3 floats: what a weight of it is. */
#include "quant/float8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/groups.h"

static const nib_float8 *of(const nib_weight *w) { return (const nib_float8 *)w; }

float nib_float8_scale_at(nib_dtype type, const uint8_t *scales, size_t i)
{
    float x;

    if (type == NIB_F8_E8M0) return scales[i] == 255 ? NAN : ldexpf(1, scales[i] - 127);
    if (type == NIB_F16) return nib_f16_to_f32(nib_load_le16(scales + 2 * i));
    if (type == NIB_BF16) return nib_bf16_to_f32(nib_load_le16(scales + 2 * i));
    memcpy(&x, scales + 4 * i, sizeof x);
    return x;
}

/* A run of codes under one scale after the other. */
static void decode_row(const nib_float8 *q, size_t row, size_t k0, size_t k1, float *dst)
{
    const uint8_t *codes = q->codes + row * q->base.in;
    size_t first = row / q->rows * q->grid;

    while (k0 < k1) {
        size_t block = k0 / q->columns, end = nib_min(k1, (block + 1) * q->columns);
        nib_float8_scale s = { .by = nib_float8_scale_at(q->scale_type, q->scales, first + block),
                               .divide = q->options.divide, .round = q->round };

        q->decode(end - k0, codes + k0, s, dst);
        dst += end - k0;
        k0 = end;
    }
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    assert(r0 <= r1 && r1 <= w->out && k0 <= k1 && k1 <= w->in);
    for (size_t r = r0; r < r1; r++) decode_row(of(w), r, k0, k1, dst + (r - r0) * ld);
}

/* --- panels --- */

enum { MOST_TERMS = 2048 }; /* of a panel */

/* Backward: 32 columns under one scale a row.  Forward the generic packer turns what is decoded. */
static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_float8 *q = of(w);
    size_t block = p->c0 / q->columns;
    float by[MOST_TERMS];
    const nib_float8_column c = { .codes = q->codes + p->t0 * w->in + p->c0, .stride = w->in,
                                  .by = by, .divide = q->options.divide, .round = q->round };

    if (!p->backward || p->c0 + NIB_PANEL > w->in || p->terms > MOST_TERMS ||
        (p->c0 + NIB_PANEL - 1) / q->columns != block ||
        (p->kind == NIB_PACK_PAIRS && p->terms % 2)) return false;
    for (size_t t = 0, down = p->t0 / q->rows; t < p->terms; down++) {
        size_t end = nib_min(p->terms, (down + 1) * q->rows - p->t0);
        float scale = nib_float8_scale_at(q->scale_type, q->scales, down * q->grid + block);
        while (t < end) by[t++] = scale;
    }
    k->float8_back(&c, p->terms, p->kind, panel, p->terms * NIB_STRIP);
    return true;
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_float8 *)w)->owned);
    nib_free(ctx, w);
}

nib_status nib_float8_create(nib_ctx *ctx, const nib_float8 *made, nib_weight **w, nib_error *err)
{
    nib_float8 *q = nib_new(ctx, sizeof *q);

    if (!q)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", made->base.out,
                        made->base.in);
    *q = *made;
    q->base.scheme = &nib_float8_scheme;
    q->base.dtype = made->options.dtype;
    q->rows = made->options.rows ? made->options.rows : made->base.out;
    q->columns = made->options.columns ? made->options.columns : made->base.in;
    q->grid = nib_ceil_div(made->base.in, q->columns);
    q->decode = nib_kernels_for(nib_ctx_cpu(ctx)).float8_decode;
    *w = &q->base;
    return NIB_OK;
}

/* --- few rows: the values are not rounded to the scales' type, nor to bfloat16 --- */

enum { MOST_RUNS = 1024 }; /* of a row */

static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    const nib_float8 *q = of(w);
    bool high = type == NIB_BF16 || precision == NIB_PRECISION_HIGH || q->round == NIB_F32;

    (void)k;
    return high && w->in % 32 == 0 && q->columns % 32 == 0 && q->grid <= MOST_RUNS
               ? NIB_DOT_FLOATS
               : NIB_DOT_NONE;
}

/* Rows of one block of the matrix have the same scales. */
static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const nib_float8 *q = of(w);
    float by[MOST_RUNS];

    (void)kind;
    for (size_t r = r0; r < r1; r++) {
        const nib_float8_row row = { .codes = q->codes + r * w->in, .n = w->in,
                                     .columns = q->columns, .by = by };
        for (size_t i = 0; i < q->grid && (r == r0 || r % q->rows == 0); i++) {
            by[i] = nib_float8_scale_at(q->scale_type, q->scales, r / q->rows * q->grid + i);
            if (q->options.divide) by[i] = 1 / by[i];
        }
        k->float8_dot(&row, M, ready, y + r - r0, ldy);
    }
}

/* --- the form --- */

enum { BLOCK_ROWS, BLOCK_COLUMNS, DIVIDE }; /* of nib_form.settings */

nib_form nib_float8_form(const nib_float8_options *o)
{
    return (nib_form){ .scheme = &nib_float8_scheme, .dtype = o->dtype,
                       .settings = { [BLOCK_ROWS] = o->rows, [BLOCK_COLUMNS] = o->columns,
                                     [DIVIDE] = o->divide } };
}

nib_float8_options nib_float8_form_options(const nib_form *f)
{
    return (nib_float8_options){ .rows = f->settings[BLOCK_ROWS],
                                 .columns = f->settings[BLOCK_COLUMNS],
                                 .divide = f->settings[DIVIDE] != 0, .dtype = f->dtype };
}

static nib_form form(const nib_weight *w)
{
    nib_float8_options o = of(w)->options;

    o.dtype = w->dtype;
    return nib_float8_form(&o);
}

static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    nib_float8_options o = nib_float8_form_options(f);
    const char *way = o.divide ? " inverse" : "";

    if (!o.rows && !o.columns) snprintf(text, NIB_FORM_ROOM, "fp8 tensor%s", way);
    else if (o.rows == 1 && !o.columns) snprintf(text, NIB_FORM_ROOM, "fp8 channel%s", way);
    else snprintf(text, NIB_FORM_ROOM, "fp8 %ux%u%s", o.rows, o.columns, way);
}

static bool parse(const char *text, nib_form *f)
{
    nib_float8_options o = { .dtype = f->dtype };
    char again[NIB_FORM_ROOM];
    nib_form made;

    if (strncmp(text, "fp8 ", 4) != 0) return false;
    o.divide = strstr(text, " inverse") != NULL;
    if (strncmp(text + 4, "channel", 7) == 0) o.rows = 1;
    else if (strncmp(text + 4, "tensor", 6) != 0 &&
             sscanf(text + 4, "%ux%u", &o.rows, &o.columns) != 2) return false;
    made = nib_float8_form(&o);
    describe(&made, again);
    if (strcmp(text, again) != 0) return false;
    *f = made;
    return true;
}

/* Blocks of 32 of a row are OCP's MXFP8, whose scales are powers of two in a byte each; others are
 * counted as float32. */
static nib_dtype scale_type_of(const nib_float8_options *o)
{
    return o->rows == 1 && o->columns == 32 ? NIB_F8_E8M0 : NIB_F32;
}

static bool bytes_of(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    nib_float8_options o = nib_float8_form_options(f);
    uint64_t down = o.rows ? nib_ceil_div(out, o.rows) : 1;
    uint64_t across = o.columns ? nib_ceil_div(in, o.columns) : 1, scales;

    return nib_mul_u64(out, in, bytes) && nib_mul_u64(down, across, &scales) &&
           *bytes <= SIZE_MAX / 8 && scales <= SIZE_MAX / 32 &&
           (*bytes += nib_dtype_bytes(scale_type_of(&o)) * scales, true);
}

static nib_status random_weight(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                                nib_weight **w, nib_error *err)
{
    nib_float8 made = { .base = { .out = out, .in = in, .source = "" },
                        .options = nib_float8_form_options(f), .round = NIB_F32 };
    float scale = made.options.divide ? 1e4f : 1e-4f;
    uint8_t *codes;
    uint64_t bytes;
    nib_status status;

    if (!bytes_of(f, out, in, &bytes)) return nib_fail(err, NIB_E_FORMAT, "too large a weight");
    codes = nib_alloc(ctx, (size_t)bytes);
    if (!codes) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    nib_random_bytes(out * in, codes);
    for (size_t i = 0; i < out * in; i++) codes[i] &= 0xf7; /* no NaN */
    made.scale_type = scale_type_of(&made.options);
    if (made.scale_type == NIB_F8_E8M0) memset(codes + out * in, 127 - 13, bytes - out * in);
    else
        for (size_t i = out * in; i < bytes; i += sizeof scale)
            memcpy(codes + i, &scale, sizeof scale);
    made.codes = made.owned = codes;
    made.scales = codes + out * in;
    made.base.bytes = made.base.owned_bytes = (size_t)bytes;
    status = nib_float8_create(ctx, &made, w, err);
    if (status) nib_free(ctx, codes);
    return status;
}

const nib_scheme nib_float8_scheme = {
    .name = "fp8", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .pack = pack, .dot_kind = dot_kind, .dot_ready = nib_dot_ready_plain, .dot = dot,
    .describe = describe,
    .parse = parse, .bytes = bytes_of, .random = random_weight,
};
