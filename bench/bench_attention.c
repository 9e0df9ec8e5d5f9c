/* bench_attention.c - attention of one sequence, forward and backward, as fraction of the peak.
 *
 * Work is that of the scores that are seen, 2 T^2 d forward and 5 T^2 d backward a head.  Then what
 * a soft cap, sinks, a window and biases cost: the time of a pair of query and key that is seen,
 * beside that of plain attention, both in turns. */
#include <math.h>
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
    void *buffers[9];
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

static attention_work open_work(nib_ctx *ctx, nib_dtype type, size_t length, size_t d)
{
    size_t width = HEADS * d, count = length * width;
    nib_heads plain = { .row_stride = width, .head_stride = d, .per_group = HEADS };
    attention_work w = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)), .length = length };

    for (unsigned i = 0; i < 6; i++) w.buffers[i] = bench_numbers(type, count, i + 1);
    w.buffers[6] = bench_numbers(NIB_F32, HEADS * length, 7);
    w.dk = w.buffers[7] = bench_numbers(NIB_F32, count, 8);
    w.dv = w.buffers[8] = bench_numbers(NIB_F32, count, 9);
    w.scratch_each = nib_round_up(nib_attention_scratch_bytes(d, length), 64);
    w.scratch = bench_bytes(w.scratch_each * nib_threads(ctx) + 64, 1);
    w.a = (nib_attention_args){ .type = type, .heads = HEADS, .kv_heads = HEADS, .head_dim = d,
                                .v_dim = d, .scale = 0.125f,
                                .q_heads = plain, .kv_heads_k = plain, .kv_heads_v = plain,
                                .q = w.buffers[0], .k = w.buffers[1], .v = w.buffers[2],
                                .o = w.buffers[3], .d_o = w.buffers[4], .dq = w.buffers[5],
                                .lse = w.buffers[6], .lse_stride = length, .q_len = length,
                                .kv_len = length };
    return w;
}

static void close_work(attention_work *w)
{
    for (size_t i = 0; i < NIB_COUNT(w->buffers); i++) free(w->buffers[i]);
    free(w->scratch);
}

static void bench(nib_ctx *ctx, nib_dtype type, size_t length, size_t d, double peak)
{
    attention_work w = open_work(ctx, type, length, d);
    char name[80];

    for (int back = 0; back < 2; back++) {
        double work = (back ? 5.0 : 2.0) * (double)length * (double)length * (double)d * HEADS;
        w.backward = back;
        snprintf(name, sizeof name, "%s T = %4zu, heads of %3zu, %s", nib_dtype_name(type), length,
                 d, back ? "backward" : "forward");
        bench_line(name, work, bench_best(length > 2048 ? 3 : 8, run, &w), peak);
    }
    close_work(&w);
}

/* Pairs of a query and a key that it sees. */
static double seen(const attention_work *w)
{
    double n = (double)w->length, window = (double)w->a.window;
    return w->a.window ? n * window - window * (window - 1) / 2 : n * (n + 1) / 2;
}

static void bench_beside(attention_work *plain, attention_work *w, const char *what)
{
    for (int back = 0; back < 2; back++) {
        double best = INFINITY, best_plain = INFINITY;
        plain->backward = w->backward = back;
        for (int turn = 0; turn < 4; turn++) {
            best_plain = fmin(best_plain, bench_best(2, run, plain));
            best = fmin(best, bench_best(2, run, w));
        }
        printf("  heads of %3zu, %s, %-8s  %.2f x plain\n", w->a.head_dim, what,
               back ? "backward" : "forward", best / seen(w) / (best_plain / seen(plain)));
    }
}

/* A window of 512 among 2,048 tokens has as many keys a query as 1,024 tokens without one. */
static void bench_kinds(nib_ctx *ctx, size_t d)
{
    enum { LENGTH = 1024, WINDOW = 512, REACH = 2 * LENGTH };
    float *numbers = bench_numbers(NIB_F32, HEADS * (2 * REACH + 1) + 32, 10);
    attention_work plain = open_work(ctx, NIB_F32, LENGTH, d), w = plain;
    attention_work windowed = open_work(ctx, NIB_F32, 2 * LENGTH, d);

    w.a.cap = 50;
    bench_beside(&plain, &w, "soft cap        ");
    w.a = plain.a;
    w.a.sinks = numbers;
    bench_beside(&plain, &w, "sinks           ");
    w.a = plain.a;
    w.a.alibi_slopes = numbers;
    bench_beside(&plain, &w, "slopes          ");
    w.a = plain.a;
    w.a.distances = numbers;
    w.a.distances_ld = 2 * REACH + 1;
    w.a.reach = REACH;
    bench_beside(&plain, &w, "bias by distance");
    windowed.a.window = WINDOW;
    bench_beside(&plain, &windowed, "window          ");
    windowed.a.sinks = numbers;
    bench_beside(&plain, &windowed, "window and sinks");
    close_work(&plain); /* w's buffers too */
    close_work(&windowed);
    free(numbers);
}

int main(void)
{
    static const size_t lengths[] = { 512, 1024, 4096 };

    for (int threads = 1; threads <= 2; threads++) {
        nib_ctx *ctx = bench_ctx(threads);
        double peak = bench_peak(ctx, NIB_F32);
        bench_title(ctx, "attention, float peak %.0f GF/s", peak * 1e-9);
        if (threads == 1) bench(ctx, NIB_BF16, 512, 64, peak);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (size_t d = 64; d <= 128; d += 64) bench(ctx, NIB_F32, lengths[l], d, peak);
        for (size_t d = 64; d <= 256 && threads == 1; d *= 2) bench_kinds(ctx, d);
        nib_ctx_destroy(ctx);
    }
    return 0;
}
