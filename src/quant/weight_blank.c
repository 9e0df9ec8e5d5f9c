/* weight_blank.c - weights that are not there: shapes and sizes without data, for planning.
 *
 * A blank weight knows its shape, the form it is to have and the bytes it would take, and decodes
 * to random values; the graph, the adapters and the memory plan are made over it as over a real
 * one. */
#include "quant/weight.h"

typedef struct blank {
    nib_weight base;
    nib_form form;
} blank;

/* splitmix64 (Steele, Lea, Flood 2014): the n-th number of a stream. */
static uint64_t number(uint64_t seed, uint64_t n)
{
    uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Four values a number, even over +-0.035: the deviation of 0.02 that models are initialised
 * with. */
static void decode_random(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1,
                          float *dst, size_t ld)
{
    for (size_t r = r0; r < r1; r++) {
        uint64_t seed = r * 0x2545f4914f6cdd1du + w->out, bits = 0;
        float *row = dst + (r - r0) * ld;
        for (size_t k = k0; k < k1; k++) {
            if (k == k0 || k % 4 == 0) bits = number(seed, k / 4) >> 16 * (k % 4);
            row[k - k0] = (float)(int16_t)(bits & 0xffff) * (0.035f / 32768);
            bits >>= 16;
        }
    }
}

void nib_random_bytes(size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t bits = number(n, i);
        memcpy(to + i, &bits, nib_min(n - i, sizeof bits));
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w) { nib_free(ctx, w); }

static nib_form form(const nib_weight *w) { return ((const blank *)w)->form; }

static const nib_scheme scheme = { .name = "blank", .decode_tile = decode_random,
                                   .destroy = destroy, .form = form };

bool nib_weight_is_blank(const nib_weight *w) { return w->scheme == &scheme; }

nib_status nib_weight_blank(nib_ctx *ctx, const nib_form *f, size_t out, size_t in, nib_weight **w,
                            nib_error *err)
{
    uint64_t bytes, floats;
    blank *made;

    if (!f->scheme->bytes(f, out, in, &bytes) || !nib_mul_u64(out, in, &floats) ||
        floats > SIZE_MAX / 8)
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", out, in);
    made = nib_new(ctx, sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    *made = (blank){ .base = { .scheme = &scheme, .out = out, .in = in, .bytes = (size_t)bytes,
                               .dtype = f->dtype, .source = "" },
                     .form = *f };
    *w = &made->base;
    return NIB_OK;
}

nib_status nib_weight_fill(nib_ctx *ctx, const nib_weight *of, nib_weight **w, nib_error *err)
{
    nib_form f = form(of);

    assert(nib_weight_is_blank(of));
    if (!f.scheme->encode && f.scheme->random)
        return f.scheme->random(ctx, &f, of->out, of->in, w, err);
    return nib_form_encode(ctx, &f, of, w, err);
}
