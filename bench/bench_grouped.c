/* bench_grouped.c - grouped integers, small floats and codebooks beside NF4: the product of rows,
 * forward and backward, and of one row from memory, a row for each form; what a form's reaches of
 * NF4's in the same run stands behind it.  `bench_grouped dots`: one row alone;
 * `bench_grouped bfloat16`: products of rows in that type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "quant/product.h"

enum { SIDE = 4096, ROWS = 512, COLD_BYTES = 96 << 20, MOST_COPIES = 96 };

typedef struct work {
    nib_ctx *ctx;
    nib_kernels k;
    nib_weight *copies[MOST_COPIES]; /* for one row, in turn: no cache holds them all */
    size_t count, next;
    nib_product_args args;
    void *scratch, *ready;
    enum { FORWARD, BACKWARD, ONE_ROW } kind;
} work;

static void run(void *arg)
{
    work *p = arg;
    nib_product_args a = p->args;
    const nib_weight *w = p->copies[p->kind == ONE_ROW ? p->next++ % p->count : 0];

    if (p->kind != ONE_ROW)
        a.x = nib_operand_ready(p->ctx, &p->k, a.rows, a.x.ld, a.x, p->ready);
    if (p->kind == FORWARD) nib_product_forward(p->ctx, &p->k, w, &a, p->scratch);
    else if (p->kind == BACKWARD) nib_product_backward(p->ctx, &p->k, w, &a, p->scratch);
    else nib_product_dot(p->ctx, &p->k, w, &a, p->scratch);
}

/* The values in the form, or random ones where it is read alone. */
static nib_weight *encoded(nib_ctx *ctx, const char *text, const float *values)
{
    nib_weight *dense = NULL, *w = NULL;
    nib_form form = { .dtype = NIB_F32 };
    nib_error err = { 0 };
    bool known = nib_form_parse(text, &form);

    if (known && !form.scheme->encode) {
        bench_demand(nib_weight_blank(ctx, &form, SIDE, SIDE, &dense, &err), &err);
        bench_demand(nib_weight_fill(ctx, dense, &w, &err), &err);
    } else if (!known ||
               nib_weight_dense(ctx, SIDE, SIDE, NIB_F32, values, NULL, &dense, &err) ||
               nib_form_encode(ctx, &form, dense, &w, &err)) {
        fprintf(stderr, "%s: %s\n", text, err.message);
        exit(1);
    }
    nib_weight_destroy(ctx, dense);
    return w;
}

/* The rates of one form, of kinds begin to end; those of the first, NF4, are what the others are
 * compared with. */
static void bench_form(work *p, const char *text, int begin, int end, double first[3])
{
    static const char *const names[] = { "forward", "backward", "one row" };

    for (int i = begin; i < end; i++) {
        double seconds, amount = 2.0 * ROWS * SIDE * SIDE, rate;
        p->kind = i;
        p->args.rows = i == ONE_ROW ? 1 : ROWS;
        p->args.precision = i == ONE_ROW ? NIB_PRECISION_HIGH : NIB_PRECISION_HIGHEST;
        seconds = bench_best(i == ONE_ROW ? 30 : 5, run, p);
        if (i == ONE_ROW) amount = (double)p->copies[0]->bytes;
        rate = amount / seconds * 1e-9;
        if (first[i] == 0) first[i] = rate;
        printf("  %-26s %-8s %8.2f %s  %5.2f of NF4\n", text, names[i], rate,
               i == ONE_ROW ? "GB/s" : "GF/s", rate / first[i]);
    }
}

/* Enough of them for one row from memory. */
static void make_copies(work *p, const char *text, const float *values)
{
    p->copies[0] = encoded(p->ctx, text, values);
    p->count = nib_min(COLD_BYTES / p->copies[0]->bytes + 1, MOST_COPIES);
    for (size_t i = 1; i < p->count; i++) p->copies[i] = encoded(p->ctx, text, values);
}

int main(int argc, char **argv)
{
    static const char *const forms[] = {
        "nf4 64", "gptq 4 128 sym", "gptq 4 128 asym", "gptq 8 128 sym", "gptq 3 128 sym",
        "gptq 2 128 sym", "awq 4 128 asym", "pack-quantized 4 128 sym", "pack-quantized 8 128 sym",
        "pack-quantized 3 128 sym", "int-quantized 8 row sym", "fp8 128x128", "mxfp4", "nvfp4",
        "aqlm 1x16 of 1x8", "aqlm 2x8 of 1x8", "aqlm 8x8 of 1x8",
        "mlx 4 64 affine", "mlx 8 64 affine", "mlx 3 64 affine",
    };
    nib_ctx *ctx = bench_ctx(1);
    float *values = bench_numbers(NIB_F32, (size_t)SIDE * SIDE, 7);
    work p = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)) };
    double first[3] = { 0 };
    const char *only = argc > 1 ? argv[1] : "";
    nib_dtype type = strcmp(only, "bfloat16") == 0 ? NIB_BF16 : NIB_F32;

    p.scratch = bench_bytes(nib_product_scratch_bytes(ctx, SIDE, 0, ROWS) + 64, 1);
    p.ready = bench_bytes(nib_operand_bytes(&p.k, type, SIDE, ROWS) + 64, 1);
    p.args = (nib_product_args){ .type = type, .y_type = type, .ldy = SIDE,
                                 .x = { bench_numbers(type, (size_t)ROWS * SIDE, 5), SIDE, type },
                                 .y = bench_bytes((size_t)ROWS * SIDE * sizeof(float), 6) };
    bench_title(ctx, "grouped integers, %d x %d, %d rows, %s", SIDE, SIDE, ROWS,
                nib_dtype_name(type));
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        make_copies(&p, forms[i], values);
        bench_form(&p, forms[i], strcmp(only, "dots") == 0 ? ONE_ROW : FORWARD,
                   type == NIB_F32 ? ONE_ROW + 1 : ONE_ROW, first);
        for (size_t c = 0; c < p.count; c++) nib_weight_destroy(ctx, p.copies[c]);
    }
    free((void *)(uintptr_t)p.args.x.x);
    free(p.args.y);
    free(p.ready);
    free(p.scratch);
    free(values);
    nib_ctx_destroy(ctx);
    return 0;
}
