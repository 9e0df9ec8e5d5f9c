/* test_codes4.c - decoding 4-bit codes and packing them into panels: every variant against the
 * reference bit for bit, codes at odd addresses and strides, in buffers that end at an unreadable
 * page. */
#include <math.h>
#include <string.h>

#include "variants.h"

#if NIB_ARCH_X86 /* the bfloat16 packers with their conversions emulated: only tests know them */
nib_panel4_bf16_fn nib_panel4_bf16_avx512bf16emu;
nib_panel4_back_bf16_fn nib_panel4_back_bf16_avx512bf16emu;
#endif

typedef struct packers {
    nib_kernels k;
    const char *name;
    bool flushes; /* subnormal bfloat16 become zero, as the instruction makes them */
} packers;

/* Each variant; after avx512 its kernels with the emulated conversions. */
static bool next_packers(size_t *i, bool *emulated, packers *p)
{
#if NIB_ARCH_X86
    if (*emulated) {
        *emulated = false;
        p->name = "avx512bf16emu";
        p->k.panel4_bf16 = nib_panel4_bf16_avx512bf16emu;
        p->k.panel4_back_bf16 = nib_panel4_back_bf16_avx512bf16emu;
        return true;
    }
#endif
    p->name = test_next_variant(i, &p->k);
    if (!p->name) return false;
    *emulated = strcmp(p->name, "avx512") == 0;
    p->flushes = strcmp(p->name, "avx512bf16") == 0 || strcmp(p->name, "amx") == 0;
    return true;
}

static uint8_t *random_codes(size_t bytes)
{
    uint8_t *codes = test_guarded(bytes);
    for (size_t i = 0; i < bytes; i++) codes[i] = (uint8_t)(test_rand() >> 9);
    return codes;
}

static float *random_table(void)
{
    float *table = test_floats(16, 1);
    table[7] = 0;
    table[15] = 1;
    return table;
}

/* Scales of every size; one each is NaN, infinite, zero, and makes subnormal values. */
static float *random_scales(size_t n)
{
    static const float odd[] = { NAN, INFINITY, 0, 0x1p-127f };
    float *scales = test_floats(n, 1);

    for (size_t i = 0; i < n; i++)
        scales[i] = ldexpf(fabsf(scales[i]), (int)(test_rand() % 60) - 30);
    for (size_t i = 0; i < NIB_COUNT(odd) && n >= 32; i++) scales[test_rand() % n] = odd[i];
    return scales;
}

static bool same_bf16(const uint16_t *got, const uint16_t *want, size_t n, bool flushes)
{
    for (size_t i = 0; i < n; i++) {
        bool small = (want[i] & 0x7f80) == 0;
        if (got[i] != (flushes && small ? want[i] & 0x8000 : want[i])) return false;
    }
    return true;
}

static void check_forward(const packers *p, size_t depth, size_t block, size_t spare)
{
    size_t stride = depth / 2 + spare, strip = (depth + spare) * NIB_STRIP,
           n = strip + depth * NIB_STRIP;
    nib_codes4 c = { random_codes((NIB_PANEL - 1) * stride + depth / 2), stride,
                     random_scales(nib_ceil_div(depth, block) * NIB_PANEL), block, random_table() };
    float *want = test_floats(n, 0), *got = test_floats(n, 0);
    uint16_t *want16 = test_values(NIB_BF16, n, 0), *got16 = test_values(NIB_BF16, n, 0);

    for (int rounded = 0; rounded < 2; rounded++) {
        nib_panel4_f32_ref(&c, depth, rounded, want, strip);
        p->k.panel4_f32(&c, depth, rounded, got, strip);
        CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s: %zu values, blocks of %zu, rounded %d",
              p->name, depth, block, rounded);
    }
    nib_panel4_bf16_ref(&c, depth, want16, strip);
    p->k.panel4_bf16(&c, depth, got16, strip);
    CHECK(same_bf16(got16, want16, n, p->flushes), "%s: pairs of %zu values, blocks of %zu",
          p->name, depth, block);
}

