/* dense.c - the scheme of unquantized weights: float32, float16 or bfloat16 rows. */
#include "quant/dense.h"

#include "base/thread.h"
#include "quant/transposed.h"

/* Loops that compilers turn into vectors: a dense model is read through them while it is
 * quantized. */
static void widen_bf16(float *restrict dst, const uint8_t *restrict src, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, sizeof h);
        dst[i] = nib_bf16_to_f32(h);
    }
}

/* The exponent is re-biased by a product, which is exact, for subnormals too; those of
 * infinity and NaN, finite so far, are then set to the greatest. */
static void widen_f16(float *restrict dst, const uint8_t *restrict src, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits, magnitude;
        uint16_t h;
        float f;
        memcpy(&h, src + 2 * i, sizeof h);
        magnitude = (uint32_t)(h & 0x7fff) << 13;
        memcpy(&f, &magnitude, sizeof f);
        f *= 0x1p112f;
        memcpy(&bits, &f, sizeof bits);
        bits |= (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;
        bits |= (uint32_t)(h & 0x8000) << 16;
        memcpy(dst + i, &bits, sizeof bits);
    }
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const nib_dense *d = (const nib_dense *)w;
    size_t bytes = nib_dtype_bytes(w->dtype);

    assert(r0 <= r1 && r1 <= w->out && k0 <= k1 && k1 <= w->in);
    for (size_t r = r0; r < r1; r++) {
        const uint8_t *src = (const uint8_t *)d->data + (r * w->in + k0) * bytes;
        float *to = dst + (r - r0) * ld;
        if (w->dtype == NIB_BF16) widen_bf16(to, src, k1 - k0);
        else if (w->dtype == NIB_F16) widen_f16(to, src, k1 - k0);
        else memcpy(to, src, (k1 - k0) * sizeof *to);
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_dense *)w)->owned);
    nib_free(ctx, w);
}

/* --- panels: straight from the rows where their type is the panel's --- */

static bool pack_forward(const nib_dense *d, size_t in, const nib_kernels *k, const nib_pack *p,
                         void *panel)
{
    if (p->kind == NIB_PACK_PAIRS && d->base.dtype == NIB_BF16 && in % 2 == 0 && p->t0 % 2 == 0 &&
        p->terms % 2 == 0) {
        const uint16_t *rows = (const uint16_t *)d->data + p->c0 * in + p->t0;
        k->pack_transposed(p->terms / 2, (const uint32_t *)(const void *)rows, in / 2, panel,
                           p->terms / 2 * NIB_STRIP);
        return true;
    }
    if (p->kind == NIB_PACK_F32 && d->base.dtype == NIB_F32) {
        const float *rows = (const float *)d->data + p->c0 * in + p->t0;
        k->pack_transposed(p->terms, (const uint32_t *)(const void *)rows, in, panel,
                           p->terms * NIB_STRIP);
        return true;
    }
    if (p->kind != NIB_PACK_PAIRS && d->base.dtype == NIB_BF16) { /* rounded already */
        k->pack_widened(p->terms, (const uint16_t *)d->data + p->c0 * in + p->t0, in, panel);
        return true;
    }
    return false;
}

static bool pack_backward(const nib_dense *d, size_t in, const nib_kernels *k, const nib_pack *p,
                          void *panel)
{
    size_t at = p->t0 * in + p->c0;
    const uint16_t *rows = (const uint16_t *)d->data + at;

    if (p->kind == NIB_PACK_F32 && d->base.dtype == NIB_F32) {
        k->pack_rows(NIB_F32, p->terms, (const float *)d->data + at, in, panel);
        return true;
    }
    if (d->base.dtype != NIB_BF16) return false;
    if (p->kind == NIB_PACK_PAIRS) {
        if (p->terms % 2) return false;
        for (size_t n = 0; n < NIB_PANEL; n += NIB_STRIP)
            for (size_t t = 0; t < p->terms; t += 2)
                k->interleave(NIB_STRIP, rows + t * in + n, rows + (t + 1) * in + n,
                              (uint32_t *)panel + (n * p->terms + t * NIB_STRIP) / 2);
    } else {
        k->pack_rows(NIB_BF16, p->terms, rows, in, panel);
    }
    return true;
}

static bool pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    if (p->c0 + NIB_PANEL > (p->backward ? w->in : w->out)) return false;
    return (p->backward ? pack_backward : pack_forward)((const nib_dense *)w, w->in, k, p, panel);
}

/* --- one row --- */

static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    (void)precision; /* always the highest: its rows are read as fast */
    if (w->dtype == NIB_F32) return type == NIB_F32 ? NIB_DOT_FLOATS : NIB_DOT_NONE;
    if (w->dtype != NIB_BF16) return NIB_DOT_NONE;
    return type == NIB_BF16 && k->dot_rows_bf16 ? NIB_DOT_PAIRS : NIB_DOT_FLOATS;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    if (kind == NIB_DOT_PAIRS) memcpy(ready, x, w->in * sizeof(uint16_t));
    else if (w->dtype == NIB_F32) memcpy(ready, x, w->in * sizeof(float));
    else k->arrange_row(w->in, x, ready);
}

