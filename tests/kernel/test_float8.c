/* test_float8.c - E4M3: values of the format's definition, and every variant against the reference,
 * bit for bit but for the payload of NaN: it is one product a value, no sum to reorder. */
#include <math.h>
#include <string.h>

#include "variants.h"

/* formats-quant.md 1.1, checked there against torch. */
static void test_definition(void)
{
    static const struct { uint8_t code; float value; } known[] = {
        { 0x00, 0 }, { 0x01, 0x1p-9f }, { 0x07, 0x7p-9f }, { 0x08, 0x1p-6f }, { 0x30, 0.5f },
        { 0x38, 1 }, { 0x3c, 1.5f }, { 0x40, 2 }, { 0x77, 240 }, { 0x7e, 448 }, { 0xfe, -448 },
        { 0x81, -0x1p-9f },
    };
    static const uint8_t nan[2] = { 0x7f, 0xff };
    nib_float8_scale one = { .by = 1, .round = NIB_F32 };
    float got[2];

    for (size_t i = 0; i < NIB_COUNT(known); i++) {
        nib_float8_decode_ref(1, &known[i].code, one, got);
        CHECK(got[0] == known[i].value, "%#x is %g, expected %g", known[i].code, (double)got[0],
              (double)known[i].value);
    }
    nib_float8_decode_ref(2, nan, one, got);
    CHECK(isnan(got[0]) && isnan(got[1]));
    nib_float8_decode_ref(1, &(uint8_t){ 0x80 }, one, got);
    CHECK(got[0] == 0 && signbit(got[0]), "0x80 is -0");
}

static void check_run(const nib_kernels *k, const char *variant, const uint8_t *codes, size_t n,
                      nib_float8_scale scale)
{
    float *want = test_guarded(n * sizeof *want), *got = test_guarded(n * sizeof *got);

    nib_float8_decode_ref(n, codes, scale, want);
    k->float8_decode(n, codes, scale, got);
    for (size_t i = 0; i < n; i++)
        CHECK(memcmp(&got[i], &want[i], sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i])),
              "%s: code %#x %s %g in %s is %a, expected %a", variant, codes[i],
              scale.divide ? "/" : "*", (double)scale.by, nib_dtype_name(scale.round),
              (double)got[i], (double)want[i]);
}

static void check_variant(const nib_kernels *k, const char *variant)
{
    static const nib_dtype types[] = { NIB_F32, NIB_BF16, NIB_F16 };
    static const float scales[] = { 1, 0.0123f, 7e-6f, 3e-38f, 12345.6f, 0x1p-127f };
    uint8_t *all = test_guarded(256);

    for (size_t i = 0; i < 256; i++) all[i] = (uint8_t)i;
    for (size_t t = 0; t < NIB_COUNT(types); t++)
        for (size_t s = 0; s < NIB_COUNT(scales); s++)
            for (int divide = 0; divide < 2; divide++)
                check_run(k, variant, all, 256,
                          (nib_float8_scale){ scales[s], divide != 0, types[t] });
    for (size_t n = 1; n < 40; n++) {
        uint8_t *codes = test_guarded(n);
        for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)test_rand();
        check_run(k, variant, codes, n, (nib_float8_scale){ 0.3f, false, NIB_F32 });
    }
}

