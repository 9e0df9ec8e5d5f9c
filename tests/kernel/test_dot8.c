/* test_dot8.c - rows of 8-bit codes: the sums of every variant are the same, and codes are as near
 * as 8 bits allow, with the error that is stated; buffers end at an unreadable page. */
#include <math.h>
#include <string.h>

#include "variants.h"

static void check_sums(const nib_kernels *k, const char *name, size_t rows, size_t n, size_t M)
{
    uint8_t *codes = test_guarded(rows * n);
    int16_t *x = test_guarded(M * n * sizeof *x),
            most = (int16_t)(INT32_MAX / 255 / (int32_t)n < 2047 ? INT32_MAX / 255 / (int32_t)n
                                                                 : 2047);
    int32_t *y = test_guarded(M * (rows + 1) * sizeof *y);

    for (size_t i = 0; i < rows * n; i++) codes[i] = test_rand() % 4 ? (uint8_t)test_rand() : 255;
    for (size_t i = 0; i < M * n; i++)
        x[i] = test_rand() % 8 ? (int16_t)(test_rand_float() * most) : most;
    k->dot8(rows, n, codes, M, x, y, rows + 1);
    for (size_t m = 0; m < M; m++)
        for (size_t r = 0; r < rows; r++) {
            int64_t sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += (int64_t)codes[r * n + i] * x[m * n + nib_dot8_place(i)];
            CHECK(y[m * (rows + 1) + r] == sum,
                  "%s: row %zu of %zu codes times row %zu of %zu is %d, expected %d", name, r, n, m,
                  M, (int)y[m * (rows + 1) + r], (int)sum);
        }
}

/* Against the greatest magnitude: codes are whole numbers of a 127th of it, none further off than
 * half of one. */
static void check_codes(const nib_kernels *k, const char *name, size_t n, float size)
{
    float *x = test_floats(n, size), most = 0;
    uint8_t *codes = test_guarded(n);
    nib_encoded8 row = k->encode8(n, x, codes);
    double error = 0;

    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    CHECK(row.scale == most / 127, "%s: scale of %zu values is %g, expected %g", name, n,
          (double)row.scale, (double)most / 127);
    for (size_t i = 0; i < n; i++) {
        double rest = (double)x[i] - (double)row.scale * (codes[i] - NIB_DOT8_ZERO);
        CHECK(fabs(rest) <= 0.50001 * (double)row.scale, "%s: value %zu of %zu is code %d, %g off",
              name, i, n, codes[i], rest);
        error += rest * rest;
    }
    CHECK(fabs(row.error - error) <= 1e-4 * error + 4e-7 * (double)most * sqrt(error * (double)n) +
                                         1e-13 * (double)most * (double)most,
          "%s: error of %zu values is %g, expected %g", name, n, row.error, error);
}

static void check_all(const nib_kernels *k, const char *name)
{
    for (size_t n = 64; n <= 640; n += 64)
        check_sums(k, name, 1 + n % 7, n, 1 + n / 64 % NIB_DOT_ROWS);
    check_sums(k, name, 2, 16384, 3);
    for (size_t n = 1; n <= 70; n++) check_codes(k, name, n, n % 2 ? 3 : 1e-10f);
    check_codes(k, name, 9, 0);
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_all(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_all(&k, name);
}

static const test_case cases[] = { { "sums and codes of every variant", test_variants } };

int main(void) { return test_main("test_dot8", cases, NIB_COUNT(cases)); }
