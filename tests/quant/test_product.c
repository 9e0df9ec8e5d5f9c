/* test_product.c - the products of product.h against sums in double: odd shapes, both directions,
 * both compute types, every instruction set of this machine; and what is promised bit for bit: any
 * number of threads, and a row by itself. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "quant/product.h"
#include "test.h"

nib_gemm_bf16_fn nib_gemm_bf16_avx512bf16emu, nib_gemm_bf16_amxemu; /* only tests know them */

typedef struct shape { size_t rows, out, in, rank; } shape;
static const shape shapes[] = {
    { 1, 1, 2, 0 },
    { 3, 33, 64, 2 },
    { 5, 130, 70, 4 },
    { 17, 64, 1100, 0 },
    { 60, 200, 192, 8 },
    { 230, 96, 130, 3 },
    /* all ways to divide: deep, wide, many rows; widths that are no whole panels */
    { 7, 330, 2300, 2 },
    { 5, 2300, 330, 3 },
    { 4, 1210, 64, 3 },
    { 520, 130, 33, 2 },
    /* rows that begin on pages */
    { 6, 1024, 2048, 1 }
};

typedef struct problem {
    shape s;
    float *x, *w, *u, *factor, *gain, *bias, *before; /* gain: NULL in half of them */
    nib_weight *weight;
    nib_ctx *ctx;
} problem;