/* A panel of rows whose scales differ: all codes, NaN among them. */
static void check_back(const nib_kernels *k, const char *variant, nib_dtype round, bool divide,
                       size_t terms)
{
    enum { STRIDE = 45 };
    size_t strip = terms * NIB_STRIP + 8, n = strip + terms * NIB_STRIP;
    uint8_t *codes = test_guarded((terms - 1) * STRIDE + NIB_PANEL);
    float *by = test_floats(terms, 0.1f), *want = test_floats(n, 0), *got = test_floats(n, 0);
    const nib_float8_column c = { codes, STRIDE, by, divide, round };

    for (size_t i = 0; i < (terms - 1) * STRIDE + NIB_PANEL; i++)
        codes[i] = (uint8_t)test_rand();
    for (int kind = 0; kind < 3; kind++) {
        if (kind == NIB_PACK_PAIRS && terms % 2) continue;
        memset(want, 0, n * sizeof *want);
        memset(got, 0, n * sizeof *got);
        nib_float8_back_ref(&c, terms, (nib_pack_kind)kind, want, strip);
        k->float8_back(&c, terms, (nib_pack_kind)kind, got, strip);
        for (size_t i = 0; i < n; i++) {
            const uint16_t *g = (const uint16_t *)(const void *)&got[i],
                           *w = (const uint16_t *)(const void *)&want[i];
            bool nan = isnan(got[i]) && isnan(want[i]), same = g[1] == w[1] && g[0] == w[0];
            if (kind == NIB_PACK_PAIRS) {
                nan = true;
                for (int h = 0; h < 2; h++)
                    nan &= g[h] == w[h] ||
                           (isnan(nib_bf16_to_f32(g[h])) && isnan(nib_bf16_to_f32(w[h])));
            }
            CHECK(same || nan, "%s: panel %d of %zu rows, value %zu is %a, expected %a", variant,
                  kind, terms, i, (double)got[i], (double)want[i]);
        }
    }
}

static void check_panels(const nib_kernels *k, const char *variant)
{
    static const nib_dtype types[] = { NIB_F32, NIB_BF16, NIB_F16 };

    for (size_t t = 0; t < NIB_COUNT(types); t++)
        for (int divide = 0; divide < 2; divide++)
            for (size_t terms = 1; terms < 40; terms += terms < 4 ? 1 : 17)
                check_back(k, variant, types[t], divide != 0, terms);
}

static void test_panels(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_panels(&k, name);
}

/* Sums in another order, and the same bits for a row alone. */
static void check_dot(const nib_kernels *k, const char *variant, size_t n, size_t columns, bool nan)
{
    size_t runs = nib_ceil_div(n, columns);
    uint8_t *codes = test_guarded(n);
    float *x = test_floats(4 * n, 1), *by = test_floats(runs, 0.1f), *y = test_guarded(10 * 4), one;
    const nib_float8_row row = { codes, n, columns, by };

    for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(test_rand() & 0xf7);
    if (nan) codes[n - 3] = 0xff;
    k->float8_dot(&row, 4, x, y, 3);
    for (size_t m = 0; m < 4; m++) {
        double sum = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
            float v;
            nib_float8_decode_ref(1, &codes[i], (nib_float8_scale){ 1, false, NIB_F32 }, &v);
            sum += (double)v * (double)by[i / columns] * (double)x[m * n + i];
            size += fabs((double)v * (double)by[i / columns]);
        }
        if (nan) CHECK(isnan(y[3 * m]), "%s: a code is NaN, the sum %g", variant, (double)y[3 * m]);
        else CHECK(fabs((double)y[3 * m] - sum) <= 1e-6 * size, "%s: %zu codes: %g, expected %g",
                   variant, n, (double)y[3 * m], sum);
        k->float8_dot(&row, 1, x + m * n, &one, 1);
        CHECK(nan || memcmp(&one, &y[3 * m], sizeof one) == 0, "%s: row %zu alone", variant, m);
    }
}

static void check_dots(const nib_kernels *k, const char *variant)
{
    check_dot(k, variant, 256, 128, false);
    check_dot(k, variant, 160, 128, false);
    check_dot(k, variant, 96, 96, false);
    check_dot(k, variant, 64, 32, true);
}

static void test_dots(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_dots(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_dots(&k, name);
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_variant(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_variant(&k, name);
}

int main(void)
{
    static const test_case cases[] = {
        { "definition", test_definition }, { "variants", test_variants },
        { "panels", test_panels }, { "dots", test_dots },
    };
    return test_main("kernel/test_float8", cases, NIB_COUNT(cases));
}
