/* test_gemm.c - micro-kernels, packers and dots: every variant against the reference at odd sizes
 * and strides, in buffers that end at an unreadable page; packers bit for bit. */
#include <math.h>
#include <string.h>

#include "variants.h"

#if NIB_ARCH_X86
nib_gemm_bf16_fn nib_gemm_bf16_avx512bf16emu, nib_gemm_bf16_amxemu; /* only tests know them */
#endif

/* c = a panel, or c += a panel, in double. */
static double expected(nib_dtype type, size_t K, const void *a, size_t lda, const void *panel,
                       size_t m, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++) {
        size_t strip = n / NIB_STRIP * NIB_STRIP * K, column = n % NIB_STRIP;
        if (type == NIB_F32)
            sum += (double)((const float *)a)[m * lda + k] *
                   (double)((const float *)panel)[strip + k * NIB_STRIP + column];
        else
            sum += (double)nib_bf16_to_f32(((const uint16_t *)a)[m * lda + k]) *
                   (double)nib_bf16_to_f32(
                       ((const uint16_t *)panel)[strip + (k / 2 * NIB_STRIP + column) * 2 + k % 2]);
    }
    return sum;
}

typedef struct gemm { const char *name; nib_gemm_f32_fn *f32; nib_gemm_bf16_fn *bf16; } gemm;

static void multiply(const gemm *g, size_t M, size_t N, size_t K, const void *a, size_t lda,
                     const void *panel, float *c, size_t ldc, bool add, const nib_gemm_end *end)
{
    if (g->f32) g->f32(M, N, K, a, lda, panel, c, ldc, add, end);
    else g->bf16(M, N, K, a, lda, panel, c, ldc, add, end);
}

typedef enum ending { NOTHING, BIAS, GAIN, ROUNDED, ROUNDED_SUMS, ENDINGS } ending;

/* c (+)= a panel + u factor, perhaps with a gain and a bias, perhaps rounded into y. */
static void check_gemm(const gemm *g, size_t M, size_t N, size_t K, bool add, size_t rank,
                       ending how)
{
    nib_dtype type = g->f32 ? NIB_F32 : NIB_BF16;
    size_t lda = K + 2, ldc = N + 5, room = (M - 1) * ldc + N, bytes = nib_dtype_bytes(type);
    bool rounded = how >= ROUNDED;
    char *a = test_values(type, (M - 1) * lda + K, 1);
    void *panel = test_values(type, N * K, 1);
    float *c = test_floats(room, 1), *before = test_floats(room, 0), *row = test_floats(N, 0);
    float *u = test_floats(M * rank, 1), *factor = test_floats(N * rank, 1),
          *bias = test_floats(N, 1), *gain = test_floats(N, 1);
    size_t halves = rounded ? room : 0;
    uint16_t *y = test_values(NIB_BF16, halves, 1), *y_before = test_values(NIB_BF16, halves, 0),
             *y_row = test_values(NIB_BF16, rounded ? N : 0, 0);
    nib_gemm_end end = { .K = rank, .a = u, .panel = factor,
                         .bias = how == BIAS || how == ROUNDED_SUMS ? bias : NULL,
                         .gain = how == GAIN || how == ROUNDED_SUMS ? gain : NULL,
                         .y = rounded ? y : NULL, .ldy = ldc, .accumulate = how == ROUNDED_SUMS };
    const nib_gemm_end *given = rank || how ? &end : NULL;

    memcpy(before, c, room * sizeof *c);
    memcpy(y_before, y, halves * sizeof *y);
    multiply(g, M, N, K, a, lda, panel, c, ldc, add, given);
    for (size_t i = 0; i < room; i++) {
        size_t column = i % ldc < N ? i % ldc : 0;
        double sum = expected(type, K, a, lda, panel, i / ldc, column) +
                     expected(NIB_F32, rank, u, rank, factor, i / ldc, column) +
                     (add ? (double)before[i] : 0);
        double want = (end.gain ? (double)gain[column] : 1) * sum +
                      (end.bias ? (double)bias[column] : 0) +
                      (how == ROUNDED_SUMS ? (double)nib_bf16_to_f32(y_before[i]) : 0);
        double got = (double)(rounded ? nib_bf16_to_f32(y[i]) : c[i]);
        double near = rounded ? 1e-4 + fabs(want) / 256 : 1e-4;
        bool inside = i % ldc < N;
        /* between rows, and c where the sums go to y: as it was */
        if ((inside && !(fabs(got - want) < near)) || ((!inside || rounded) && c[i] != before[i]) ||
            (rounded && !inside && y[i] != y_before[i])) {
            CHECK(false, "%s %zu x %zu x %zu and %zu, add %d, ending %d: [%zu, %zu] = %g", g->name,
                  M, N, K, rank, add, how, i / ldc, i % ldc, got);
            return;
        }
    }
    memcpy(row, before + (M - 1) * ldc, N * sizeof *row);
    if (rounded) memcpy(y_row, y_before + (M - 1) * ldc, N * sizeof *y_row);
    end.a = u + (M - 1) * rank;
    if (rounded) end.y = y_row;
    multiply(g, 1, N, K, a + (M - 1) * lda * bytes, lda, panel, row, N, add, given);
    CHECK(rounded ? memcmp(y_row, y + (M - 1) * ldc, N * sizeof *y_row) == 0
                  : memcmp(row, c + (M - 1) * ldc, N * sizeof *row) == 0,
          "%s %zu x %zu x %zu: a row alone has other bits", g->name, M, N, K);
}

