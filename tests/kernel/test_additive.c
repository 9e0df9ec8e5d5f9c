/* test_additive.c - additively quantized rows: a sum worked out by hand, and every variant against
 * the reference, decoded bit for bit, dots to the order of their sums. */
#include <math.h>
#include <string.h>

#include "variants.h"

/* Two books of four entries of two values, codes 3 and 1 in bytes whose upper bits do not count. */
static void test_definition(void)
{
    static const float entries[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 10, 20, 30, 40, 50, 60, 70, 80 };
    static const uint8_t codes[4] = { 0xff, 0x81, 2, 0 };
    static const float want[4] = { 0.5f * (6 + 30), 0.5f * (7 + 40), 0.5f * (4 + 10),
                                   0.5f * (5 + 20) };
    const nib_additive_row r = { .codes = codes, .step = 2, .entries = entries, .type = NIB_F32,
                                 .width = 1, .bits = 2, .books = 2, .group = 2, .entry = 2,
                                 .scale = 0.5f };
    static const float x[4] = { 1, -1, 2, 3 };
    float got[4], y;

    nib_additive_decode_ref(&r, 2, got);
    CHECK(memcmp(got, want, sizeof got) == 0, "%g %g %g %g", (double)got[0], (double)got[1],
          (double)got[2], (double)got[3]);
    nib_additive_dot_ref(&r, 1, 2, x, &y, 1);
    CHECK(y == want[0] - want[1] + 2 * want[2] + 3 * want[3], "%g", (double)y);
}

typedef struct form { unsigned bits, books, group, outputs; } form;

static void check_form(const nib_kernels *k, const char *variant, form f, nib_dtype type)
{
    unsigned width = f.bits > 8 ? 2 : 1, entry = f.group * f.outputs;
    size_t values = ((size_t)f.books << f.bits) * entry;
    void *entries = test_guarded(values * nib_dtype_bytes(type));

    for (size_t i = 0; i < values; i++) {
        float v = (float)(int)(test_rand() % 2001) / 1000 - 1;
        nib_convert((char *)entries + i * nib_dtype_bytes(type), type, &v, NIB_F32, 1);
    }
    for (size_t groups = 1; groups < 8; groups++) {
        size_t bytes = groups * f.books * width, n = groups * f.group;
        uint8_t *codes = test_guarded(bytes);
        float *want = test_guarded(n * 4), *got = test_guarded(n * 4), *x = test_floats(4 * n, 1);
        float sums[4], alone, all[4];
        nib_additive_row r = { .codes = codes, .step = f.books * width, .entries = entries,
                               .type = type, .width = width, .bits = f.bits, .books = f.books,
                               .group = f.group, .entry = entry,
                               .part = (f.outputs - 1) * f.group, .scale = 0.37f };

        for (size_t i = 0; i < bytes; i++) codes[i] = (uint8_t)test_rand();
        nib_additive_decode_ref(&r, groups, want);
        k->additive_decode(&r, groups, got);
        CHECK(memcmp(got, want, n * 4) == 0, "%s: %ux%u, groups of %u", variant, f.books, f.bits,
              f.group);
        nib_additive_dot_ref(&r, 4, groups, x, sums, 1);
        for (size_t M = 1; M <= 4; M++) {
            k->additive_dot(&r, M, groups, x, all, 1);
            for (size_t m = 0; m < M; m++)
                CHECK(fabsf(all[m] - sums[m]) < 2e-6f * (float)(n * f.books), "%s: %g, expected %g",
                      variant, (double)all[m], (double)sums[m]);
            k->additive_dot(&r, 1, groups, x + (M - 1) * n, &alone, 1);
            CHECK(memcmp(&alone, &all[M - 1], sizeof alone) == 0, "%s: other bits alone", variant);
        }
    }
}

/* A panel of rows that lie apart, each with a scale of its own. */
static void check_back(const nib_kernels *k, const char *variant, form f, nib_dtype type,
                       size_t terms)
{
    unsigned width = f.bits > 8 ? 2 : 1, entry = f.group * f.outputs;
    size_t step = f.books * width, row = NIB_PANEL / f.group * step, stride = row + 3;
    size_t bytes = (terms - 1) * stride + row, strip = terms * NIB_STRIP + 8;
    size_t n = strip + terms * NIB_STRIP, values = ((size_t)f.books << f.bits) * entry;
    uint8_t *codes = test_guarded(bytes), *entries = test_guarded(values * nib_dtype_bytes(type));
    float *scales = test_floats(terms, 1), *want = test_floats(n, 0), *got = test_floats(n, 0);
    const nib_additive_column c = {
        .first = { .codes = codes, .step = step, .entries = entries, .type = type, .width = width,
                   .bits = f.bits, .books = f.books, .group = f.group, .entry = entry,
                   .part = (f.outputs - 1) * f.group },
        .stride = stride, .scales = scales };

    for (size_t i = 0; i < values; i++)
        nib_convert(entries + i * nib_dtype_bytes(type), type,
                    &(float){ (float)(int)(test_rand() % 2001) / 1000 - 1 }, NIB_F32, 1);
    for (size_t i = 0; i < bytes; i++) codes[i] = (uint8_t)test_rand();
    for (int kind = 0; kind < 3; kind++) {
        if (kind == NIB_PACK_PAIRS && terms % 2) continue;
        memset(want, 0, n * sizeof *want);
        memset(got, 0, n * sizeof *got);
        nib_additive_back_ref(&c, terms, (nib_pack_kind)kind, want, strip);
        k->additive_back(&c, terms, (nib_pack_kind)kind, got, strip);
        CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s: %ux%u, panel %d of %zu rows, groups of "
              "%u", variant, f.books, f.bits, kind, terms, f.group);
    }
}

static void test_panels(void)
{
    static const form forms[] = { { 16, 1, 8, 1 }, { 8, 2, 8, 1 }, { 8, 8, 8, 1 }, { 8, 1, 16, 1 },
                                  { 7, 3, 4, 1 }, { 12, 1, 32, 1 }, { 8, 1, 8, 2 } };
    static const nib_dtype types[] = { NIB_F16, NIB_BF16, NIB_F32 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(forms); i++)
            for (size_t t = 0; t < NIB_COUNT(types); t++)
                for (size_t terms = 1; terms < 5; terms++)
                    check_back(&k, name, forms[i], types[t], terms);
}

static void check_variant(const nib_kernels *k, const char *variant)
{
    static const form forms[] = { { 12, 1, 8, 1 }, { 8, 2, 8, 1 }, { 8, 8, 8, 1 }, { 8, 1, 16, 1 },
                                  { 7, 3, 4, 1 }, { 8, 1, 8, 2 }, { 9, 2, 6, 3 },
                                  { 16, 1, 8, 1 } };
    static const nib_dtype types[] = { NIB_F16, NIB_BF16, NIB_F32 };

    for (size_t i = 0; i < NIB_COUNT(forms); i++)
        for (size_t t = 0; t < NIB_COUNT(types); t++) check_form(k, variant, forms[i], types[t]);
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
        { "panels", test_panels },
    };
    return test_main("kernel/test_additive", cases, NIB_COUNT(cases));
}
