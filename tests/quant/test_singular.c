/* test_singular.c - the greatest singular values: matrices of low rank come back, others lose what
 * LAPACK's full decomposition says, any number of threads gives the same bits; leading QR. */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "quant/singular.h"
#include "test.h"

enum { MOST = 700 };

typedef struct factors { float *u, *s, *v; } factors;

static factors room(size_t out, size_t in, size_t rank)
{
    return (factors){ test_guarded(out * rank * sizeof(float)), test_guarded(rank * sizeof(float)),
                      test_guarded(rank * in * sizeof(float)) };
}

static double norm_of(const float *a, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)a[i];
    return sqrt(sum);
}

/* |A - U S V| */
static double lost(const float *a, size_t out, size_t in, size_t rank, factors f)
{
    double sum = 0;

    for (size_t i = 0; i < out; i++)
        for (size_t j = 0; j < in; j++) {
            double d = (double)a[i * in + j];
            for (size_t r = 0; r < rank; r++)
                d -= (double)f.u[i * rank + r] * (double)f.s[r] * (double)f.v[r * in + j];
            sum += d * d;
        }
    return sqrt(sum);
}

static float *random_matrix(size_t out, size_t in)
{
    float *a = test_guarded(out * in * sizeof *a);
    for (size_t i = 0; i < out * in; i++) a[i] = test_rand_float();
    return a;
}

/* Of rank `rank`: the product of two. */
static float *low_rank(size_t out, size_t in, size_t rank)
{
    float *x = random_matrix(out, rank), *y = random_matrix(rank, in),
          *a = test_guarded(out * in * sizeof *a);

    for (size_t i = 0; i < out; i++)
        for (size_t j = 0; j < in; j++) {
            double sum = 0;
            for (size_t r = 0; r < rank; r++)
                sum += (double)x[i * rank + r] * (double)y[r * in + j];
            a[i * in + j] = (float)sum;
        }
    return a;
}

static const struct shape { size_t out, in; } shapes[] = {
    { 40, 60 }, { 60, 40 }, { 300, 33 }, { 33, 600 }, { 1, 9 }, { 9, 1 }, { 300, 300 },
};

static const int ways[] = { NIB_SVD_EXACT, 0, 2 };

/* A matrix of rank 5 and less: nothing is lost, and what goes beyond its rank is nothing. */
static void test_low_rank(void)
{
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(shapes); i++)
        for (size_t w = 0; w < NIB_COUNT(ways); w++) {
            size_t out = shapes[i].out, in = shapes[i].in, least = nib_min(out, in);
            size_t is = nib_min(5, least), rank = nib_min(is + 3, least);
            const float *a = low_rank(out, in, is);
            double norm = norm_of(a, out * in);
            factors f = room(out, in, rank);
            const nib_svd_options o = { .rank = rank, .iterations = ways[w], .seed = 7, .key = 3 };

            REQUIRE_OK(nib_svd(test_ctx(), a, out, in, &o, f.u, f.s, f.v, &err), err);
            CHECK(lost(a, out, in, rank, f) < 2e-6 * norm, "[%zu, %zu], %d iterations: %g of %g",
                  out, in, ways[w], lost(a, out, in, rank, f), norm);
            for (size_t r = is; r < rank; r++)
                CHECK(f.s[r] < 1e-5 * norm, "value %zu is %g", r, (double)f.s[r]);
        }
}

static void check_orthonormal(const char *what, const float *m, size_t count, size_t n,
                              size_t next, size_t step)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += (double)m[i * next + k * step] * (double)m[j * next + k * step];
            CHECK(fabs(sum - (i == j)) < 2e-5, "%s %zu x %zu: %g", what, i, j, sum);
        }
}

/* All singular values by LAPACK; a is kept. */
static void reference(const float *a, size_t out, size_t in, float *u, float *s, float *v)
{
    size_t n = nib_min(out, in);
    float *copy = test_guarded(out * in * sizeof *copy);

    memcpy(copy, a, out * in * sizeof *copy);
    CHECK(LAPACKE_sgesdd(LAPACK_ROW_MAJOR, 'S', (int)out, (int)in, copy, (int)in, s, u, (int)n, v,
                         (int)in) == 0);
}

/* The product of a left and a right vector has no sign to choose. */
static void check_same_pairs(size_t out, size_t in, size_t rank, factors f, const float *u,
                             const float *v)
{
    size_t n = nib_min(out, in);

    for (size_t r = 0; r < rank; r++)
        for (size_t i = 0; i < out; i++)
            for (size_t j = 0; j < in; j += 7) {
                double got = (double)f.u[i * rank + r] * (double)f.v[r * in + j],
                       want = (double)u[i * n + r] * (double)v[r * in + j];
                REQUIRE(fabs(got - want) < 2e-5, "pair %zu [%zu, %zu]: %g, LAPACK %g", r, i, j,
                        got, want);
            }
}