static float *numbers(size_t n)
{
    float *p = test_guarded((n ? n : 1) * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = nib_round_bf16(test_rand_float());
    return p;
}

static problem make(nib_ctx *ctx, shape s, bool back)
{
    problem p = { .s = s, .ctx = ctx };
    nib_error err;

    p.x = numbers(s.rows * (back ? s.out : s.in));
    p.w = numbers(s.out * s.in);
    p.u = numbers(s.rows * s.rank);
    p.factor = numbers(s.rank * (back ? s.in : s.out));
    p.bias = numbers(s.out);
    p.before = numbers(s.rows * (back ? s.in : s.out));
    if (nib_weight_dense(ctx, s.out, s.in, NIB_F32, p.w, NULL, &p.weight, &err))
        CHECK(false, "%s", err.message);
    return p;
}

static double expected(const problem *p, bool back, size_t m, size_t n)
{
    double sum = 0;
    size_t depth = back ? p->s.out : p->s.in;

    for (size_t k = 0; k < depth; k++)
        sum += (double)p->x[m * depth + k] *
               (double)(back ? p->w[k * p->s.in + n] : p->w[n * p->s.in + k]);
    for (size_t r = 0; r < p->s.rank; r++)
        sum += (double)p->u[m * p->s.rank + r] *
               (double)(back ? p->factor[r * p->s.in + n] : p->factor[n * p->s.rank + r]);
    if (back) return sum;
    return (p->gain ? (double)p->gain[n] : 1) * sum + (double)p->bias[n];
}

/* A way to call a product. */
enum { BACK = 1, BFLOAT16 = 2, ADD = 4, ROUNDED = 8 /* results of bfloat16 too */, WAYS = 16 };

/* Runs rows [m0, m1) and gives the results as floats; ADD: to p->before. */
static float *run(const problem *p, const nib_kernels *k, int way, size_t m0, size_t m1)
{
    bool back = way & BACK, add = way & ADD;
    nib_dtype type = way & BFLOAT16 ? NIB_BF16 : NIB_F32;
    size_t depth = back ? p->s.out : p->s.in, wide = back ? p->s.in : p->s.out, rows = m1 - m0;
    void *x = p->x + m0 * depth;
    float *y = test_guarded(rows * wide * sizeof *y);
    uint16_t *rounded = test_guarded(rows * wide * sizeof *rounded);
    size_t bytes = nib_product_scratch_bytes(p->ctx, p->s.in, p->s.rank, rows),
           ready = nib_operand_bytes(k, type, depth, rows);
    nib_product_args a = { .type = type, .rows = rows, .y = y, .ldy = wide, .y_type = NIB_F32,
                           .gain = back ? NULL : p->gain, .bias = back ? NULL : p->bias,
                           .u = p->s.rank ? p->u + m0 * p->s.rank : NULL,
                           .factor = p->factor, .rank = p->s.rank, .accumulate = add };

    /* what is there when nothing is added does not matter */
    memcpy(y, p->before + m0 * wide, rows * wide * sizeof *y);
    if (type == NIB_BF16) {
        uint16_t *half = test_guarded(rows * depth * sizeof *half);
        for (size_t i = 0; i < rows * depth; i++) half[i] = nib_f32_to_bf16(((float *)x)[i]);
        x = half;
    }
    a.x = nib_operand_ready(p->ctx, k, rows, depth, (nib_operand){ x, depth, type },
                            test_guarded(ready));
    if (way & ROUNDED) {
        for (size_t i = 0; i < rows * wide; i++) rounded[i] = nib_f32_to_bf16(y[i]);
        a.y = rounded;
        a.y_type = NIB_BF16;
    }
    (back ? nib_product_backward : nib_product_forward)(p->ctx, k, p->weight, &a,
                                                        test_guarded((bytes + 63) / 64 * 64));
    for (size_t i = 0; way & ROUNDED && i < rows * wide; i++) y[i] = nib_bf16_to_f32(rounded[i]);
    return y;
}

static void check_kernels(nib_kernels k, const char *name)
{
    nib_ctx *one = test_ctx_threads(1, NULL),
            *more[] = { test_ctx_threads(2, NULL), test_ctx_threads(5, NULL) };

    for (size_t i = 0; i < NIB_COUNT(shapes); i++)
        for (int how = 0; how < WAYS; how++) {
            bool back = how & BACK, add = how & ADD;
            double near = how & ROUNDED ? 1.0 / 256 : 0;
            problem p;
            float *y, *again, *alone;
            size_t wide, last, kept = test_guarded_count();

            if (how & ROUNDED && !(how & BFLOAT16)) continue;
            p = make(one, shapes[i], back);
            if ((i + (size_t)how / 2) % 2) p.gain = numbers(p.s.out);
            wide = back ? p.s.in : p.s.out;
            last = p.s.rows - 1;
            y = run(&p, &k, how, 0, p.s.rows);

            for (size_t m = 0; m < p.s.rows; m++)
                for (size_t n = 0; n < wide; n++) {
                    double want = expected(&p, back, m, n) +
                                  (add ? (double)p.before[m * wide + n] : 0);
                    if (!(fabs((double)y[m * wide + n] - want) <= 2e-4 + near * fabs(want))) {
                        CHECK(false, "%s shape %zu way %d: y[%zu, %zu] = %g, expected %g", name, i,
                              how, m, n, (double)y[m * wide + n], want);
                        return;
                    }
                }
            if (how & ROUNDED && !add) { /* one rounding of the same sums, in a register or after */
                float *sums = run(&p, &k, how & ~ROUNDED, 0, p.s.rows);
                size_t differ = 0;
                for (size_t j = 0; j < p.s.rows * wide; j++)
                    differ += y[j] != nib_round_bf16(sums[j]);
                CHECK(differ == 0, "%s shape %zu way %d: %zu rounded otherwise", name, i, how,
                      differ);
            }
            for (size_t t = 0; t < NIB_COUNT(more); t++) {
                p.ctx = more[t];
                again = run(&p, &k, how, 0, p.s.rows);
                alone = run(&p, &k, how, last, p.s.rows);
                CHECK(memcmp(y, again, p.s.rows * wide * sizeof *y) == 0,
                      "%s shape %zu way %d: %u threads differ", name, i, how, nib_threads(more[t]));
                CHECK(memcmp(y + last * wide, alone, wide * sizeof *y) == 0,
                      "%s shape %zu way %d: a row alone differs", name, i, how);
            }
            nib_weight_destroy(one, p.weight);
            test_free_guarded(kept);
        }
}

static void test_variants(void)
{
    static const char *const names[] = { "ref", "avx2", "avx512", "avx512bf16", "amx" };
    uint32_t has = nib_cpu_detect(), cpu;

    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (nib_cpu_from_name(names[i], &cpu) && (has & cpu) == cpu)
            check_kernels(nib_kernels_for(cpu), names[i]);
}

/* The bfloat16 kernels with their instructions emulated, on every AVX-512 machine. */
static void test_emulated(void)
{
    nib_kernels k;

    if (!(nib_cpu_detect() & NIB_CPU_AVX512)) {
        test_skip("no AVX-512: make test-emulated runs it");
        return;
    }
    k = nib_kernels_for(NIB_CPU_AVX2 | NIB_CPU_AVX512);
    k.gemm_bf16 = nib_gemm_bf16_avx512bf16emu;
    check_kernels(k, "emulated pairs");
    k.gemm_bf16 = nib_gemm_bf16_amxemu;
    check_kernels(k, "emulated tiles");
}

static nib_operand operand(const float *x, size_t n, size_t ld, nib_dtype type)
{
    uint16_t *half = test_guarded(n * sizeof *half);

    for (size_t i = 0; i < n; i++) half[i] = nib_f32_to_bf16(x[i]);
    return type == NIB_F32 ? (nib_operand){ x, ld, type } : (nib_operand){ half, ld, type };
}

enum { INNER, GRAD_A, GRAD_B, LOWRANK };

/* Inner values, and gradients of the factors, from rows of either type: any number of threads. */
static void test_lowrank(void)
{
    nib_ctx *ctx[2] = { test_ctx_threads(1, NULL), test_ctx_threads(2, NULL) };
    nib_kernels k = nib_kernels_for(nib_cpu_detect());
    size_t rows = 77, in = 130, rank = 5, sizes[LOWRANK] = { rows * rank, rank * in, rank * in };
    float *x = numbers(rows * in), *v = numbers(rows * rank), *a = numbers(rank * in),
        *got[4][LOWRANK];

    for (int i = 0; i < 4; i++) {
        nib_ctx *c = ctx[i % 2];
        nib_operand given = operand(x, rows * in, in, i < 2 ? NIB_F32 : NIB_BF16);
        size_t bytes = nib_lowrank_scratch_bytes(c, in, in, rank, rows);
        void *scratch = test_guarded((bytes + 63) / 64 * 64);

        for (int j = 0; j < LOWRANK; j++) got[i][j] = test_guarded(sizes[j] * sizeof(float));
        nib_lowrank_inner(c, &k, rows, in, rank, given, a, 0.5f, got[i][INNER], scratch);
        nib_lowrank_grad_a(c, &k, rows, in, rank, v, given, got[i][GRAD_A], scratch);
        nib_lowrank_grad_b(c, &k, rows, in, rank, v, given, got[i][GRAD_B], scratch);
        for (int j = 0; j < LOWRANK; j++)
            CHECK(memcmp(got[i][j], got[0][j], sizes[j] * sizeof(float)) == 0,
                  "%s with %d threads differs", i < 2 ? "float32" : "bfloat16", i % 2 + 1);
    }
    for (size_t r = 0; r < rank; r++)
        for (size_t c = 0; c < in; c++) {
            double sum = 0;
            for (size_t m = 0; m < rows; m++)
                sum += (double)v[m * rank + r] * (double)x[m * in + c];
            CHECK(fabs(sum - (double)got[0][GRAD_A][r * in + c]) < 1e-4 &&
                      got[0][GRAD_A][r * in + c] == got[0][GRAD_B][c * rank + r],
                  "gradient [%zu, %zu]", r, c);
        }
    for (size_t m = 0; m < rows; m++) {
        double sum = 0;
        for (size_t c = 0; c < in; c++) sum += (double)x[m * in + c] * (double)a[c];
        CHECK(fabs(0.5 * sum - (double)got[0][INNER][m * rank]) < 1e-4, "inner value %zu", m);
    }
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants },
                                       { "emulated", test_emulated },
                                       { "lowrank", test_lowrank } };
    return test_main("product", cases, NIB_COUNT(cases));
}
