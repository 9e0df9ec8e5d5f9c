/* test_dot4.c - products of one row with rows of 4-bit codes and of bfloat16 values: every variant,
 * and the pairs with their instruction emulated, against sums in double; buffers end at an
 * unreadable page. */
#include <math.h>
#include <string.h>

#include "variants.h"

#if NIB_ARCH_X86
nib_arrange4_bf16_fn nib_arrange4_bf16_avx512bf16emu; /* only tests know them */
nib_dot4_bf16_fn nib_dot4_bf16_avx512bf16emu;
nib_dot_rows_bf16_fn nib_dot_rows_bf16_avx512bf16emu;
#endif

typedef struct codes { nib_dot4 d; size_t n; float *x; uint16_t *half; } codes;

/* Scales of its own for 2^shift blocks, nested or not; the first block is not always the
 * matrix's. */
static codes make_codes(size_t rows, size_t blocks, bool nested, unsigned shift)
{
    codes c = { .n = blocks * NIB_DOT4_BLOCK };
    size_t first = blocks * (test_rand() % 60), scales = ((first + rows * blocks - 1) >> shift) + 1;
    uint8_t *bytes = test_guarded(rows * c.n / 2), *nested_codes = test_guarded(scales);

    for (size_t i = 0; i < rows * c.n / 2; i++) bytes[i] = (uint8_t)test_rand();
    for (size_t i = 0; i < scales; i++) nested_codes[i] = (uint8_t)test_rand();
    c.d = (nib_dot4){ .codes = bytes, .table = test_floats(16, 1), .rows = rows, .blocks = blocks, .first = first, .shift = shift };
    if (!nested) {
        c.d.scales = test_floats(scales, 1);
    } else {
        c.d.scale_codes = nested_codes;
        c.d.scale_table = test_floats(256, 1);
        c.d.nested = test_floats((scales + 255) / 256, 1);
        c.d.offset = test_rand_float();
    }
    c.x = test_floats(c.n, 1);
    c.half = test_values(NIB_BF16, c.n, 1);
    return c;
}