/* Exact: LAPACK's values and vectors, of random matrices, whose values lie close together. */
static void test_exact_is_lapack(void)
{
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(shapes); i++) {
        size_t out = shapes[i].out, in = shapes[i].in, n = nib_min(out, in), rank = nib_min(6, n);
        const float *a = random_matrix(out, in);
        float s[MOST], *u = test_guarded(out * n * sizeof *u),
              *v = test_guarded(n * in * sizeof *v);
        factors f = room(out, in, rank);
        const nib_svd_options o = { .rank = rank, .iterations = NIB_SVD_EXACT };
        double rest = 0;

        reference(a, out, in, u, s, v);
        REQUIRE_OK(nib_svd(test_ctx(), a, out, in, &o, f.u, f.s, f.v, &err), err);
        for (size_t r = 0; r < n; r++) {
            if (r < rank)
                CHECK(fabsf(f.s[r] - s[r]) < 2e-6f * s[0], "[%zu, %zu] value %zu is %.9g, LAPACK's "
                      "%.9g", out, in, r, (double)f.s[r], (double)s[r]);
            else rest += (double)s[r] * (double)s[r];
        }
        CHECK(fabs(lost(a, out, in, rank, f) - sqrt(rest)) < 1e-5 * (double)s[0]);
        check_orthonormal("left", f.u, rank, out, 1, rank);
        check_orthonormal("right", f.v, rank, in, in, 1);
        check_same_pairs(out, in, rank, f, u, v);
    }
}

/* A random matrix loses little more than with the best of its rank after a few iterations, and
 * less the more there are. */
static void test_iterations(void)
{
    enum { OUT = 300, IN = 200, RANK = 8 };
    const float *a = random_matrix(OUT, IN);
    float s[MOST], *u = test_guarded(OUT * IN * sizeof *u), *v = test_guarded(IN * IN * sizeof *v);
    factors f = room(OUT, IN, RANK);
    double best = 0, before = INFINITY;
    nib_error err;

    reference(a, OUT, IN, u, s, v);
    for (size_t r = RANK; r < IN; r++) best += (double)s[r] * (double)s[r];
    best = sqrt(best);
    for (int iterations = 0; iterations <= 16; iterations = 2 * iterations + 1) {
        const nib_svd_options o = { .rank = RANK, .iterations = iterations, .seed = 42 };
        double gone;
        REQUIRE_OK(nib_svd(test_ctx(), a, OUT, IN, &o, f.u, f.s, f.v, &err), err);
        gone = lost(a, OUT, IN, RANK, f);
        CHECK(gone >= best * (1 - 1e-6) && gone <= before, "%d: %g, best %g, before %g",
              iterations, gone, best, before);
        if (iterations >= 3)
            CHECK(gone < (iterations > 3 ? 1.002 : 1.005) * best, "%d: %g, best %g", iterations,
                  gone, best);
        check_orthonormal("left", f.u, RANK, OUT, 1, RANK);
        check_orthonormal("right", f.v, RANK, IN, IN, 1);
        before = gone;
    }
}

static void test_threads(void)
{
    enum { OUT = 700, IN = 555, RANK = 6 };
    const float *a = random_matrix(OUT, IN);
    const int threads[] = { 1, 2, 5 };
    nib_error err;

    for (size_t w = 0; w < NIB_COUNT(ways); w++) {
        const nib_svd_options o = { .rank = RANK, .iterations = ways[w], .seed = 1, .key = 2 };
        factors first = { 0 };
        for (size_t t = 0; t < NIB_COUNT(threads); t++) {
            factors f = room(OUT, IN, RANK);
            REQUIRE_OK(nib_svd(test_ctx_threads(threads[t], NULL), a, OUT, IN, &o, f.u, f.s, f.v,
                               &err), err);
            if (!t) first = f;
            CHECK(memcmp(f.u, first.u, OUT * RANK * sizeof(float)) == 0 &&
                  memcmp(f.s, first.s, RANK * sizeof(float)) == 0 &&
                  memcmp(f.v, first.v, RANK * IN * sizeof(float)) == 0,
                  "%d iterations, %d threads", ways[w], threads[t]);
        }
    }
}

