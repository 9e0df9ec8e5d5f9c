/* bench_blocks.c - ggml's block formats: one row from memory as fraction of the read bandwidth, and
 * the product of many rows as fraction of the peak; one row also beside NF4's in the same run. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "quant/product.h"
#include "quant/stored.h"

enum { IN = 4096, OUT = 4096, ROWS = 512, COLD_BYTES = 512 << 20 };

typedef struct work {
    nib_ctx *ctx;
    nib_kernels k;
    nib_weight **copies; /* one behind the other in memory: no cache holds them all */
    size_t count, next;
    nib_product_args args;
    void *scratch;
} work;

static void run_dot(void *arg)
{
    work *w = arg;

    nib_product_dot(w->ctx, &w->k, w->copies[w->next], &w->args, w->scratch);
    w->next = (w->next + 1) % w->count;
}

static void run_product(void *arg)
{
    work *w = arg;

    nib_product_forward(w->ctx, &w->k, w->copies[0], &w->args, w->scratch);
}

static void run_backward(void *arg)
{
    work *w = arg;

    nib_product_backward(w->ctx, &w->k, w->copies[0], &w->args, w->scratch);
}

/* Bytes a second of one row times NF4's weights. */
static double nf4_rate(nib_ctx *ctx)
{
    work w = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)) };
    nib_form form = { .dtype = NIB_F32 };
    float *values = bench_numbers(NIB_F32, (size_t)IN * OUT, 7);
    nib_weight *dense;
    nib_error err;
    double rate;
    bool known = nib_form_parse("nf4 64", &form);

    assert(known);
    (void)known;
    bench_demand(nib_weight_dense(ctx, OUT, IN, NIB_F32, values, NULL, &dense, &err), &err);
    w.count = COLD_BYTES / ((size_t)IN * OUT / 2) + 1;
    w.copies = bench_bytes(w.count * sizeof *w.copies, 1);
    for (size_t i = 0; i < w.count; i++)
        bench_demand(nib_form_encode(ctx, &form, dense, &w.copies[i], &err), &err);
    w.scratch = bench_bytes(nib_product_scratch_bytes(ctx, IN, 1, 1), 1);
    w.args = (nib_product_args){ .type = NIB_F32, .precision = NIB_PRECISION_HIGH, .rows = 1,
                                 .x = { values, IN, NIB_F32 }, .y = bench_bytes(OUT * 4, 1),
                                 .ldy = OUT, .y_type = NIB_F32 };
    rate = (double)w.copies[0]->bytes / bench_best(40, run_dot, &w);
    for (size_t i = 0; i < w.count; i++) nib_weight_destroy(ctx, w.copies[i]);
    nib_weight_destroy(ctx, dense);
    free(w.args.y);
    free(w.scratch);
    free(w.copies);
    free(values);
    return rate;
}

/* Scales of MXFP4 as models have them: with any byte as exponent most products would be subnormal
 * numbers, each of which Intel's processors take a hundred cycles for. */
static void keep_normal(const nib_block_layout *l, uint8_t *blocks, size_t bytes)
{
    if (l != &nib_block_layouts[NIB_BLOCK_MXFP4]) return;
    for (size_t at = 0; at < bytes; at += l->bytes) blocks[at] = (uint8_t)(118 + blocks[at] % 8);
}

static void bench_kind(nib_ctx *ctx, const nib_block_layout *l, double bandwidth, double peak,
                       double nf4)
{
    size_t bytes = (size_t)IN / l->values * l->bytes * OUT;
    work w = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)),
               .count = COLD_BYTES / bytes + 1 };
    uint8_t *data = bench_bytes(bytes * w.count, 3);
    nib_error err;
    char name[80];
    double seconds;

    keep_normal(l, data, bytes * w.count);
    w.copies = bench_bytes(w.count * sizeof *w.copies, 1);
    for (size_t i = 0; i < w.count; i++)
        bench_demand(nib_weight_blocks(ctx, l->name, OUT, IN, data + i * bytes, NULL, &w.copies[i],
                                       &err), &err);
    w.scratch = bench_bytes(nib_product_scratch_bytes(ctx, IN, 1, ROWS), 1);
    w.args = (nib_product_args){ .type = NIB_F32, .precision = NIB_PRECISION_HIGH, .rows = 1,
                                 .x = { bench_numbers(NIB_F32, (size_t)IN * ROWS, 1), IN,
                                        NIB_F32 },
                                 .y = bench_bytes((size_t)OUT * ROWS * 4, 1), .ldy = OUT,
                                 .y_type = NIB_F32 };
    seconds = bench_best(40, run_dot, &w);
    printf("  one row x %d -> %d, %-8s %9.3f ms %6.1f G weights/s %6.1f GB/s  "
           "%.2f of read bandwidth, %.2f of NF4\n", IN, OUT, l->name, seconds * 1e3,
           (double)IN * OUT / seconds * 1e-9, (double)bytes / seconds * 1e-9,
           (double)bytes / seconds / bandwidth, (double)bytes / seconds / nf4);
    w.args.rows = ROWS;
    for (int back = 0; back < 2; back++) {
        snprintf(name, sizeof name, "float32 %d x %d -> %d %s %s", ROWS, IN, OUT, l->name,
                 back ? "backward" : "forward");
        bench_line(name, 2.0 * ROWS * IN * OUT,
                   bench_best(4, back ? run_backward : run_product, &w), peak);
    }
    for (size_t i = 0; i < w.count; i++) nib_weight_destroy(ctx, w.copies[i]);
    free((void *)(uintptr_t)w.args.x.x);
    free(w.args.y);
    free(w.scratch);
    free(w.copies);
    free(data);
}

int main(void)
{
    nib_ctx *ctx = bench_ctx(1);
    double bandwidth = bench_read_bandwidth(ctx), peak = bench_peak(ctx, NIB_F32);
    double nf4 = nf4_rate(ctx);

    bench_title(ctx, "GGUF blocks, read %.1f GB/s, peak %.0f GF/s", bandwidth * 1e-9, peak * 1e-9);
    for (size_t i = 0; i < NIB_BLOCK_KINDS; i++)
        bench_kind(ctx, &nib_block_layouts[i], bandwidth, peak, nf4);
    nib_ctx_destroy(ctx);
    return 0;
}