/* Row r of the product, and the sum of the magnitudes of its terms. */
static double expected(const codes *c, size_t r, bool pairs, double *size)
{
    double sum = 0;

    *size = 0;
    for (size_t i = 0; i < c->n; i++) {
        unsigned byte = c->d.codes[(r * c->n + i) / 2];
        size_t s = (c->d.first + r * c->d.blocks + i / NIB_DOT4_BLOCK) >> c->d.shift;
        float value = c->d.table[i % 2 ? byte & 15 : byte >> 4];
        float scale = c->d.scales ? c->d.scales[s]
                                  : c->d.scale_table[c->d.scale_codes[s]] * c->d.nested[s / 256] +
                                        c->d.offset;
        double term = pairs ? (double)nib_round_bf16(value * scale) *
                                  (double)nib_bf16_to_f32(c->half[i])
                            : (double)value * (double)scale * (double)c->x[i];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static void check_codes(const nib_kernels *k, const char *name, size_t rows, size_t blocks,
                        bool nested, unsigned shift)
{
    codes c = make_codes(rows, blocks, nested, shift);
    float *ready = test_floats(c.n, 0), *y = test_floats(rows, 0);
    double size;

    k->arrange4(c.n, c.x, ready);
    k->dot4(&c.d, 1, ready, c.n, y, rows);
    for (size_t r = 0; r < rows; r++) {
        double want = expected(&c, r, false, &size);
        CHECK(fabs((double)y[r] - want) <= 1e-6 * size,
              "%s: row %zu of %zu blocks is %g, expected %g", name, r, blocks, (double)y[r], want);
    }
    for (int i = 0; k->dot4_rounded && i < 16; i++)
        ((float *)(uintptr_t)c.d.table)[i] = nib_round_bf16(c.d.table[i]);
    if (k->dot4_rounded) {
        k->arrange4_rounded(c.n, c.x, ready);
        k->dot4_rounded(&c.d, 1, ready, c.n, y, rows);
    }
    for (size_t r = 0; k->dot4_rounded && r < rows; r++) {
        double want = expected(&c, r, false, &size);
        CHECK(fabs((double)y[r] - want) <= 1e-6 * size,
              "%s, rounded: row %zu of %zu blocks is %g, expected %g", name, r, blocks,
              (double)y[r], want);
    }
    if (!k->dot4_bf16) return;
    k->arrange4_bf16(c.n, c.half, (uint16_t *)ready);
    k->dot4_bf16(&c.d, 1, (uint16_t *)ready, c.n, y, rows);
    for (size_t r = 0; r < rows; r++) {
        double want = expected(&c, r, true, &size);
        CHECK(fabs((double)y[r] - want) <= 1e-6 * size,
              "%s, pairs: row %zu of %zu blocks is %g, expected %g", name, r, blocks, (double)y[r],
              want);
    }
}

/* Several rows of x at a time: each with the bits it has alone. */
static void check_together(const nib_kernels *k, const char *name, size_t rows, size_t blocks,
                           bool nested)
{
    codes c = make_codes(rows, blocks, nested, 0);
    size_t n = c.n;
    float *x = test_floats(NIB_DOT_ROWS * n, 1), *one = test_floats(rows, 0),
          *y = test_floats(NIB_DOT_ROWS * (rows + 1), 0);
    uint16_t *pairs = test_values(NIB_BF16, NIB_DOT_ROWS * n, 1);

    for (int kind = 0; kind < 3; kind++) {
        nib_dot4_fn *dot = kind ? k->dot4_rounded : k->dot4;
        if (kind == 2 ? !k->dot4_bf16 : !dot) continue;
        for (size_t M = 1; M <= NIB_DOT_ROWS; M++) {
            if (kind == 2) k->dot4_bf16(&c.d, M, pairs, n, y, rows + 1);
            else dot(&c.d, M, x, n, y, rows + 1);
            for (size_t m = 0; m < M; m++) {
                if (kind == 2) k->dot4_bf16(&c.d, 1, pairs + m * n, n, one, rows);
                else dot(&c.d, 1, x + m * n, n, one, rows);
                CHECK(memcmp(one, y + m * (rows + 1), rows * sizeof *one) == 0,
                      "%s, kind %d: row %zu of %zu differs from itself alone", name, kind, m, M);
            }
        }
    }
}

static void check_rows(const nib_kernels *k, const char *name, size_t n)
{
    size_t rows = 3, ld = n + n % 3;
    uint16_t *w = test_values(NIB_BF16, 2 * ld + n, 1), *half = test_values(NIB_BF16, n, 1);
    float *x = test_floats(n, 1), *ready = test_floats(n, 0), *y = test_floats(rows, 0),
          *pairs = test_floats(rows, 0);

    k->arrange_row(n, x, ready);
    k->dot_rows(rows, n, w, ld, ready, y);
    if (k->dot_rows_bf16) k->dot_rows_bf16(rows, n, w, ld, half, pairs);
    for (size_t r = 0; r < rows; r++) {
        double want = 0, want_pairs = 0;
        for (size_t i = 0; i < n; i++) {
            want += (double)nib_bf16_to_f32(w[r * ld + i]) * (double)x[i];
            want_pairs += (double)nib_bf16_to_f32(w[r * ld + i]) * (double)nib_bf16_to_f32(half[i]);
        }
        CHECK(fabs((double)y[r] - want) < 1e-5, "%s: row %zu of %zu values is %g, expected %g",
              name, r, n, (double)y[r], want);
        if (k->dot_rows_bf16)
            CHECK(fabs((double)pairs[r] - want_pairs) < 1e-5,
                  "%s, pairs: row %zu of %zu values is %g, expected %g", name, r, n,
                  (double)pairs[r], want_pairs);
    }
}

static void check_all(const nib_kernels *k, const char *name)
{
    for (size_t rows = 1; rows <= 5; rows++)
        for (size_t blocks = 1; blocks <= 9; blocks++)
            for (unsigned way = 0; way < 4; way++)
                check_codes(k, name, rows, blocks, way % 2, way / 2 * 3);
    for (size_t blocks = 1; blocks <= 9; blocks += 4)
        check_together(k, name, 3, blocks, blocks % 2);
    for (size_t blocks = 2; blocks <= 8; blocks += 3)
        check_together(k, name, 2, blocks, blocks % 2);
    for (size_t n = 1; n <= 200; n += n < 140 ? 1 : 7) check_rows(k, name, n);
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_all(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) {
        check_all(&k, name);
#if NIB_ARCH_X86
        if (strcmp(name, "avx512") != 0) continue;
        k.arrange4_bf16 = nib_arrange4_bf16_avx512bf16emu;
        k.dot4_bf16 = nib_dot4_bf16_avx512bf16emu;
        k.dot_rows_bf16 = nib_dot_rows_bf16_avx512bf16emu;
        check_all(&k, "emulated pairs");
#endif
    }
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants } };
    return test_main("dot4", cases, NIB_COUNT(cases));
}