/* Seed and key choose the subspace. */
static void test_seeds(void)
{
    enum { OUT = 90, IN = 80, RANK = 3 };
    const float *a = random_matrix(OUT, IN);
    const struct { uint64_t seed; uint32_t key; } seeds[] = { { 1, 1 }, { 2, 1 }, { 1, 2 },
                                                              { (uint64_t)1 << 40 | 1, 1 } };
    factors f[NIB_COUNT(seeds)];
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(seeds); i++) {
        const nib_svd_options o = { RANK, 0, seeds[i].seed, seeds[i].key };
        f[i] = room(OUT, IN, RANK);
        REQUIRE_OK(nib_svd(test_ctx(), a, OUT, IN, &o, f[i].u, f[i].s, f[i].v, &err), err);
        for (size_t k = 0; k < i; k++)
            CHECK(memcmp(f[i].u, f[k].u, OUT * RANK * sizeof(float)) != 0, "%zu as %zu", i, k);
    }
}

/* Leading columns and rows of LAPACK's QR of the whole matrix, signs too. */
static void test_qr(void)
{
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(shapes); i++) {
        size_t out = shapes[i].out, in = shapes[i].in, n = nib_min(out, in), rank = nib_min(6, n);
        const float *a = random_matrix(out, in);
        float *whole = test_guarded(out * in * sizeof *whole), tau[MOST],
              *q = test_guarded(out * rank * sizeof *q), *r = test_guarded(rank * in * sizeof *r);

        REQUIRE_OK(nib_qr(test_ctx(), a, out, in, rank, q, r, &err), err);
        memcpy(whole, a, out * in * sizeof *whole);
        REQUIRE(LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, (int)out, (int)in, whole, (int)in, tau) == 0);
        for (size_t j = 0; j < rank; j++)
            for (size_t k = 0; k < in; k++) {
                float want = k < j ? 0 : whole[j * in + k];
                CHECK(fabsf(r[j * in + k] - want) < 1e-5f * (1 + fabsf(want)),
                      "[%zu, %zu] R %zu %zu: %g, LAPACK %g", out, in, j, k,
                      (double)r[j * in + k], (double)want);
            }
        REQUIRE(LAPACKE_sorgqr(LAPACK_ROW_MAJOR, (int)out, (int)n, (int)n, whole, (int)in,
                               tau) == 0);
        for (size_t j = 0; j < out; j++)
            for (size_t k = 0; k < rank; k++)
                CHECK(fabsf(q[j * rank + k] - whole[j * in + k]) < 1e-5f, "Q %zu %zu", j, k);
    }
}

static void test_not_finite(void)
{
    float *a = random_matrix(12, 10), u[36], s[3], v[30];
    nib_error err;

    a[57] = NAN;
    for (size_t w = 0; w < NIB_COUNT(ways); w++) {
        const nib_svd_options o = { .rank = 3, .iterations = ways[w] };
        CHECK(nib_svd(test_ctx(), a, 12, 10, &o, u, s, v, &err) == NIB_E_NUMERIC);
        CHECK(strstr(err.message, "row 5, column 7"), "%s", err.message);
    }
    a[57] = INFINITY;
    CHECK(nib_qr(test_ctx(), a, 12, 10, 3, u, v, &err) == NIB_E_NUMERIC);
}

/* Each allocation fails once. */
static void test_no_memory(void)
{
    const float *a = random_matrix(12, 10);
    float u[36], s[3], v[30];
    nib_error err;

    for (size_t way = 0; way <= NIB_COUNT(ways); way++)
        for (size_t at = 1;; at++) {
            test_heap heap = { .fail_at = 0 };
            nib_ctx *ctx = test_ctx_heap(&heap);
            const nib_svd_options o = { .rank = 3, .iterations = way ? ways[way - 1] : 0 };
            size_t live = heap.live, calls = heap.calls;
            nib_status status;

            heap.fail_at = calls + at;
            status = way ? nib_svd(ctx, a, 12, 10, &o, u, s, v, &err)
                         : nib_qr(ctx, a, 12, 10, 3, u, v, &err);
            CHECK(heap.live == live, "way %zu, allocation %zu: %zu left", way, at,
                  heap.live - live);
            test_ctx_release(ctx);
            if (!status) break;
            CHECK(status == NIB_E_NOMEM);
            REQUIRE(at < 20);
        }
}

int main(void)
{
    static const test_case cases[] = {
        { "low rank comes back", test_low_rank },
        { "exact is LAPACK's", test_exact_is_lapack },
        { "iterations", test_iterations },
        { "any number of threads", test_threads },
        { "seeds", test_seeds },
        { "leading QR", test_qr },
        { "values that are not finite", test_not_finite },
        { "no memory", test_no_memory },
    };
    return test_main("singular", cases, NIB_COUNT(cases));
}
