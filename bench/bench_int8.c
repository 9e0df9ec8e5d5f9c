/* bench_int8.c - LLM.int8's products: one row with weights from memory, as fraction of the read
 * bandwidth, and many rows, as fraction of the peak of floats, beside the same weights decoded. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "quant/int8.h"
#include "quant/product.h"

enum { COLD_BYTES = 512 << 20, MANY = 512 };

typedef struct work {
    nib_ctx *ctx;
    nib_kernels k;
    nib_int8 w;
    nib_product_args args;
    const int8_t *codes;
    size_t copies, next; /* of the codes: more than the caches hold, in turn */
    void *scratch;
} work;

static void run(void *arg)
{
    work *b = arg;

    b->w.codes = b->codes + b->next * b->w.base.out * b->w.base.in;
    b->next = (b->next + 1) % b->copies;
    nib_product_forward(b->ctx, &b->k, &b->w.base, &b->args, b->scratch);
}

static work work_of(nib_ctx *ctx, size_t rows, size_t in, size_t out, bool cold)
{
    work b = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)) };
    size_t scratch;

    b.copies = cold ? COLD_BYTES / (in * out) + 1 : 1;
    b.codes = bench_bytes(in * out * b.copies, 3);
    b.w = (nib_int8){ .base = { .scheme = &nib_int8_scheme, .out = out, .in = in },
                      .scb = bench_numbers(NIB_F32, out, 5), .threshold = 6,
                      .decode = b.k.int8_decode };
    scratch = nib_max(nib_product_scratch_bytes(ctx, in, 1, rows),
                      nib_product_own_bytes(ctx, &b.w.base, 1, rows));
    b.scratch = bench_bytes(nib_round_up(scratch, 64) + 64, 1);
    b.scratch = (void *)nib_round_up((uintptr_t)b.scratch, 64);
    b.args = (nib_product_args){ .type = NIB_F32, .rows = rows,
                                 .x = { bench_numbers(NIB_F32, rows * in, 1), in, NIB_F32 },
                                 .y = bench_bytes(rows * out * 4, 1), .ldy = out,
                                 .y_type = NIB_F32 };
    return b;
}

static void bench_row(nib_ctx *ctx, size_t in, size_t out, double bandwidth)
{
    work b = work_of(ctx, 1, in, out, true);
    double seconds = bench_best(60, run, &b), bytes = (double)(in * out + 4 * out);

    printf("  one row x %5zu -> %5zu %9.3f ms %6.1f GB/s  %.2f of read bandwidth\n", in, out,
           seconds * 1e3, bytes / seconds * 1e-9, bytes / seconds / bandwidth);
    fflush(stdout);
    free((void *)(uintptr_t)b.codes);
}

static void bench_rows(nib_ctx *ctx, size_t in, size_t out, double peak)
{
    work b = work_of(ctx, MANY, in, out, false);
    double operations = 2.0 * MANY * (double)(in * out);
    char name[64];

    snprintf(name, sizeof name, "%d rows x %zu -> %zu, int8", MANY, in, out);
    bench_line(name, operations, bench_best(20, run, &b), peak);
    b.args.decode = true;
    snprintf(name, sizeof name, "%d rows x %zu -> %zu, decoded", MANY, in, out);
    bench_line(name, operations, bench_best(20, run, &b), peak);
    free((void *)(uintptr_t)b.codes);
}

int main(void)
{
    for (int threads = 1; threads <= 2; threads++) {
        nib_ctx *ctx = bench_ctx(threads);
        double bandwidth = bench_read_bandwidth(ctx), peak = bench_peak(ctx, NIB_F32);

        bench_title(ctx, "int8, reading %.1f GB/s from memory", bandwidth * 1e-9);
        bench_row(ctx, 4096, 4096, bandwidth);
        bench_row(ctx, 4096, 11008, bandwidth);
        bench_rows(ctx, 4096, 4096, peak);
        nib_ctx_destroy(ctx);
    }
    return 0;
}
