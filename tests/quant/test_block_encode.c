/* test_block_encode.c - blocks of rows of values equal those of ggml's own quantizers, byte for
 * byte (tests/golden/make/encode_golden.py); what they decode to is near the values. */
#include <math.h>
#include <string.h>

#include "format/safetensors.h"
#include "kernel/kernels.h"
#include "quant/block_encode.h"
#include "variants.h"

static const char *const types[] = { "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K",
                                     "Q6_K", "IQ4_NL", "MXFP4" };

/* Rows of `width` values from `first` on; weights NULL: without importances. */
static void check_type(const nib_kernels *k, const nib_tensor *values, const nib_tensor *weights,
                       size_t first, size_t width, const nib_tensor *want, const char *type)
{
    const nib_block_layout *l;
    nib_block_kind kind;
    size_t each, bytes, rows = ((size_t)values->shape[0] - first) * 256 / width;
    int bad = 0;

    REQUIRE(nib_block_encodes(type, &kind), "%s", type);
    l = &nib_block_layouts[kind];
    each = width / l->values;
    bytes = each * l->bytes;
    REQUIRE(want && want->bytes == rows * bytes, "%s", type);
    for (size_t row = 0; row < rows; row++) {
        uint8_t *got = test_guarded(bytes);
        const uint8_t *expected = (const uint8_t *)want->data + row * bytes;
        size_t at = first * 256 + row * width;
        memset(got, 0xAA, bytes);
        nib_block_encode(k, kind, each, (const float *)values->data + at,
                         weights ? (const float *)weights->data + at : NULL, got);
        for (size_t i = 0; i < bytes && bad < 5; i++)
            if (got[i] != expected[i]) {
                CHECK(false, "%s: row %zu, byte %zu is %d, expected %d", want->name, row, i, got[i],
                      expected[i]);
                bad++;
                break;
            }
    }
}

static void check_golden(const nib_kernels *k)
{
    nib_tensors *golden = NULL;
    nib_error err;

    REQUIRE_OK(nib_tensors_open(test_ctx(), test_data("tests/golden/quant/encode.safetensors"),
                                &golden, &err), err);
    for (size_t i = 0; i < NIB_COUNT(types); i++)
        for (int wide = 0; wide < 2; wide++)
            for (int weighted = 0; weighted < 2; weighted++) {
                char name[60];
                snprintf(name, sizeof name, "%s%s%s", types[i], wide ? ".wide" : "",
                         weighted ? ".weighted" : "");
                check_type(k, nib_tensors_find(golden, "values"),
                           weighted ? nib_tensors_find(golden, "importance") : NULL, wide ? 16 : 0,
                           wide ? 512 : 256, nib_tensors_find(golden, name), types[i]);
            }
    nib_tensors_close(golden);
}

static void test_golden(void)
{
    nib_kernels k = nib_kernels_for(0);

    check_golden(&k);
    for (size_t level = 0; test_next_variant(&level, &k);) check_golden(&k);
}

/* Parts whose values are all one, or zero of either sign, subnormal, great, of one sign, or halves
 * between codes. */
static void make_values(int n, float x[768], float w[768])
{
    static const float sizes[] = { 0, 1e-43f, 1e-38f, 1e-15f, 1e-7f, 1e-5f, 1e-3f, 1, 3, 1e4f,
                                   1e8f, 1e38f };
    size_t count = n % 3 ? NIB_COUNT(sizes) - 2 : NIB_COUNT(sizes);

    for (int i = 0; i < 768; i++) {
        float v = test_rand_float(), size = sizes[test_rand() % count];
        if (i % 32 && n % 4) size = fabsf(x[i - 1]) > 0 ? fabsf(x[i / 32 * 32]) : size;
        x[i] = n % 5 == 0 ? size : n % 5 == 1 ? fabsf(v) * size : v * size;
        if (n % 7 == 0) x[i] = (float)((int)(test_rand() % 31) - 15) * 0.5f;
        if (n % 13 == 0) x[i] = i % 32 ? (float)((int)(test_rand() % 255) - 127) * 0.5f : -127;
        if (n % 17 == 0) x[i] = i % 32 ? v * 0x1p-12f : 0x1.fffffep-9f; /* its logarithm is -8 */
        if (n % 11 == 0 && test_rand() % 2) x[i] = copysignf(0, test_rand_float());
        w[i] = test_rand() % 9 ? fabsf(test_rand_float()) : 0;
    }
}

/* Every variant gives the reference's bits, with importances and without, of rows that are no
 * whole runs of what a variant takes at a time. */
static void test_variants(void)
{
    const nib_kernels ref = nib_kernels_for(0);
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (int n = 0; n < 400; n++) {
            float x[768], w[768];
            make_values(n, x, w);
            for (size_t t = 0; t < 2 * NIB_COUNT(types); t++) {
                const float *own = t % 2 ? w : NULL;
                uint8_t want[832], got[832]; /* some more than 24 blocks of Q8_0 */
                nib_block_kind kind;
                size_t count;
                REQUIRE(nib_block_encodes(types[t / 2], &kind), "%s", types[t / 2]);
                count = 1 + test_rand() % (768 / nib_block_layouts[kind].values);
                memset(want, 0xAA, sizeof want);
                memset(got, 0xAA, sizeof got);
                nib_block_encode(&ref, kind, count, x, own, want);
                nib_block_encode(&k, kind, count, x, own, got);
                CHECK(memcmp(want, got, sizeof want) == 0, "%s: %s, %d, %zu blocks%s", name,
                      types[t / 2], n, count, own ? ", weighted" : "");
            }
        }
}

/* Decoded by the scalar kernel: nearer the more bits there are. */
static void test_near(void)
{
    static const float most[] = { 0.15f, 0.12f, 0.08f, 0.06f, 0.008f, 0.12f, 0.06f, 0.03f, 0.12f,
                                  0.26f };
    float x[256], got[256];
    uint8_t blocks[272];
    const nib_kernels k = nib_kernels_for(0);

    for (int i = 0; i < 256; i++) x[i] = test_rand_float();
    for (size_t t = 0; t < NIB_COUNT(types); t++) {
        nib_block_kind kind;
        float worst = 0;
        REQUIRE(nib_block_encodes(types[t], &kind), "%s", types[t]);
        nib_block_encode(&k, kind, 256 / nib_block_layouts[kind].values, x, NULL, blocks);
        nib_blocks_decode_ref(kind, 256 / nib_block_layouts[kind].values, blocks, got);
        for (int i = 0; i < 256; i++) worst = fmaxf(worst, fabsf(got[i] - x[i]));
        CHECK(worst > 0 && worst <= most[t], "%s: %g, expected at most %g", types[t],
              (double)worst, (double)most[t]);
    }
}

static const test_case cases[] = { { "ggml's bytes", test_golden },
                                   { "variants", test_variants },
                                   { "near", test_near } };

int main(void) { return test_main("test_block_encode", cases, NIB_COUNT(cases)); }
