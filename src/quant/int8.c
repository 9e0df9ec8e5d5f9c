/* int8.c - bitsandbytes' 8-bit weights: rows of signed bytes with a scale a row. */
#include "quant/int8.h"

#include <math.h>
#include <stdio.h>

#include "base/thread.h"
#include "nibble/int8.h"

static const nib_int8 *of(const nib_weight *w) { return (const nib_int8 *)w; }

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const nib_int8 *q = of(w);

    assert(r0 <= r1 && r1 <= w->out && k0 <= k1 && k1 <= w->in);
    for (size_t r = r0; r < r1; r++)
        q->decode(k1 - k0, q->codes + r * w->in + k0, nib_int8_step(q, r), dst + (r - r0) * ld);
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_int8 *)w)->owned);
    nib_free(ctx, w);
}

/* Half a step, and half a unit in the last place of float16, in which it was encoded. */
static void error_row(const nib_weight *w, size_t row, float *most)
{
    const nib_int8 *q = of(w);
    float half = nib_int8_step(q, row) * 0.5f;

    for (size_t k = 0; k < w->in; k++) {
        float size = fabsf((float)q->codes[row * w->in + k]) + 0.5f;
        most[k] = half + size * half * 2 * 0x1p-11f;
    }
}

static bool is_finite(const nib_weight *w)
{
    for (size_t r = 0; r < w->out; r++)
        if (!isfinite(of(w)->scb[r])) return false;
    return true;
}

/* --- the form --- */

enum { THRESHOLD }; /* of nib_form.settings: the bits of a float */

nib_form nib_int8_form(nib_dtype dtype, float threshold)
{
    nib_form f = { .scheme = &nib_int8_scheme, .dtype = dtype };

    _Static_assert(sizeof f.settings[THRESHOLD] == sizeof threshold, "a float's bits");
    memcpy(&f.settings[THRESHOLD], &threshold, sizeof threshold);
    return f;
}

float nib_int8_form_threshold(const nib_form *f)
{
    float threshold;

    assert(f->scheme == &nib_int8_scheme);
    memcpy(&threshold, &f->settings[THRESHOLD], sizeof threshold);
    return threshold;
}

static nib_form form(const nib_weight *w) { return nib_int8_form(w->dtype, of(w)->threshold); }

/* The threshold changes products, not the weight. */
static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    (void)f;
    snprintf(text, NIB_FORM_ROOM, "int8");
}

static bool parse(const char *text, nib_form *f)
{
    if (strcmp(text, "int8") != 0) return false;
    *f = nib_int8_form(f->dtype, NIB_INT8_THRESHOLD);
    return true;
}

static bool bytes(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    uint64_t codes, scales;

    (void)f;
    if (!nib_mul_u64(out, in, &codes) || !nib_mul_u64(out, sizeof(float), &scales) ||
        codes > SIZE_MAX / 2 || scales > SIZE_MAX / 2)
        return false;
    *bytes = codes + scales;
    return true;
}

nib_status nib_int8_create(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                           const int8_t *codes, const float *scb, void *owned, nib_weight **w,
                           nib_error *err)
{
    nib_int8 *made;
    uint64_t size;

    if (in > NIB_INT8_MOST_TERMS)
        return nib_fail(err, NIB_E_UNSUPPORTED, "an 8-bit weight with rows of %zu values; sums of "
                        "at most %d fit 32 bits", in, (int)NIB_INT8_MOST_TERMS);
    if (!bytes(f, out, in, &size))
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", out, in);
    made = nib_new(ctx, sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    *made = (nib_int8){ .base = { .scheme = &nib_int8_scheme, .out = out, .in = in,
                                  .bytes = (size_t)size, .dtype = f->dtype },
                        .codes = codes, .scb = scb, .threshold = nib_int8_form_threshold(f),
                        .decode = nib_kernels_for(nib_ctx_cpu(ctx)).int8_decode, .owned = owned };
    if (owned) made->base.owned_bytes = (size_t)size;
    *w = &made->base;
    return NIB_OK;
}

/* --- encoding --- */

typedef struct encoding {
    const nib_weight *from;
    float *scb;
    int8_t *codes;
    float *rows; /* a row for each worker */
} encoding;

static void encode_row(void *arg, size_t r, unsigned worker)
{
    const encoding *e = arg;
    size_t in = e->from->in;
    float *row = e->rows + worker * in;
    nib_error ignored;

    nib_weight_decode(e->from, r, r + 1, row);
    for (size_t i = 0; i < in; i++) row[i] = nib_f16_to_f32(nib_f32_to_f16(row[i]));
    if (nib_int8_absmax_quantize(row, in, e->codes + r * in, &e->scb[r], &ignored))
        e->scb[r] = NAN; /* for check_rows() */
}

/* A value that float16 does not hold has no code: found and named. */
static nib_status check_rows(const encoding *e, nib_error *err)
{
    size_t in = e->from->in, i = 0;

    for (size_t r = 0; r < e->from->out; r++) {
        if (!isnan(e->scb[r])) continue;
        nib_weight_decode(e->from, r, r + 1, e->rows);
        while (fabsf(e->rows[i]) < 65520) i++; /* where float16 rounds to infinity */
        return nib_fail(err, NIB_E_NUMERIC, "row %zu, column %zu is %g: 8-bit weights are made of "
                        "float16, whose greatest value is 65504", r, i % in, (double)e->rows[i]);
    }
    return NIB_OK;
}

static nib_status encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                         nib_error *err)
{
    uint64_t size = 0;
    encoding e = { .from = from };
    nib_status status = NIB_OK;

    if (!bytes(f, from->out, from->in, &size))
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", from->out,
                        from->in);
    e.scb = nib_alloc(ctx, (size_t)size); /* scales first: they are aligned then */
    e.rows = nib_new_array(ctx, nib_threads(ctx) * from->in, sizeof *e.rows);
    if (!e.scb || !e.rows) {
        status = nib_fail(err, NIB_E_NOMEM, "8-bit weight of %zu x %zu: out of memory", from->out,
                          from->in);
        goto done;
    }
    e.codes = (int8_t *)(e.scb + from->out);
    nib_parallel_for(ctx, from->out, encode_row, &e);
    status = check_rows(&e, err);
    if (!status)
        status = nib_int8_create(ctx, f, from->out, from->in, e.codes, e.scb, e.scb, w, err);
    if (!status) e.scb = NULL; /* handed over */
done:
    nib_free(ctx, e.scb);
    nib_free(ctx, e.rows);
    return status;
}

const nib_scheme nib_int8_scheme = {
    .name = "int8",
    .decode_tile = decode_tile,
    .destroy = destroy,
    .form = form,
    .error_row = error_row,
    .finite = is_finite,
    .forward_bytes = nib_int8_forward_bytes,
    .forward = nib_int8_forward,
    .describe = describe,
    .parse = parse,
    .bytes = bytes,
    .encode = encode,
};
