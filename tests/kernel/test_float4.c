/* test_float4.c - E2M1 under shared scales: values of the format's definition; every variant
 * against the reference, decoded bit for bit, dots to the order of their sums. */
#include <math.h>
#include <string.h>

#include "variants.h"

enum { MOST = 320 };

static float halves[256];

static void make_halves(bool mx)
{
    for (unsigned e = 0; e < 256; e++)
        halves[e] = mx ? nib_e8m0_half((uint8_t)e) : 0.0171f * (float)(e % 61 + 1);
}

/* formats-quant.md 3.1: two codes a byte, low nibble first. */
static void test_definition(void)
{
    static const uint8_t codes[16] = { 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
                                       0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe };
    static const float values[16] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6,
                                      0, -0.5f, -1, -1.5f, -2, -3, -4, -6 };
    static const struct { uint8_t scale; float size; } scales[] = {
        { 127, 1 }, { 128, 2 }, { 0, 0x1p-127f }, { 1, 0x1p-126f }, { 2, 0x1p-125f },
        { 250, 0x1p+123f },
    };
    nib_float4_row r = { .codes = codes, .halves = halves, .group = 32 };
    float got[32];

    make_halves(true);
    for (size_t s = 0; s < NIB_COUNT(scales); s++) {
        r.scales = &scales[s].scale;
        nib_float4_decode_ref(&r, 32, got);
        for (size_t i = 0; i < 32; i++)
            CHECK(got[i] == values[i % 16] * scales[s].size, "code %zu, scale %u: %g", i % 16,
                  scales[s].scale, (double)got[i]);
    }
}

/* The block of ggml with the same codes has the same values, in its own order. */
static void test_block(void)
{
    uint8_t block[17], codes[16], scale;
    float theirs[32], ours[32];

    make_halves(true);
    for (int n = 0; n < 20; n++) {
        block[0] = scale = (uint8_t)(test_rand() % 255);
        for (size_t i = 0; i < 16; i++) codes[i] = (uint8_t)test_rand();
        for (size_t i = 0; i < 32; i++) { /* theirs: nibble i / 16 of byte i % 16 */
            uint8_t code = codes[i / 2] >> i % 2 * 4 & 15;
            if (i < 16) block[1 + i] = code;
            else block[1 + i - 16] |= (uint8_t)(code << 4);
        }
        nib_blocks_decode_ref(NIB_BLOCK_MXFP4, 1, block, theirs);
        nib_float4_decode_ref(&(nib_float4_row){ .codes = codes, .scales = &scale,
                                                 .halves = halves, .group = 32 }, 32, ours);
        CHECK(memcmp(ours, theirs, sizeof ours) == 0, "scale %u", scale);
    }
}

static void check_dots(const nib_kernels *k, const char *variant, const nib_float4_row *r, size_t n)
{
    float *x = test_floats(4 * n, 1), want[4], got[4], alone;

    nib_float4_dot_ref(r, 4, n, x, want, 1);
    for (size_t M = 1; M <= 4; M++) {
        k->float4_dot(r, M, n, x, got, 1);
        for (size_t m = 0; m < M; m++)
            CHECK(fabsf(got[m] - want[m]) <= 1e-5f * (float)n, "%s: %zu values: %g, expected %g",
                  variant, n, (double)got[m], (double)want[m]);
        k->float4_dot(r, 1, n, x + (M - 1) * n, &alone, 1);
        CHECK(memcmp(&alone, &got[M - 1], sizeof alone) == 0, "%s: row %zu of %zu has other bits "
              "than alone", variant, M - 1, M);
    }
}

/* x loses up to 2^-16 of the greatest of its 32. */
static void check_fixed(const nib_kernels *k, const char *variant, nib_float4_row r, size_t n)
{
    size_t ld = nib_fixed_bytes(n);
    float *x = test_floats(4 * n, 1), want[4], got[4], alone;
    char *ready = test_guarded(4 * ld);
    nib_fixed_x all, one;

    r.round = false;
    nib_float4_dot_ref(&r, 4, n, x, want, 1);
    for (size_t m = 0; m < 4; m++) k->arrange_fixed(n, NIB_FIXED_TURNS4, x + m * n, ready + m * ld);
    all = nib_fixed_x_at(ready, n, 0, ld);
    k->float4_dot_fixed(&r, 4, n, &all, got, 1);
    for (size_t m = 0; m < 4; m++) {
        CHECK(fabsf(got[m] - want[m]) <= 2e-4f * (float)n, "%s: %zu values: %g, expected %g",
              variant, n, (double)got[m], (double)want[m]);
        one = nib_fixed_row(&all, m);
        k->float4_dot_fixed(&r, 1, n, &one, &alone, 1);
        CHECK(memcmp(&alone, &got[m], sizeof alone) == 0, "%s: row %zu alone", variant, m);
    }
}

/* A scale that is subnormal, great, negative or no number among others: of the second of ten
 * groups, or of the last; powers, or E4M3 times a number. */