static void check_sizes(const gemm *g)
{
    static const size_t depths[] = { 2, 12, 64, 74 }; /* a step of tiles has 32 */

    for (size_t M = 1; M <= 115; M += M < 30 ? 1 : 9)
        for (size_t N = g->f32 ? 16 : 32; N <= 96; N += g->f32 ? 48 : 64)
            for (size_t d = 0; d < NIB_COUNT(depths); d++) {
                size_t K = depths[d], held = test_guarded_count();
                ending how = (M + d) % ENDINGS;
                check_gemm(g, M, N, K, d % 2, M % 3 * 4, how);
                if (g->f32) check_gemm(g, M, N, K + 1, d % 2 == 0, M % 2 * 3, (how + 2) % ENDINGS);
                test_free_guarded(held);
            }
}

static void test_float(void)
{
    nib_kernels k;
    gemm g = { 0 };

    for (size_t level = 0; (g.name = test_next_variant(&level, &k));) {
        g.f32 = k.gemm_f32;
        check_sizes(&g);
    }
}

static void test_bfloat16(void)
{
    nib_kernels k;
    gemm g = { 0 };

    for (size_t level = 0; (g.name = test_next_variant(&level, &k));) {
        g.bf16 = k.gemm_bf16;
        if (g.bf16) check_sizes(&g);
#if NIB_ARCH_X86
        if (strcmp(g.name, "avx512") != 0) continue;
        g = (gemm){ .name = "emulated pairs", .bf16 = nib_gemm_bf16_avx512bf16emu };
        check_sizes(&g);
        g = (gemm){ .name = "emulated tiles", .bf16 = nib_gemm_bf16_amxemu };
        check_sizes(&g);
#endif
    }
}

static void test_packers(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 1; n < 70; n++) {
            size_t ld = n + n % 3;
            uint32_t *rows = test_guarded((31 * ld + n) * sizeof *rows);
            uint32_t *got = test_guarded(n * NIB_PANEL * sizeof *got),
                     *want = test_guarded(n * NIB_PANEL * sizeof *got);
            float *a = test_floats(n, 1), *b = test_floats(n, 1);
            uint16_t *half = test_values(NIB_BF16, n, 1), *other = test_values(NIB_BF16, n, 1);
            uint32_t *pairs = test_guarded(n * sizeof *pairs),
                     *pairs_want = test_guarded(n * sizeof *pairs);

            for (size_t i = 0; i < 31 * ld + n; i++) rows[i] = test_rand();
            for (size_t apart = 0; apart < 30; apart += 29) {
                size_t strip = n * NIB_STRIP + apart, words = strip + n * NIB_STRIP;
                uint32_t *to = test_guarded(words * sizeof *to),
                         *to_want = test_guarded(words * sizeof *to);
                memset(to, 0, words * sizeof *to);
                memset(to_want, 0, words * sizeof *to);
                nib_pack_transposed_ref(n, rows, ld, to_want, strip);
                k.pack_transposed(n, rows, ld, to, strip);
                CHECK(memcmp(to, to_want, words * sizeof *to) == 0, "%s transposes %zu", name, n);
            }
            nib_pack_widened_ref(n, (uint16_t *)rows, ld, (float *)want);
            k.pack_widened(n, (uint16_t *)rows, ld, (float *)got);
            CHECK(memcmp(got, want, n * NIB_PANEL * sizeof *got) == 0,
                  "%s transposes %zu bfloat16 values", name, n);
            for (int i = 0; i < 2; i++) {
                nib_dtype type = i ? NIB_BF16 : NIB_F32;
                void *lines = test_values(type, (n - 1) * 33 + NIB_PANEL, 1);
                nib_pack_rows_ref(type, n, lines, 33, (float *)want);
                k.pack_rows(type, n, lines, 33, (float *)got);
                CHECK(memcmp(got, want, n * NIB_PANEL * sizeof *got) == 0,
                      "%s packs %zu rows of %s",
                      name, n, nib_dtype_name(type));
            }
            a[n / 2] = NAN;
            b[n - 1] = 0x1p-130f;
            nib_pack_pairs_ref(n, a, b, pairs_want);
            k.pack_pairs(n, a, b, pairs);
            CHECK(memcmp(pairs, pairs_want, n * sizeof *pairs) == 0, "%s packs %zu pairs", name, n);
            nib_interleave_ref(n, half, other, pairs_want);
            k.interleave(n, half, other, pairs);
            CHECK(memcmp(pairs, pairs_want, n * sizeof *pairs) == 0, "%s interleaves %zu", name, n);
        }
}

static void test_dot(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 1; n < 150; n++) {
            float *x = test_floats(n, 1), *y = test_floats(n, 1);
            double want = 0;
            for (size_t i = 0; i < n; i++) want += (double)x[i] * (double)y[i];
            CHECK(fabs((double)k.dot(n, x, y) - want) < 1e-5, "%s dot of %zu", name, n);
        }
}

int main(void)
{
    static const test_case cases[] = { { "float", test_float }, { "bfloat16", test_bfloat16 },
                                       { "packers", test_packers }, { "dot", test_dot } };
    return test_main("gemm", cases, NIB_COUNT(cases));
}
