/* bench_attention.c - attention of one sequence, forward and backward, as fraction of the peak.
 *
 * Work is that of the scores that are seen, 2 T^2 d forward and 5 T^2 d backward a head.  Scratch
 * does not grow with T, and is printed beside the tile it holds. */
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "bench.h"
#include "kernel/kernels.h"

typedef struct attention_work {
    nib_ctx *ctx;
    nib_kernels k;
    nib_attention_args a;
    size_t length;
    float *dk, *dv;
    char *scratch;
    size_t scratch_each;
    bool backward;
} attention_work;

enum { HEADS = 8 };

static void head_tile(void *arg, size_t tile, unsigned worker)
{
    const attention_work *w = arg;
    nib_attention_args a = w->a;

    a.head = tile;
    a.dk = w->dk + tile * w->length * a.head_dim;
    a.dv = w->dv + tile * w->length * a.head_dim;
    (w->backward ? w->k.attention_backward
                 : w->k.attention_forward)(&a, w->scratch + worker * w->scratch_each);
}

static void run(void *arg)
{
    attention_work *w = arg;
    nib_parallel_for(w->ctx, HEADS, head_tile, w);
}

static void bench(nib_ctx *ctx, nib_dtype type, size_t length, size_t d, float cap, double peak)
{
    size_t width = HEADS * d, count = length * width;
    nib_heads plain = { .row_stride = width, .head_stride = d, .per_group = HEADS };
    attention_work w = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)), .length = length };
    void *buffers[] = { bench_numbers(type, count, 1),
                        bench_numbers(type, count, 2),
                        bench_numbers(type, count, 3),
                        bench_numbers(type, count, 4),
                        bench_numbers(type, count, 5),
                        bench_numbers(type, count, 6),
                        bench_numbers(NIB_F32, HEADS * length, 7),
                        bench_numbers(NIB_F32, count, 8),
                        bench_numbers(NIB_F32, count, 9) };
    char name[80];

    w.scratch_each = nib_round_up(nib_attention_scratch_bytes(d, length), 64);
    w.scratch = bench_bytes(w.scratch_each * nib_threads(ctx) + 64, 1);
    w.dk = buffers[7];
    w.dv = buffers[8];
    w.a = (nib_attention_args){ .type = type, .heads = HEADS, .kv_heads = HEADS, .head_dim = d,
                                .v_dim = d, .scale = 0.125f, .cap = cap,
                                .q_heads = plain, .kv_heads_k = plain, .kv_heads_v = plain,
                                .q = buffers[0], .k = buffers[1], .v = buffers[2], .o = buffers[3],
                                .d_o = buffers[4], .dq = buffers[5], .lse = buffers[6],
                                .lse_stride = length, .q_len = length, .kv_len = length };
    for (int back = 0; back < 2; back++) {
        double work = (back ? 5.0 : 2.0) * (double)length * (double)length * (double)d * HEADS;
        w.backward = back;
        snprintf(name, sizeof name, "%s T = %4zu, heads of %3zu%s, %s", nib_dtype_name(type),
                 length, d, cap > 0 ? ", soft cap" : "", back ? "backward" : "forward");
        bench_line(name, work, bench_best(length > 2048 ? 3 : 8, run, &w), peak);
    }
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
    free(w.scratch);
}

int main(void)
{
    static const size_t lengths[] = { 512, 1024, 4096 };

    for (int threads = 1; threads <= 2; threads++) {
        nib_ctx *ctx = bench_ctx(threads);
        double peak = bench_peak(ctx, NIB_F32);
        bench_title(ctx, "attention, float peak %.0f GF/s", peak * 1e-9);
        if (threads == 1) bench(ctx, NIB_BF16, 512, 64, 0, peak);
        bench(ctx, NIB_F32, 1024, 128, 50, peak);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (size_t d = 64; d <= 128; d += 64) bench(ctx, NIB_F32, lengths[l], d, 0, peak);
        nib_ctx_destroy(ctx);
    }
    return 0;
}