static void check_scale(const nib_kernels *k, const char *variant, bool powers, uint8_t scale,
                        size_t at)
{
    enum { N = 320 };
    const float unit = 0.0171f;
    const nib_float8_scale by = { .by = unit, .round = NIB_F32 };
    size_t ld = nib_fixed_bytes(N);
    uint8_t *codes = test_guarded(N / 2), *scales = test_guarded(N / 32), all[256];
    float *x = test_floats(N, 1), got, want, size = 0;
    char *ready = test_guarded(ld);
    nib_float4_row r = { .codes = codes, .scales = scales, .halves = halves, .group = 32,
                         .powers = powers, .e4m3 = powers ? 0 : unit };
    nib_fixed_x fixed;

    make_halves(true);
    halves[255] = NAN;
    for (size_t i = 0; i < sizeof all; i++) all[i] = (uint8_t)i;
    if (!powers) nib_float8_decode_ref(sizeof all, all, by, halves);
    memset(codes, 0x77, N / 2); /* 6 */
    memset(scales, 100, N / 32);
    scales[at] = scale;
    for (size_t i = 0; i < N; i++) {
        x[i] = 1;
        size += fabsf(12 * halves[scales[i / 32]]);
    }
    k->arrange_fixed(N, NIB_FIXED_TURNS4, x, ready);
    fixed = nib_fixed_x_at(ready, N, 0, ld);
    k->float4_dot_fixed(&r, 1, N, &fixed, &got, 1);
    nib_float4_dot_ref(&r, 1, N, x, &want, 1);
    if (isnan(want)) CHECK(isnan(got), "%s: scale %u: %g", variant, scale, (double)got);
    else CHECK(fabsf(got - want) <= 1e-5f * size, "%s: scale %u: %g, expected %g", variant,
               scale, (double)got, (double)want);
}

static void check_variant(const nib_kernels *k, const char *variant)
{
    for (unsigned group = 16; group <= 32; group += 16)
        for (int mx = 0; mx < 2; mx++)
            for (size_t n = group; n <= MOST; n += group) {
                nib_float4_row r = { .halves = halves, .group = group, .round = !mx,
                                     .powers = mx };
                uint8_t *codes = test_guarded(n / 2), *scales = test_guarded(n / group);
                float *want = test_guarded(n * sizeof *want), *got = test_guarded(n * sizeof *got);

                make_halves(mx);
                for (size_t i = 0; i < n / 2; i++) codes[i] = (uint8_t)test_rand();
                for (size_t i = 0; i < n / group; i++) scales[i] = (uint8_t)(test_rand() % 255);
                r.codes = codes;
                r.scales = scales;
                nib_float4_decode_ref(&r, n, want);
                k->float4_decode(&r, n, got);
                CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s: %zu in groups of %u", variant,
                      n, group);
                for (size_t i = 0; i < n / group; i++) scales[i] = (uint8_t)(120 + i % 12);
                check_dots(k, variant, &r, n);
                if (n % 64 == 0) check_fixed(k, variant, r, n);
            }
}

/* A panel of rows that lie apart. */
static void check_back(const nib_kernels *k, const char *variant, unsigned group, bool mx,
                       size_t terms)
{
    enum { CODES = 40, SCALES = 7 };
    size_t strip = terms * NIB_STRIP + 8, n = strip + terms * NIB_STRIP;
    size_t codes = (terms - 1) * CODES + NIB_PANEL / 2;
    size_t scales = (terms - 1) * SCALES + NIB_PANEL / group;
    uint8_t *c = test_guarded(codes), *s = test_guarded(scales);
    float *want = test_floats(n, 0), *got = test_floats(n, 0);
    const nib_float4_row r = { .codes = c, .scales = s, .halves = halves, .group = group,
                               .round = !mx };

    make_halves(mx);
    for (size_t i = 0; i < codes; i++) c[i] = (uint8_t)test_rand();
    for (size_t i = 0; i < scales; i++) s[i] = (uint8_t)(test_rand() % 255);
    for (int kind = 0; kind < 3; kind++) {
        if (kind == NIB_PACK_PAIRS && terms % 2) continue;
        memset(want, 0, n * sizeof *want);
        memset(got, 0, n * sizeof *got);
        nib_float4_back_ref(&r, CODES, SCALES, terms, (nib_pack_kind)kind, want, strip);
        k->float4_back(&r, CODES, SCALES, terms, (nib_pack_kind)kind, got, strip);
        CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s: panel %d of %zu rows, groups of %u",
              variant, kind, terms, group);
    }
}

static void test_panels(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned group = 16; group <= 32; group += 16)
            for (int mx = 0; mx < 2; mx++)
                for (size_t terms = 1; terms < 40; terms += terms < 4 ? 1 : 17)
                    check_back(&k, name, group, mx, terms);
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_variant(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_variant(&k, name);
}

static void check_scales(const nib_kernels *k, const char *variant)
{
    static const uint8_t powers[] = { 0, 1, 2, 127, 240, 255 };
    static const uint8_t e4m3[] = { 0, 1, 7, 8, 0x7e, 0x7f, 0x81, 0xfe, 0xff };

    for (size_t i = 0; i < 2 * NIB_COUNT(powers); i++)
        check_scale(k, variant, true, powers[i / 2], i % 2 ? 1 : 9);
    for (size_t i = 0; i < 2 * NIB_COUNT(e4m3); i++)
        check_scale(k, variant, false, e4m3[i / 2], i % 2 ? 1 : 9);
}

static void test_scales(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_scales(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_scales(&k, name);
}

int main(void)
{
    static const test_case cases[] = {
        { "definition", test_definition }, { "ggml's block of the same codes", test_block },
        { "variants", test_variants }, { "panels", test_panels }, { "scales", test_scales },
    };
    return test_main("kernel/test_float4", cases, NIB_COUNT(cases));
}
