/* test_product_dot.c - products of one to four rows with weights of every scheme against sums in
 * double, with bias, low-rank part and a slice of the outputs; and what is the same bit for bit:
 * any number of threads, a row alone, some of the outputs. */
#include <math.h>
#include <string.h>

#include "base/thread.h"
#include "quant/bnb4.h"
#include "quant/product.h"
#include "variants.h"

enum { OUT = 77, RANK = 3, BITS4 = -1 };

static const struct form {
    const char *name;
    int dense; /* type of a dense weight, or BITS4 */
    size_t in;
    nib_bnb4_options options;
} forms[] = {
    { "float32", NIB_F32, 200, { 0 } },
    { "bfloat16", NIB_BF16, 200, { 0 } },
    { "float16", NIB_F16, 130, { 0 } },
    { "nf4", BITS4, 192, { .blocksize = 64 } },
    { "nf4, nested", BITS4, 320, { .blocksize = 64, .double_quant = true } },
    { "fp4, blocks over several rows", BITS4, 192, { .blocksize = 1024, .fp4 = true } },
    { "nf4, small blocks", BITS4, 96, { .blocksize = 32 } },
    { "nf4, rows of odd blocks", BITS4, 70, { .blocksize = 64 } },
};

static const struct way {
    const char *name;
    nib_dtype type, y_type;
    nib_precision precision;
    double share; /* of the sum of the terms' sizes that may be lost */
} ways[] = {
    { "highest", NIB_F32, NIB_F32, NIB_PRECISION_HIGHEST, 1e-6 },
    { "high", NIB_F32, NIB_F32, NIB_PRECISION_HIGH, 1e-4 },
    { "bfloat16", NIB_BF16, NIB_BF16, NIB_PRECISION_HIGHEST, 8e-3 }, /* of weights and result */
    { "bfloat16 to float", NIB_BF16, NIB_F32, NIB_PRECISION_HIGHEST, 4e-3 },
};

typedef struct problem {
    nib_ctx *ctx;
    const nib_kernels *k;
    nib_weight *w;
    const struct way *way;
    void *x;                          /* [NIB_DOT_ROWS, in] of the way's type */
    float *decoded, *gain, *bias;     /* [OUT, in], [OUT] or NULL, [OUT] */
    float *u, *b;                     /* [NIB_DOT_ROWS, RANK], [OUT, RANK] */
} problem;

static nib_weight *make_weight(nib_ctx *ctx, const struct form *f)
{
    nib_weight *dense = NULL, *w = NULL;
    nib_bnb4_options options = f->options;
    nib_error err = { 0 };
    nib_dtype type = f->dense == BITS4 ? NIB_F32 : (nib_dtype)f->dense;
    float *values = test_floats(OUT * f->in, 1);
    void *stored = test_guarded(OUT * f->in * nib_dtype_bytes(type));

    nib_convert(stored, type, values, NIB_F32, OUT * f->in);
    if (nib_weight_dense(ctx, OUT, f->in, type, stored, NULL, &dense, &err)) goto done;
    if (f->dense != BITS4) return dense;
    if (nib_bnb4_encode_weight(ctx, &options, dense, &w, &err)) goto done;
done:
    nib_weight_destroy(ctx, dense);
    if (!w) CHECK(false, "%s: %s", f->name, err.message);
    return w;
}

/* Rows [m0, m0 + rows), all outputs; ids: only those. */
static void *run(const problem *p, size_t m0, size_t rows, const uint32_t *ids, size_t count)
{
    size_t in = p->w->in, outputs = ids ? count : OUT;
    nib_product_args a = { .type = p->way->type, .precision = p->way->precision, .rows = rows,
                           .x = { (char *)p->x + m0 * in * nib_dtype_bytes(p->way->type),
                                  in, p->way->type },
                           .y_type = p->way->y_type, .ldy = outputs + 1, .gain = p->gain,
                           .bias = p->bias, .u = p->u + m0 * RANK, .factor = p->b, .rank = RANK };
    void *scratch = test_guarded(
        nib_round_up(nib_product_dot_scratch_bytes(p->ctx, in, NIB_DOT_ROWS), 64));

    a.y = test_guarded(rows * a.ldy * nib_dtype_bytes(a.y_type));
    if (ids) nib_product_dot_some(p->ctx, p->k, p->w, &a, ids, count, scratch);
    else nib_product_dot(p->ctx, p->k, p->w, &a, scratch);
    return a.y;
}

