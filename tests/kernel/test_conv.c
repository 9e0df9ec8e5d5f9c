/* test_conv.c - the rows of a convolution: every variant against the reference, and the slope
 * against differences, at sizes around the vectors' width, in guarded buffers. */
#include <math.h>

#include "variants.h"

enum { TAPS = 5, STRIDE = 70 };

static nib_conv_args random_args(nib_dtype in, nib_dtype out, size_t width, size_t taps, int how)
{
    nib_conv_args a = { .width = width, .taps = taps, .stride = STRIDE, .silu = how & 1,
                        .in = in, .out = out };

    /* the last tap's row is no longer than the channels */
    a.w = test_floats((taps - 1) * STRIDE + width, 1);
    if (how & 2) a.bias = test_floats(width, 1);
    for (size_t j = 0; j < taps; j++)
        if (j + 1 == taps || (size_t)how / 4 <= j) a.rows[j] = test_values(in, width, 2);
    return a;
}

static void check(const nib_kernels *k, const char *name, nib_dtype in, nib_dtype out,
                  size_t width, int how)
{
    size_t kept = test_guarded_count();
    nib_conv_args a = random_args(in, out, width, 1 + width % TAPS, how);
    nib_kernels ref = nib_kernels_for(0);
    float near = out == NIB_F32 ? 1e-5f : 0x1p-7f;
    void *want = test_values(out, width, 1), *y = test_values(out, width, 0);
    void *dy = test_values(in, width, 1);
    float *dz_want = test_floats(width, 0), *dz = test_floats(width, 0);

    memcpy(y, want, width * nib_dtype_bytes(out));
    for (int add = 1; add >= 0; add--) {
        ref.conv(&a, want, add);
        k->conv(&a, y, add);
        CHECK(test_worst(out, y, want, width) < near,
              "%s: %zu channels, types %d %d, how %d, add %d", name, width, (int)in, (int)out, how,
              add);
    }
    ref.conv_slope(&a, dy, dz_want);
    k->conv_slope(&a, dy, dz);
    CHECK(test_worst(NIB_F32, dz, dz_want, width) < 1e-5f, "%s: slope of %zu channels, type %d",
          name, width, (int)in);
    test_free_guarded(kept);
}

static void test_variants(void)
{
    static const nib_dtype types[] = { NIB_F32, NIB_BF16 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t i = 0; i < 2; i++)
            for (size_t j = 0; j < 2; j++)
                for (size_t width = 1; width <= 67; width += width < 20 ? 1 : 9)
                    for (int how = 0; how < 16; how++)
                        check(&k, name, types[i], types[j], width, how);
}

/* A case by hand: 2 taps of 3 channels, silu; the first row has none before it. */
static void test_numbers(void)
{
    static const float w[] = { 0.5f, -1, 2, 1, 1, -0.5f }, b[] = { 0.25f, 0, -1 };
    static const float before[] = { 2, 1, -1 }, row[] = { 1, -2, 4 };
    static const float plain[] = { 1.25f, -2, -3 }, whole[] = { 2.25f, -3, -5 };
    nib_kernels k = nib_kernels_for(nib_cpu_detect());
    nib_conv_args a = { .width = 3, .taps = 2, .stride = 3, .w = w, .bias = b, .in = NIB_F32,
                        .out = NIB_F32, .rows = { NULL, row } };
    float y[3];

    k.conv(&a, y, false);
    for (int i = 0; i < 3; i++) CHECK(y[i] == plain[i], "%g", (double)y[i]);
    a.rows[0] = before;
    k.conv(&a, y, false);
    for (int i = 0; i < 3; i++) CHECK(y[i] == whole[i], "%g", (double)y[i]);
    a.silu = true;
    k.conv(&a, y, false);
    CHECK(fabsf(y[0] - 2.0354f) < 1e-4f && fabsf(y[1] + 0.14228f) < 1e-5f, "%g %g", (double)y[0],
          (double)y[1]);
}

static void test_slope(void)
{
    enum { WIDTH = 21 };
    nib_conv_args a = random_args(NIB_F32, NIB_F32, WIDTH, 4, 3);
    float *bias = test_floats(WIDTH, 1), *dy = test_floats(WIDTH, 0), *dz = test_floats(WIDTH, 0);
    float up[WIDTH], down[WIDTH];
    const float h = 0x1p-7f;
    nib_kernels k = nib_kernels_for(nib_cpu_detect());

    a.bias = bias;
    for (size_t i = 0; i < WIDTH; i++) dy[i] = 1, bias[i] += h;
    k.conv(&a, up, false);
    for (size_t i = 0; i < WIDTH; i++) bias[i] -= 2 * h;
    k.conv(&a, down, false);
    for (size_t i = 0; i < WIDTH; i++) bias[i] += h;
    k.conv_slope(&a, dy, dz);
    for (size_t i = 0; i < WIDTH; i++)
        CHECK(fabsf((up[i] - down[i]) / (2 * h) - dz[i]) < 1e-3f, "channel %zu: %g, slope %g", i,
              (double)((up[i] - down[i]) / (2 * h)), (double)dz[i]);
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants }, { "numbers", test_numbers },
                                       { "slope", test_slope } };
    return test_main("conv", cases, NIB_COUNT(cases));
}
