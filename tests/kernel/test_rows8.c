/* test_rows8.c - rows of signed 8-bit integers: every variant gives the reference's bits, and the
 * reference gives exact sums; buffers end at an unreadable page. */
#include <math.h>
#include <string.h>

#include "variants.h"

/* Codes of the ends of the range are frequent: they are where pairs of products may overflow. */
static int8_t *codes_of(size_t n, int least)
{
    int8_t *codes = test_guarded(n);

    for (size_t i = 0; i < n; i++) {
        uint32_t r = test_rand();
        codes[i] = (int8_t)(r % 4 == 0 ? least : r % 4 == 1 ? 127 : (int)(r >> 8) % 255 - 127);
    }
    return codes;
}

static void check_products(const nib_kernels *k, const char *name, size_t M, size_t N, size_t n)
{
    size_t ldx = n + M % 3, ldw = n + N % 2; /* the last row ends where the buffer does */
    nib_int8_rows x = { codes_of((M - 1) * ldx + n, -127), M, ldx };
    nib_int8_rows w = { codes_of((N - 1) * ldw + n, -128), N, ldw };
    int32_t *y = test_guarded(((M - 1) * (N + 1) + N) * sizeof *y);

    k->int8_products(n, x, w, y, N + 1);
    for (size_t m = 0; m < M; m++)
        for (size_t r = 0; r < N; r++) {
            int64_t sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += x.codes[m * ldx + i] * w.codes[r * ldw + i];
            CHECK(y[m * (N + 1) + r] == sum,
                  "%s: row %zu of %zu times row %zu of %zu, %zu values: %d, expected %lld", name, m,
                  M, r, N, n, (int)y[m * (N + 1) + r], (long long)sum);
        }
}

static void check_most_terms(const nib_kernels *k, const char *name)
{
    size_t n = NIB_INT8_MOST_TERMS;
    int8_t *x = test_guarded(n), *w = test_guarded(n);
    int32_t y = 0;

    memset(x, 127, n);
    memset(w, -128, n);
    k->int8_products(n, (nib_int8_rows){ x, 1, n }, (nib_int8_rows){ w, 1, n }, &y, 1);
    CHECK(y == -(int32_t)(127 * 128 * n), "%s: the greatest sum is %d", name, (int)y);
}

/* Values on both sides of the threshold, at it, and such that float16 rounds up to it. */
static float *row_of(size_t n, float threshold, bool outliers)
{
    float *x = test_guarded(n * sizeof *x);

    for (size_t i = 0; i < n; i++) {
        x[i] = test_rand_float() * (float)(test_rand() % 16 ? 2 : 0.0001);
        if (outliers && test_rand() % 8 == 0)
            x[i] = test_rand_float() < 0 ? threshold : -threshold * 1.5f;
        if (outliers && test_rand() % 8 == 0) x[i] = threshold * 0.99999f;
        if (test_rand() % 8 == 0) x[i] = 0;
    }
    return x;
}

static void check_row(const nib_kernels *k, const char *name, size_t n, const float *x,
                      float threshold)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t words = nib_ceil_div(n, 64);
    int8_t *want = test_guarded(n), *got = test_guarded(n);
    uint64_t *wanted = test_guarded(words * 8), *bits = test_guarded(words * 8);
    nib_int8_row a, b;

    memset(bits, 0xff, words * 8);
    a = ref.int8_encode(n, x, threshold, want, wanted);
    b = k->int8_encode(n, x, threshold, got, bits);
    CHECK(a.outliers == b.outliers && memcmp(wanted, bits, words * 8) == 0,
          "%s: %zu outliers of %zu values, expected %zu", name, b.outliers, n, a.outliers);
    CHECK(a.absmax == b.absmax || (isnan(a.absmax) && isnan(b.absmax)),
          "%s: absmax of %zu values is %g, expected %g", name, n, (double)b.absmax,
          (double)a.absmax);
    for (size_t i = 0; i < n; i++)
        CHECK(want[i] == got[i], "%s: %g of %zu values is code %d, expected %d", name, (double)x[i],
              n, got[i], want[i]);
}

static void check_decode(const nib_kernels *k, const char *name, size_t n)
{
    int8_t *codes = codes_of(n, -128);
    float *x = test_guarded(n * sizeof *x);

    k->int8_decode(n, codes, 0.3f, x);
    for (size_t i = 0; i < n; i++)
        CHECK(x[i] == (float)codes[i] * 0.3f, "%s: code %d is %g", name, codes[i], (double)x[i]);
}

static void check_rows(const nib_kernels *k, const char *name)
{
    float odd[5] = { 1, -INFINITY, 3, NAN, 2 }, tiny[3] = { 0x1p-24f, -0x1p-26f, 0 };

    for (size_t n = 1; n <= 150; n++) {
        check_row(k, name, n, row_of(n, 6, false), 6);
        check_row(k, name, n, row_of(n, 6, true), 6);
        check_row(k, name, n, row_of(n, 6, true), INFINITY);
        check_decode(k, name, n);
    }
    check_row(k, name, 70, test_floats(70, 0), 6);
    check_row(k, name, 5, odd, 6);
    check_row(k, name, 3, odd, INFINITY);
    check_row(k, name, 3, tiny, 6);
}

static void check_all(const nib_kernels *k, const char *name)
{
    for (size_t n = 1; n <= 140; n += n < 70 ? 1 : 7)
        check_products(k, name, 1 + n % 9, 1 + n % 7, n);
    check_products(k, name, 1, 9, 640);
    check_products(k, name, 11, 13, 1000);
    check_most_terms(k, name);
    check_rows(k, name);
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_all(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_all(&k, name);
}

/* What the reference itself makes of a row, written out. */
static void test_reference(void)
{
    const float x[8] = { 1.2f, -0.5f, -4.3f, 1.2f, -3.1f, 0.8f, 2.4f, 5.4f };
    const int8_t all[8] = { 28, -12, -101, 28, -73, 19, 56, 127 };
    const int8_t rest[8] = { 49, -20, 0, 49, -127, 33, 98, 0 }; /* without what is 4 or more */
    int8_t codes[8];
    uint64_t outliers;
    nib_int8_row row = nib_int8_encode_ref(8, x, INFINITY, codes, &outliers);

    CHECK(memcmp(codes, all, 8) == 0 && outliers == 0 && row.outliers == 0);
    CHECK(row.absmax == 5.3984375f, "absmax %g is not that of float16", (double)row.absmax);
    row = nib_int8_encode_ref(8, x, 4, codes, &outliers);
    CHECK(memcmp(codes, rest, 8) == 0 && outliers == 0x84 && row.outliers == 2);
    CHECK(row.absmax == 3.099609375f, "absmax %g", (double)row.absmax);
}

static const test_case cases[] = {
    { "the reference's own numbers", test_reference },
    { "products, rows and decoding of every variant", test_variants },
};

int main(void) { return test_main("test_rows8", cases, NIB_COUNT(cases)); }