static void dot_one(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *ready,
                    size_t r0, size_t r1, float *y)
{
    const nib_dense *d = (const nib_dense *)w;
    const uint16_t *rows = (const uint16_t *)d->data + r0 * w->in;

    if (kind == NIB_DOT_PAIRS) k->dot_rows_bf16(r1 - r0, w->in, rows, w->in, ready, y);
    else if (d->base.dtype == NIB_BF16) k->dot_rows(r1 - r0, w->in, rows, w->in, ready, y);
    else
        for (size_t r = r0; r < r1; r++)
            y[r - r0] = k->dot(w->in, (const float *)d->data + r * w->in, ready);
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    size_t bytes = w->in * (kind == NIB_DOT_PAIRS ? sizeof(uint16_t) : sizeof(float));

    for (size_t m = 0; m < M; m++)
        dot_one(w, k, kind, (const char *)ready + m * bytes, r0, r1, y + m * ldy);
}

/* --- the form --- */

nib_form nib_form_dense(nib_dtype dtype)
{
    return (nib_form){ .scheme = &nib_dense_scheme, .dtype = dtype };
}

bool nib_form_is_dense(const nib_form *f) { return f->scheme == &nib_dense_scheme; }

static nib_form form(const nib_weight *w) { return nib_form_dense(w->dtype); }

static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    strcpy(text, f->scheme->name);
}

static bool parse(const char *text, nib_form *f)
{
    if (strcmp(text, nib_dense_scheme.name) != 0) return false;
    *f = nib_form_dense(f->dtype);
    return true;
}

static bool bytes_of(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    return nib_mul_u64(out, in, bytes) && nib_mul_u64(*bytes, nib_dtype_bytes(f->dtype), bytes) &&
           *bytes <= SIZE_MAX / 2;
}

typedef struct copying {
    const nib_weight *from;
    uint8_t *to;
    float *rows; /* one for each worker */
    nib_dtype dtype;
} copying;

static void copy_row(void *arg, size_t row, unsigned worker)
{
    const copying *c = arg;
    size_t in = c->from->in;
    float *values = c->rows + worker * in;

    nib_weight_decode(c->from, row, row + 1, values);
    nib_convert(c->to + row * in * nib_dtype_bytes(c->dtype), c->dtype, values, NIB_F32, in);
}

static nib_status encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                         nib_error *err)
{
    uint64_t bytes = 0;
    bool fits = bytes_of(f, from->out, from->in, &bytes);
    void *data = fits ? nib_alloc(ctx, (size_t)bytes) : NULL;
    float *rows = nib_new_array(ctx, nib_threads(ctx) * from->in, sizeof *rows);
    nib_status status;

    if (!data || !rows) {
        status = nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", from->out,
                          from->in);
    } else {
        nib_parallel_for(ctx, from->out, copy_row, &(copying){ from, data, rows, f->dtype });
        status = nib_weight_dense(ctx, from->out, from->in, f->dtype, data, data, w, err);
        if (!status) data = NULL; /* handed over */
    }
    nib_free(ctx, rows);
    nib_free(ctx, data);
    return status;
}

const nib_scheme nib_dense_scheme = {
    .name = "dense", .decode_tile = decode_tile, .destroy = destroy, .form = form, .pack = pack,
    .dot_kind = dot_kind, .dot_ready = dot_ready, .dot = dot, .describe = describe,
    .parse = parse, .bytes = bytes_of, .encode = encode,
};

nib_status nib_weight_dense(nib_ctx *ctx, size_t out, size_t in, nib_dtype dtype, const void *data,
                            void *owned, nib_weight **w, nib_error *err)
{
    nib_dense *made;
    uint64_t elements, bytes;

    if (dtype != NIB_F32 && dtype != NIB_F16 && dtype != NIB_BF16)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "a dense weight of %s; float32, float16 and bfloat16 are known",
                        nib_dtype_name(dtype));
    if (!nib_mul_u64(out, in, &elements) ||
        !nib_mul_u64(elements, nib_dtype_bytes(dtype), &bytes) || bytes > SIZE_MAX)
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", out, in);
    made = nib_new(ctx, sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    *made = (nib_dense){ .base = { .scheme = &nib_dense_scheme, .out = out, .in = in,
                                   .bytes = (size_t)bytes, .dtype = dtype,
                                   .owned_bytes = owned ? (size_t)bytes : 0 },
                         .data = data, .owned = owned };
    *w = &made->base;
    return NIB_OK;
}

const nib_dense *nib_weight_as_dense(const nib_weight *w)
{
    return w->scheme == &nib_dense_scheme ? (const nib_dense *)w : NULL;
}

bool nib_weight_is_dense(const nib_weight *w)
{
    const nib_weight *stored = nib_weight_stored(w);
    return (stored ? stored : w)->scheme == &nib_dense_scheme;
}
