/* bench_quantize.c - float32 and bfloat16 to NF4, and float32 to the blocks of GGUF, in weights a
 * second a thread. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "quant/block_encode.h"
#include "quant/bnb4.h"

typedef struct encode_work { nib_ctx *ctx; nib_bnb4_options o; nib_weight *from; } encode_work;

static void run(void *arg)
{
    encode_work *e = arg;
    nib_weight *made;
    nib_error err;

    if (nib_bnb4_encode_weight(e->ctx, &e->o, e->from, &made, &err)) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    nib_weight_destroy(e->ctx, made);
}

/* A row of blocks, as an export makes it; importance NULL: without. */
typedef struct row_work {
    nib_kernels k;
    nib_block_kind kind;
    size_t values;
    const float *x, *importance;
    uint8_t *blocks;
} row_work;

static void run_row(void *arg)
{
    const row_work *w = arg;

    nib_block_encode(&w->k, w->kind, w->values / nib_block_layout_of(w->kind).values, w->x,
                     w->importance, w->blocks);
}

static void bench_blocks(void)
{
    static const char *const types[] = { "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K",
                                         "Q5_K", "Q6_K", "IQ4_NL", "MXFP4" };
    enum { VALUES = 1 << 16 };
    nib_ctx *ctx = bench_ctx(1);
    float *importance = bench_numbers(NIB_F32, VALUES, 4);
    row_work w = { .k = nib_kernels_for(nib_ctx_cpu(ctx)), .values = VALUES,
                   .x = bench_numbers(NIB_F32, VALUES, 3), .blocks = bench_bytes(2 * VALUES, 1) };

    for (size_t i = 0; i < VALUES; i++) importance[i] = fabsf(importance[i]);
    bench_title(ctx, "a row of %d values to blocks, without importances and with", VALUES);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!nib_block_encodes(types[i], &w.kind)) continue;
        printf("  %-8s", types[i]);
        for (int weighted = 0; weighted < 2; weighted++) {
            w.importance = weighted ? importance : NULL;
            printf(" %8.1f", VALUES * 1e-6 / bench_best(8, run_row, &w));
        }
        printf(" M weights/s\n");
    }
    nib_ctx_destroy(ctx);
}

int main(void)
{
    static const nib_dtype types[] = { NIB_F32, NIB_BF16 };
    enum { OUT = 11008, IN = 4096 };

    for (int threads = 1; threads <= 2; threads++) {
        nib_ctx *ctx = bench_ctx(threads);
        bench_title(ctx, "quantizing %d x %d to NF4, reading %.1f GB/s from memory", OUT, IN,
                    bench_read_bandwidth(ctx) * 1e-9);
        for (size_t t = 0; t < 2; t++)
            for (int twice = 0; twice < 2; twice++) {
                encode_work e = { .ctx = ctx, .o = { .double_quant = twice, .blocksize = 64,
                                                     .dtype = types[t] } };
                void *values = bench_numbers(types[t], (size_t)OUT * IN, 3);
                double seconds;
                nib_error err;

                if (nib_weight_dense(ctx, OUT, IN, types[t], values, NULL, &e.from, &err)) return 1;
                seconds = bench_best(4, run, &e);
                printf("  %-8s%s %8.2f ms  %.2f G weights/s, %.2f a thread, %.1f GB/s read\n",
                       nib_dtype_name(types[t]), twice ? ", double" : "        ", seconds * 1e3,
                       OUT * 1e-9 * IN / seconds, OUT * 1e-9 * IN / seconds / threads,
                       OUT * 1e-9 * IN * (double)nib_dtype_bytes(types[t]) / seconds);
                nib_weight_destroy(ctx, e.from);
                free(values);
            }
        nib_ctx_destroy(ctx);
    }
    bench_blocks();
    return 0;
}