static void check_backward(const packers *p, size_t rows, size_t spare)
{
    size_t stride = NIB_PANEL / 2 + spare, strip = (rows + spare) * NIB_STRIP,
           n = strip + rows * NIB_STRIP;
    nib_codes4 c = { random_codes((rows - 1) * stride + NIB_PANEL / 2), stride, random_scales(rows),
                     64, random_table() };
    float *want = test_floats(n, 0), *got = test_floats(n, 0);
    uint16_t *want16 = test_values(NIB_BF16, n, 0), *got16 = test_values(NIB_BF16, n, 0);

    for (int rounded = 0; rounded < 2; rounded++) {
        nib_panel4_back_f32_ref(&c, rows, rounded, want, strip);
        p->k.panel4_back_f32(&c, rows, rounded, got, strip);
        CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s: %zu rows backward, rounded %d", p->name,
              rows, rounded);
    }
    if (rows % 2) return;
    nib_panel4_back_bf16_ref(&c, rows, want16, strip);
    p->k.panel4_back_bf16(&c, rows, got16, strip);
    CHECK(same_bf16(got16, want16, n, p->flushes), "%s: pairs of %zu rows backward", p->name, rows);
}

static void test_panels(void)
{
    static const size_t spares[] = { 0, 1, 7, 16, 2031 };
    bool emulated = false;
    packers p;

    for (size_t level = 0; next_packers(&level, &emulated, &p);)
        for (size_t i = 0; i < NIB_COUNT(spares); i++) {
            for (size_t depth = 32; depth <= 1024; depth = depth < 160 ? depth + 32 : 2 * depth)
                for (size_t block = 32; block <= 256; block *= 2)
                    check_forward(&p, depth, block, spares[i]);
            for (size_t rows = 1; rows <= 66; rows += rows < 6 ? 1 : 15)
                check_backward(&p, rows, spares[i]);
        }
}

/* Any number of codes, the last byte half used among them. */
static void test_decode(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 0; n < 100; n++) {
            uint8_t *codes = random_codes((n + 1) / 2);
            float *table = random_table(), *want = test_floats(n, 0), *got = test_floats(n, 0);

            nib_decode4_ref(codes, n, table, want);
            k.decode4(codes, n, table, got);
            CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s decodes %zu", name, n);
        }
}

/* Encoding values of each type; blocks of zeros, with NaN and with infinity among them. */
static void test_encode(void)
{
    static const nib_dtype types[] = { NIB_F32, NIB_BF16, NIB_F16 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(types); t++)
            for (unsigned blocksize = 32; blocksize <= 256; blocksize *= 2)
                for (int fp4 = 0; fp4 < 2; fp4++) {
                    size_t blocks = 6, n = blocks * blocksize;
                    float *x = test_floats(n, 3), *scale = test_floats(blocks, 0),
                          *scale_want = test_floats(blocks, 0);
                    void *typed = test_guarded(n * nib_dtype_bytes(types[t]));
                    uint8_t *codes = test_guarded(n / 2), *want = test_guarded(n / 2);

                    memset(x + 2 * blocksize, 0, blocksize * sizeof *x);
                    x[3 * blocksize + 5] = NAN;
                    x[5 * blocksize - 1] = -INFINITY;
                    nib_convert(typed, types[t], x, NIB_F32, n);
                    nib_encode4_ref(want, scale_want, typed, types[t], blocks, blocksize, fp4);
                    k.encode4(codes, scale, typed, types[t], blocks, blocksize, fp4);
                    CHECK(memcmp(codes, want, n / 2) == 0 &&
                              memcmp(scale, scale_want, blocks * sizeof *scale) == 0,
                          "%s encodes type %d, blocks of %u, fp4 %d", name, (int)types[t],
                          blocksize, fp4);
                }
}

int main(void)
{
    static const test_case cases[] = { { "panels", test_panels },
                                       { "decode", test_decode },
                                       { "encode", test_encode } };
    return test_main("codes4", cases, NIB_COUNT(cases));
}
