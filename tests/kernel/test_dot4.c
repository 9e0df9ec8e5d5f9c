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
    c.d = (nib_dot4){ .codes = bytes, .table = test_floats(16, 1), .rows = rows, .blocks = blocks,
                      .first = first, .shift = shift };
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

static float scale_of(const codes *c, size_t r, size_t block)
{
    size_t s = (c->d.first + r * c->d.blocks + block) >> c->d.shift;

    return c->d.scales ? c->d.scales[s]
                       : c->d.scale_table[c->d.scale_codes[s]] * c->d.nested[s / 256] + c->d.offset;
}

/* Row r of the product, and the sum of the magnitudes of its terms. */
static double expected(const codes *c, size_t r, bool pairs, double *size)
{
    double sum = 0;

    *size = 0;
    for (size_t i = 0; i < c->n; i++) {
        unsigned byte = c->d.codes[(r * c->n + i) / 2];
        float value = c->d.table[i % 2 ? byte & 15 : byte >> 4];
        float scale = scale_of(c, r, i / NIB_DOT4_BLOCK);
        double term = (double)(pairs ? nib_round_bf16(value) : value) * (double)scale *
                      (double)(pairs ? nib_bf16_to_f32(c->half[i]) : c->x[i]);
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

/* The greatest value of a block is at least so many steps: eight alike share a lane. */
enum { LEAST_MOST_WORD = 8190 };

/* What fixed point may lose of row r: half a step of x and half a unit of the table each term. */
static double fixed_error(const codes *c, size_t r)
{
    double error = 0, most = 0;

    for (size_t i = 0; i < 16; i++) most = fmax(most, fabs((double)c->d.table[i]));
    for (size_t b = 0; b < c->d.blocks; b++) {
        double greatest = 0, size = 0;
        for (size_t i = b * 64; i < b * 64 + 64; i++) {
            greatest = fmax(greatest, fabs((double)c->x[i]));
            size += fabs((double)c->x[i]);
        }
        error += fabs((double)scale_of(c, r, b)) * most *
                 (64 * greatest / (2 * LEAST_MOST_WORD) + size / (2 * NIB_FIXED4_MOST));
    }
    return error;
}

/* Within what the form promises; far within it on average; NaN where x is not finite. */
static void check_fixed(const nib_kernels *k, const char *name, codes *c)
{
    size_t rows = c->d.rows;
    float *y = test_floats(rows, 0);
    int16_t *ready = test_guarded(c->n * sizeof *ready + c->d.blocks * sizeof(float));
    double size, lost = 0, all = 0;

    k->arrange4_fixed(c->n, c->x, ready);
    k->dot4_fixed(&c->d, 1, ready, 2 * c->n, y, rows);
    for (size_t r = 0; r < rows; r++) {
        double want = expected(c, r, false, &size);
        CHECK(fabs((double)y[r] - want) <= fixed_error(c, r) + 1e-6 * size,
              "%s, fixed point: row %zu of %zu blocks is %g, expected %g", name, r, c->d.blocks,
              (double)y[r], want);
        lost += fabs((double)y[r] - want);
        all += size;
    }
    CHECK(lost <= 3e-5 * all, "%s, fixed point: %g of %g is lost", name, lost, all);
    c->x[test_rand() % c->n] = test_rand() % 2 ? NAN : -INFINITY;
    k->arrange4_fixed(c->n, c->x, ready);
    k->dot4_fixed(&c->d, 1, ready, 2 * c->n, y, rows);
    for (size_t r = 0; r < rows; r++)
        CHECK(isnan(y[r]), "%s, fixed point: row %zu of an x not finite is %g", name, r,
              (double)y[r]);
}

/* The words of x that could overflow a sum: all of one size and of the sign of the greatest of the
 * table's values; one alone; values near float's ends (sums are made in words of the table, 2^15
 * times as great). */
static void check_fixed_ends(const nib_kernels *k, const char *name)
{
    static const float sizes[] = { 0, 1, 1e-45f, 1e-30f, 1e20f, 1e32f };
    uint8_t bytes[32];
    float table[16] = { -1, 0, 1 }, scale = 1, x[64], y;
    int16_t *ready = (int16_t *)test_floats(64, 0);
    nib_dot4 d = { .codes = bytes, .table = table, .rows = 1, .blocks = 1, .scales = &scale };

    for (size_t s = 0; s < NIB_COUNT(sizes); s++)
        for (int code = 0; code <= 2; code++)
            for (size_t alone = 0; alone <= 64; alone++) { /* 64: all */
                double want = (double)sizes[s] * (code - 1) * (alone == 64 ? 64 : 1);
                memset(bytes, code << 4 | code, sizeof bytes);
                for (size_t i = 0; i < 64; i++) x[i] = alone == 64 || alone == i ? sizes[s] : 0;
                k->arrange4_fixed(64, x, ready);
                k->dot4_fixed(&d, 1, ready, 128, &y, 1);
                CHECK(fabs((double)y - want) <= 1e-4 * fabs(want) + 0x1p-94,
                      "%s, fixed point: %g times %d is %g, expected %g", name, (double)sizes[s],
                      code - 1, (double)y, want);
            }
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
    if (k->dot4_fixed) check_fixed(k, name, &c);
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

    int16_t *fixed = (int16_t *)test_floats(NIB_DOT_ROWS * n, 0);

    for (size_t m = 0; k->dot4_fixed && m < NIB_DOT_ROWS; m++)
        k->arrange4_fixed(n, x + m * n, fixed + 2 * m * n);
    for (int kind = 0; kind < 3; kind++) {
        if ((kind == 1 && !k->dot4_fixed) || (kind == 2 && !k->dot4_bf16)) continue;
        for (size_t M = 1; M <= NIB_DOT_ROWS; M++) {
            if (kind == 2) k->dot4_bf16(&c.d, M, pairs, n, y, rows + 1);
            else if (kind == 1) k->dot4_fixed(&c.d, M, fixed, 2 * n, y, rows + 1);
            else k->dot4(&c.d, M, x, n, y, rows + 1);
            for (size_t m = 0; m < M; m++) {
                if (kind == 2) k->dot4_bf16(&c.d, 1, pairs + m * n, n, one, rows);
                else if (kind == 1) k->dot4_fixed(&c.d, 1, fixed + 2 * m * n, 2 * n, one, rows);
                else k->dot4(&c.d, 1, x + m * n, n, one, rows);
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
    size_t kept = test_guarded_count();

    for (size_t rows = 1; rows <= 5; rows++)
        for (size_t blocks = 1; blocks <= 9; blocks++)
            for (unsigned way = 0; way < 4; way++)
                check_codes(k, name, rows, blocks, way % 2, way / 2 * 3);
    for (size_t blocks = 1; blocks <= 9; blocks += 4)
        check_together(k, name, 3, blocks, blocks % 2);
    for (size_t blocks = 2; blocks <= 8; blocks += 3)
        check_together(k, name, 2, blocks, blocks % 2);
    for (size_t n = 1; n <= 200; n += n < 140 ? 1 : 7) check_rows(k, name, n);
    if (k->dot4_fixed) check_fixed_ends(k, name);
    test_free_guarded(kept);
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
