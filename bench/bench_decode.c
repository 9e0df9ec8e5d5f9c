/* bench_decode.c - generation: products of one row with NF4 weights from memory, as fraction of the
 * read bandwidth, and whole tokens of published shapes with random weights. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "generate/decoder.h"
#include "quant/bnb4.h"
#include "quant/product.h"
#include "shapes.h"

enum { COLD_BYTES = 512 << 20, CONTEXT = 64, TOKENS = 48 };

typedef struct dot_work {
    nib_ctx *ctx;
    nib_kernels k;
    nib_bnb4 w;
    nib_product_args args;
    const uint8_t *codes;
    const float *absmax;
    size_t copies, next, codes_each, blocks_each;
    void *scratch;
} dot_work;

static void run_dot(void *arg)
{
    dot_work *d = arg;

    d->w.codes = d->codes + d->next * d->codes_each;
    d->w.absmax = d->absmax + d->next * d->blocks_each;
    d->next = (d->next + 1) % d->copies;
    nib_product_dot(d->ctx, &d->k, &d->w.base, &d->args, d->scratch);
}

/* How rows are multiplied: compute type, and what float32 may lose. */
typedef struct way { const char *name; nib_dtype type; nib_precision precision; } way;
static const way ways[] = { { "float32, highest", NIB_F32, NIB_PRECISION_HIGHEST },
                            { "float32, high", NIB_F32, NIB_PRECISION_HIGH },
                            { "bfloat16", NIB_BF16, NIB_PRECISION_HIGH } };

static void bench_dot(nib_ctx *ctx, way how, size_t in, size_t out, double bandwidth)
{
    nib_dtype type = how.type;
    dot_work d = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)), .codes_each = in * out / 2,
                   .blocks_each = in * out / 64 };
    double bytes = (double)d.codes_each + (double)d.blocks_each * 4, seconds;

    d.copies = COLD_BYTES / d.codes_each + 1;
    d.codes = bench_bytes(d.codes_each * d.copies, 3);
    d.absmax = bench_numbers(NIB_F32, d.blocks_each * d.copies, 5);
    d.w = (nib_bnb4){ .base = { .scheme = &nib_bnb4_scheme, .out = out, .in = in, .dtype = type },
                      .blocksize = 64, .decode = d.k.decode4 };
    memcpy(d.w.table, nib_nf4_table, sizeof nib_nf4_table);
    d.scratch = bench_bytes(nib_product_scratch_bytes(ctx, in, 1, 1), 1);
    d.args = (nib_product_args){ .type = type, .precision = how.precision, .rows = 1,
                                 .x = { bench_numbers(type, in, 1), in, type },
                                 .y = bench_bytes(out * 4, 1), .ldy = out, .y_type = type };
    seconds = bench_best(60, run_dot, &d);
    printf(
        "  one row x %5zu -> %5zu, %-16s %9.3f ms %6.1f G weights/s %6.1f GB/s  "
        "%.2f of read bandwidth\n",
        in, out, how.name, seconds * 1e3, (double)(in * out) / seconds * 1e-9,
        bytes / seconds * 1e-9, bytes / seconds / bandwidth);
    fflush(stdout);
    free((void *)(uintptr_t)d.codes);
    free((void *)(uintptr_t)d.absmax);
}

typedef struct token_times { double best, mean; } token_times;

static token_times run_tokens(nib_decoder *d, nib_conversation c, const uint32_t *ids)
{
    token_times t = { INFINITY, 0 };
    nib_error err;

    for (int i = 0; i < TOKENS; i++) {
        double start = nib_clock_seconds(), seconds;
        bench_demand(nib_decoder_next(d, &c, ids + i, 1, 1, &err), &err);
        seconds = nib_clock_seconds() - start;
        t.best = fmin(t.best, seconds);
        t.mean += seconds / TOKENS;
    }
    return t;
}

/* Means, not the least: now and then the neighbour leaves the processor for one token. */
static void bench_beside(nib_decoder *d, nib_conversation c, const uint32_t *ids)
{
    double alone = run_tokens(d, c, ids).mean, busy;
    pid_t neighbour = bench_neighbour_start();

    busy = run_tokens(d, c, ids).mean;
    bench_neighbour_stop(neighbour);
    printf("  beside a busy process on one processor: %.2f ms a token, %.2f of the speed\n",
           busy * 1e3, alone / busy);
}

static void bench_tokens(nib_ctx *ctx, const bench_shape *s, way how, double bandwidth,
                         bool neighbour)
{
    char *dir = bench_shape_dir(s);
    nib_model *model = bench_model(ctx, dir, how.type);
    double linear = s->linear * (0.5 + 1 / 64.0), head = s->head * 2, bytes, best, start, prefill;
    uint32_t ids[512];
    nib_decoder *d;
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_error err;

    for (size_t i = 0; i < 512; i++) ids[i] = (uint32_t)(3 + i * 37 % 1000);
    model->graph->precision = how.precision;
    bench_demand(nib_decoder_create(ctx, model->graph, 1024, 1, &d, &err), &err);
    bench_demand(nib_state_create(ctx, model->graph, 1024, &c.state, &err), &err);
    bytes = linear + (d->sketch_pays ? head / 2 : head); /* a sketch is half of bfloat16 */
    bench_demand(nib_decoder_read(d, c, ids, CONTEXT, 1, &err), &err);
    best = run_tokens(d, c, ids).best;
    prefill = INFINITY;
    for (int i = 0; i < (s->layers > 30 && s->width > 1000 ? 1 : 3); i++) {
        nib_state_reset(c.state);
        start = nib_clock_seconds();
        bench_demand(nib_decoder_read(d, c, ids, 512, 1, &err), &err);
        prefill = fmin(prefill, nib_clock_seconds() - start);
    }
    printf(
        "  %-14s %-16s %8.2f ms a token, %7.1f tokens/s, %.0f MB a token, %.2f of read bandwidth; "
        "prefill of 512: %.0f tokens/s\n",
        s->name, how.name, best * 1e3, 1 / best, bytes * 1e-6, bytes / best / bandwidth,
        512 / prefill);
    if (neighbour) bench_beside(d, c, ids);
    fflush(stdout);
    nib_decoder_destroy(d);
    nib_state_destroy(c.state);
    nib_model_close(model);
    bench_remove_dir(dir);
}

int main(int argc, char **argv)
{
    bool brief = argc > 1 && strcmp(argv[1], "brief") == 0;

    for (int threads = 1; threads <= 2; threads++) {
        nib_ctx *ctx = bench_ctx(threads);
        double bandwidth = bench_read_bandwidth(ctx);

        bench_title(ctx, "decode, reading %.1f GB/s from memory", bandwidth * 1e-9);
        for (size_t i = 0; i < NIB_COUNT(ways); i++) {
            bench_dot(ctx, ways[i], 4096, 4096, bandwidth);
            bench_dot(ctx, ways[i], 4096, 11008, bandwidth);
        }
        bench_tokens(ctx, &bench_smollm2, ways[0], bandwidth, false);
        bench_tokens(ctx, &bench_smollm2, ways[1], bandwidth, threads == 2);
        if (threads == 2 && !brief) bench_tokens(ctx, &bench_llama2_7b, ways[1], bandwidth, false);
        nib_ctx_destroy(ctx);
    }
    return 0;
}
