/* latent.c - DeepSeek's kv_b as GGUF holds it, without a copy: of each head the keys and the values
 * are rows of one matrix [heads (keys + values), in], and there they are two tensors, the keys
 * turned, [heads, in, keys], and [heads, values, in].
 *
 * Products of many rows decode panels; those of few rows have no way of their own, as keys would
 * have to be read across the blocks that they are stored in. */
#include "quant/stored.h"

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

/* Its form is that of the values, which describes, parses and encodes for it. */
static const nib_scheme scheme = {
    .name = "latent", .decode_tile = decode_tile, .destroy = destroy, .form = form,
    .finite = finite, .block_row = block_row,
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
