/* latent.c - DeepSeek's kv_b as GGUF holds it, without a copy: of each head the keys and the values
 * are rows of one matrix [heads (keys + values), in], and there they are two tensors, the keys
 * turned, [heads, in, keys], and [heads, values, in].
 *
 * Products of many rows decode panels.  Those of few rows read each stored row once: of the values
 * it is one of an output, of the keys it is one of the input, added to all outputs of its head:
 *
 *     y[n] = sum over k of x[k] keys[k, n]
 */
#include "quant/stored.h"

enum { DEPTH = 512, WIDEST = 128 }; /* inputs and outputs of a piece of the dot */

typedef struct latent {
    nib_weight base;
    nib_weight *keys, *values;
    size_t key_rows, value_rows; /* of a head */
} latent;

static const latent *of(const nib_weight *w) { return (const latent *)w; }

/* Rows [r0, r0 + count) of head `head`'s keys, which are columns of what is stored. */
static void decode_keys(const latent *l, size_t head, size_t r0, size_t count, size_t k0, size_t k1,
                        float *dst, size_t ld)
{
    float piece[16 * 64];
    size_t top = head * l->base.in;

    for (size_t k = k0; k < k1; k += 16)
        for (size_t r = 0; r < count; r += 64) {
            size_t rows = nib_min(16, k1 - k), columns = nib_min(64, count - r);
            l->keys->scheme->decode_tile(l->keys, top + k, top + k + rows, r0 + r,
                                         r0 + r + columns, piece, columns);
            for (size_t j = 0; j < columns; j++)
                for (size_t i = 0; i < rows; i++)
                    dst[(r + j) * ld + k - k0 + i] = piece[i * columns + j];
        }
}

static void decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    const latent *l = of(w);
    size_t per = l->key_rows + l->value_rows, count;

    for (size_t r = r0; r < r1; r += count) {
        size_t head = r / per, at = r % per;
        float *to = dst + (r - r0) * ld;
        count = nib_min(r1 - r, (at < l->key_rows ? l->key_rows : per) - at);
        if (at < l->key_rows) decode_keys(l, head, at, count, k0, k1, to, ld);
        else {
            size_t from = head * l->value_rows + at - l->key_rows;
            l->values->scheme->decode_tile(l->values, from, from + count, k0, k1, to, ld);
        }
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_weight_destroy(ctx, ((latent *)w)->keys);
    nib_weight_destroy(ctx, ((latent *)w)->values);
    nib_free(ctx, w);
}

static nib_form form(const nib_weight *w) { return nib_weight_form(of(w)->values); }

static bool finite(const nib_weight *w)
{
    return nib_weight_finite(of(w)->keys) && nib_weight_finite(of(w)->values);
}

static bool block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    const latent *l = of(w);
    size_t per = l->key_rows + l->value_rows, at = row % per;

    return at >= l->key_rows &&
           nib_weight_block_row(l->values, type, row / per * l->value_rows + at - l->key_rows, to);
}

/* --- few rows --- */

/* A product in bfloat16 rounds what it decodes: NIB_DOT_PAIRS, whose rows of x stay as they are. */
static nib_dot_kind dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision)
{
    (void)w, (void)k, (void)precision;
    return type == NIB_F32 ? NIB_DOT_FLOATS : type == NIB_BF16 ? NIB_DOT_PAIRS : NIB_DOT_NONE;
}

static void dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready)
{
    (void)k;
    memcpy(ready, x, w->in * (kind == NIB_DOT_PAIRS ? sizeof(uint16_t) : sizeof(float)));
}

/* A dot's arguments but for the outputs. */
typedef struct dots {
    const latent *l;
    const nib_kernels *k;
    nib_dot_kind kind;
    size_t M;
    const void *ready;
} dots;

static void decode_row(const dots *d, const nib_weight *w, size_t row, size_t k0, size_t count,
                       float *values)
{
    uint16_t through[DEPTH];

    w->scheme->decode_tile(w, row, row + 1, k0, k0 + count, values, count);
    nib_weight_round(d->k, d->kind == NIB_DOT_PAIRS ? NIB_BF16 : NIB_F32, count, values, through);
}

