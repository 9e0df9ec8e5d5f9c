/* test_wkv.c - RWKV's averages: every variant against the reference, keys far apart, in guarded
 * buffers; in pieces as at once; and against the definition and its gradient, summed in double. */
#include <math.h>
#include <string.h>

#include "variants.h"

enum { ROOM = NIB_WKV_CHANNELS };

static void clear(float state[3 * ROOM])
{
    for (size_t c = 0; c < ROOM; c++)
        state[c] = state[ROOM + c] = 0, state[2 * ROOM + c] = NIB_WKV_NONE;
}

static nib_wkv_args random_args(nib_dtype type, size_t tokens, size_t channels, float size)
{
    float *decay = test_floats(channels, 1);

    for (size_t c = 0; c < channels; c++) decay[c] = -expf(decay[c] - 1);
    return (nib_wkv_args){ .type = type, .tokens = tokens, .channels = channels, .decay = decay,
                           .first = test_floats(channels, 1), .k_stride = channels,
                           .v_stride = channels, .y_stride = channels,
                           .k = test_values(type, tokens * channels, size),
                           .v = test_values(type, tokens * channels, 1),
                           .dy = test_values(type, tokens * channels, 1) };
}

static void check(const nib_kernels *k, const char *name, nib_dtype type, size_t tokens,
                  size_t channels, float size)
{
    nib_kernels ref = nib_kernels_for(0);
    nib_wkv_args a = random_args(type, tokens, channels, size);
    size_t n = tokens * channels, first = tokens / 2;
    float state[3 * ROOM], near = type == NIB_F32 ? 2e-5f : 0x1p-6f;
    float *scratch = test_floats(nib_wkv_scratch(tokens), 0);
    void *out[2][3], *pieces = test_values(type, n, 0);

    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 3; j++) out[i][j] = test_values(type, n, 0);
        a.y = out[i][0], a.dk = out[i][1], a.dv = out[i][2];
        a.add_dk = i == 0 && tokens % 2; /* to zeros */
        clear(state);
        (i ? *k : ref).wkv(&a, state);
        (i ? *k : ref).wkv_back(&a, scratch);
    }
    for (int j = 0; j < 3; j++)
        CHECK(test_worst(type, out[1][j], out[0][j], n) < near,
              "%s: %zu tokens of %zu channels, type %d, size %g, result %d", name, tokens, channels,
              (int)type, (double)size, j);
    clear(state);
    a.y = pieces;
    a.tokens = first;
    k->wkv(&a, state);
    a.tokens = tokens - first;
    a.k = (const char *)a.k + first * channels * nib_dtype_bytes(type);
    a.v = (const char *)a.v + first * channels * nib_dtype_bytes(type);
    a.y = (char *)pieces + first * channels * nib_dtype_bytes(type);
    k->wkv(&a, state);
    CHECK(memcmp(pieces, out[1][0], n * nib_dtype_bytes(type)) == 0,
          "%s: %zu tokens in pieces have other bits", name, tokens);
}

static void test_variants(void)
{
    static const size_t tokens[] = { 1, 2, 9, 150 }, channels[] = { 1, 7, 16, 29, 64 };
    static const float sizes[] = { 1, 30, 200 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(tokens); t++)
            for (size_t c = 0; c < NIB_COUNT(channels); c++)
                for (size_t s = 0; s < NIB_COUNT(sizes); s++)
                    check(&k, name, (t + c + s) % 3 ? NIB_F32 : NIB_BF16, tokens[t], channels[c],
                          sizes[s]);
}

/* More tokens than two chunks; channels of which some forget little. */
enum { LONG = 2 * NIB_WKV_CHUNK + 9, FEW = 5 };

/* What token i counts in the average of token t. */
static double weight_of(const nib_wkv_args *a, size_t c, size_t t, size_t i)
{
    double e = i < t ? (double)(t - 1 - i) * (double)a->decay[c] : (double)a->first[c];

    return exp(e + (double)((const float *)a->k)[i * FEW + c]);
}

static void check_channel(const nib_wkv_args *a, size_t c, const char *name)
{
    const float *v = a->v, *y = a->y, *dy = a->dy;
    double dk[LONG] = { 0 }, dv[LONG] = { 0 };

    for (size_t t = 0; t < LONG; t++) {
        double num = 0, den = 0, d = (double)dy[t * FEW + c];
        for (size_t i = 0; i <= t; i++) {
            num += weight_of(a, c, t, i) * (double)v[i * FEW + c];
            den += weight_of(a, c, t, i);
        }
        CHECK(fabs(num / den - (double)y[t * FEW + c]) < 2e-6, "%s: token %zu: %g, expected %g",
              name, t, (double)y[t * FEW + c], num / den);
        for (size_t i = 0; i <= t; i++) {
            double counts = weight_of(a, c, t, i) / den * d;
            dv[i] += counts;
            dk[i] += counts * ((double)v[i * FEW + c] - num / den);
        }
    }
    for (size_t t = 0; t < LONG; t++) {
        double k = (double)((const float *)a->dk)[t * FEW + c],
               w = (double)((const float *)a->dv)[t * FEW + c];
        CHECK(fabs(k - dk[t]) < 2e-5 && fabs(w - dv[t]) < 2e-5,
              "%s: token %zu: gradients %g and %g, expected %g and %g", name, t, k, w, dk[t],
              dv[t]);
    }
}

static void test_definition(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));) {
        nib_wkv_args a = random_args(NIB_F32, LONG, FEW, 2);
        float state[3 * ROOM], *decay = test_floats(FEW, 0);

        for (size_t c = 0; c < FEW; c++) decay[c] = c % 2 ? a.decay[c] : -0.01f;
        a.decay = decay;
        a.y = test_floats(LONG * FEW, 0);
        a.dk = test_floats(LONG * FEW, 0);
        a.dv = test_floats(LONG * FEW, 0);
        clear(state);
        k.wkv(&a, state);
        k.wkv_back(&a, test_floats(nib_wkv_scratch(LONG), 0));
        for (size_t c = 0; c < FEW; c++) check_channel(&a, c, name);
    }
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants },
                                       { "definition", test_definition } };
    return test_main("wkv", cases, NIB_COUNT(cases));
}