static double value_at(nib_dtype type, const void *x, size_t i)
{
    return type == NIB_F32 ? (double)((const float *)x)[i]
                           : (double)nib_bf16_to_f32(((const uint16_t *)x)[i]);
}

static void check_sums(const problem *p, const char *name, const void *y)
{
    size_t in = p->w->in;

    for (size_t m = 0; m < NIB_DOT_ROWS; m++)
        for (size_t n = 0; n < OUT; n++) {
            double gain = p->gain ? (double)p->gain[n] : 1, bias = (double)p->bias[n], sum = 0,
                   size = 0, got;
            for (size_t i = 0; i < in; i++) {
                double term = (double)p->decoded[n * in + i] *
                              value_at(p->way->type, p->x, m * in + i);
                sum += term;
                size += fabs(term);
            }
            for (size_t r = 0; r < RANK; r++) {
                double term = (double)p->u[m * RANK + r] * (double)p->b[n * RANK + r];
                sum += term;
                size += fabs(term);
            }
            sum = gain * sum + bias;
            size = fabs(gain) * size + fabs(bias);
            got = value_at(p->way->y_type, y, m * (OUT + 1) + n);
            CHECK(fabs(got - sum) <= p->way->share * size, "%s, %s: y[%zu, %zu] is %g, expected %g",
                  name, p->way->name, m, n, got, sum);
        }
}

static void check_bits(problem p, const char *name, nib_ctx *other, const char *y)
{
    static const uint32_t ids[] = { 5, 17, 18, 19, OUT - 1 };
    size_t bytes = nib_dtype_bytes(p.way->y_type), row = (OUT + 1) * bytes;
    const char *again;

    for (size_t m = 0; m < NIB_DOT_ROWS; m++) {
        again = run(&p, m, 1, NULL, 0);
        CHECK(memcmp(y + m * row, again, row - bytes) == 0, "%s, %s: row %zu alone differs", name,
              p.way->name, m);
    }
    again = run(&p, 1, 2, ids, NIB_COUNT(ids));
    for (size_t m = 0; m < 2; m++)
        for (size_t i = 0; i < NIB_COUNT(ids); i++)
            CHECK(memcmp(again + (m * (NIB_COUNT(ids) + 1) + i) * bytes,
                         y + (1 + m) * row + ids[i] * bytes, bytes) == 0,
                  "%s, %s: output %u by itself differs", name, p.way->name, ids[i]);
    p.ctx = other;
    again = run(&p, 0, NIB_DOT_ROWS, NULL, 0);
    for (size_t m = 0; m < NIB_DOT_ROWS; m++)
        CHECK(memcmp(y + m * row, again + m * row, row - bytes) == 0,
              "%s, %s: %u threads differ", name, p.way->name, nib_threads(other));
}

static void check_kernels(const nib_kernels *k, const char *name)
{
    nib_ctx *ctx = test_ctx_threads(2, NULL), *other = test_ctx_threads(3, NULL);
    char text[100];

    for (size_t f = 0; f < NIB_COUNT(forms); f++) {
        problem p = { .ctx = ctx, .k = k, .w = make_weight(ctx, &forms[f]) };
        REQUIRE(p.w);
        snprintf(text, sizeof text, "%s, %s", name, forms[f].name);
        p.decoded = test_floats(OUT * p.w->in, 0);
        nib_weight_decode(p.w, 0, OUT, p.decoded);
        p.bias = test_floats(OUT, 1);
        p.gain = f % 2 ? test_floats(OUT, 1) : NULL;
        p.u = test_floats(NIB_DOT_ROWS * RANK, 1);
        p.b = test_floats(OUT * RANK, 1);
        for (size_t i = 0; i < NIB_COUNT(ways); i++) {
            const void *y;
            p.way = &ways[i];
            p.x = test_values(p.way->type, NIB_DOT_ROWS * p.w->in, 1);
            y = run(&p, 0, NIB_DOT_ROWS, NULL, 0);
            check_sums(&p, text, y);
            check_bits(p, text, other, y);
        }
        nib_weight_destroy(ctx, p.w);
    }
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_kernels(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_kernels(&k, name);
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants } };
    return test_main("product_dot", cases, NIB_COUNT(cases));
}