/* x[k0 .. k0 + count) of each row, to x[m]. */
static void read_x(const dots *d, size_t k0, size_t count, float x[NIB_DOT_ROWS][DEPTH])
{
    size_t in = d->l->base.in;

    for (size_t m = 0; m < d->M; m++)
        if (d->kind == NIB_DOT_PAIRS)
            d->k->from_bf16(count, (const uint16_t *)d->ready + m * in + k0, x[m]);
        else memcpy(x[m], (const float *)d->ready + m * in + k0, count * sizeof(float));
}

/* Keys [at, at + count) of a head, to y. */
static void dot_keys(const dots *d, size_t head, size_t at, size_t count, float *y, size_t ldy)
{
    size_t in = d->l->base.in;
    float x[NIB_DOT_ROWS][DEPTH], values[WIDEST];

    for (size_t m = 0; m < d->M; m++) memset(y + m * ldy, 0, count * sizeof *y);
    for (size_t k0 = 0; k0 < in; k0 += DEPTH) {
        size_t depth = nib_min(DEPTH, in - k0);
        read_x(d, k0, depth, x);
        for (size_t k = 0; k < depth; k++)
            for (size_t r = 0; r < count; r += WIDEST) {
                size_t columns = nib_min(WIDEST, count - r);
                decode_row(d, d->l->keys, head * in + k0 + k, at + r, columns, values);
                for (size_t m = 0; m < d->M; m++)
                    d->k->axpy(columns, x[m][k], values, y + m * ldy + r);
            }
    }
}

/* Values, stored rows [row, row + count), to y. */
static void dot_values(const dots *d, size_t row, size_t count, float *y, size_t ldy)
{
    size_t in = d->l->base.in;
    float x[NIB_DOT_ROWS][DEPTH], values[DEPTH];

    for (size_t m = 0; m < d->M; m++) memset(y + m * ldy, 0, count * sizeof *y);
    for (size_t k0 = 0; k0 < in; k0 += DEPTH) {
        size_t depth = nib_min(DEPTH, in - k0);
        read_x(d, k0, depth, x);
        for (size_t r = 0; r < count; r++) {
            decode_row(d, d->l->values, row + r, k0, depth, values);
            for (size_t m = 0; m < d->M; m++) y[m * ldy + r] += d->k->dot(depth, x[m], values);
        }
    }
}

static void dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    const latent *l = of(w);
    const dots d = { l, k, kind, M, ready };
    size_t per = l->key_rows + l->value_rows, count;

    for (size_t r = r0; r < r1; r += count) {
        size_t head = r / per, at = r % per;
        count = nib_min(r1 - r, (at < l->key_rows ? l->key_rows : per) - at);
        if (at < l->key_rows) dot_keys(&d, head, at, count, y + r - r0, ldy);
        else
            dot_values(&d, head * l->value_rows + at - l->key_rows, count, y + r - r0, ldy);
    }
}

/* Its form is that of the values, which describes, parses and encodes for it. */
static const nib_scheme scheme = {
    .name = "latent", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .finite = finite, .dot_kind = dot_kind, .dot_ready = dot_ready, .dot = dot,
    .block_row = block_row,
};

nib_status nib_weight_latent(nib_ctx *ctx, nib_weight *keys, nib_weight *values, size_t heads,
                             nib_weight **w, nib_error *err)
{
    latent *made = nib_new(ctx, sizeof *made);

    assert(heads && keys->out == heads * values->in && values->out % heads == 0);
    if (!made)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory",
                        heads * keys->in + values->out, values->in);
    *made = (latent){ .base = *values, .keys = keys, .values = values, .key_rows = keys->in,
                      .value_rows = values->out / heads };
    made->base.scheme = &scheme;
    made->base.out = heads * keys->in + values->out;
    made->base.bytes = keys->bytes + values->bytes;
    made->base.owned_bytes = keys->owned_bytes + values->owned_bytes;
    made->base.source = keys->source; /* the tensor that binding knows of both */
    *w = &made->base;
    return NIB_OK;
}
