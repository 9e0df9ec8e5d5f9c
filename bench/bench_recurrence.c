/* bench_recurrence.c - what is carried from token to token besides keys and values: a layer's
 * convolution and recurrence at sizes of small published models, forward and backward.
 *
 * Work is the multiply-adds of the formula; a fraction of the peak says how much of a step they are
 * beside products, which reach most of it. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "kernel/kernels.h"

enum { TOKENS = 512 };

typedef struct conv_work {
    nib_kernels k;
    nib_conv_args a;
    const float *x, *dy;
    float *y;
    bool slope;
} conv_work;

static void run_conv(void *arg)
{
    conv_work *w = arg;

    for (size_t t = 0; t < TOKENS; t++) {
        nib_conv_args a = w->a;
        for (size_t j = 0; j < a.taps; j++)
            a.rows[j] = t + j + 1 < a.taps ? NULL : w->x + (t + j + 1 - a.taps) * a.width;
        if (w->slope) w->k.conv_slope(&a, w->dy + t * a.width, w->y + t * a.width);
        else w->k.conv(&a, w->y + t * a.width, false);
    }
}

static void bench_conv(nib_ctx *ctx, size_t width, size_t taps, bool silu, double peak)
{
    size_t count = TOKENS * width;
    conv_work w = { .k = nib_kernels_for(nib_ctx_cpu(ctx)), .x = bench_numbers(NIB_F32, count, 1),
                    .dy = bench_numbers(NIB_F32, count, 2), .y = bench_numbers(NIB_F32, count, 3) };
    char name[80];

    w.a = (nib_conv_args){ .width = width, .taps = taps, .stride = width, .silu = silu,
                           .w = bench_numbers(NIB_F32, taps * width, 4) };
    for (int slope = 0; slope <= silu; slope++) {
        w.slope = slope;
        snprintf(name, sizeof name, "convolution of %zu channels, %zu taps%s, %s", width, taps,
                 silu ? ", silu" : "", slope ? "slope" : "forward");
        bench_line(name, 2.0 * (double)(count * taps), bench_best(8, run_conv, &w), peak);
    }
}

typedef struct scan_work {
    nib_kernels k;
    nib_scan_args a;
    size_t heads, blocks;
    float *state, *scratch;
} scan_work;

/* One head after another, each in its blocks of columns. */
static void run_scan(void *arg)
{
    scan_work *w = arg;
    size_t block = w->a.rows * NIB_SCAN_COLUMNS;

    for (size_t i = 0; i < w->heads * w->blocks; i++) w->k.scan(&w->a, w->state + i % 4 * block);
}

/* All columns at once; state spaces in the parts that read one q and k. */
static void run_scan_back(void *arg)
{
    scan_work *w = arg;
    nib_scan_args part[NIB_SPACE_HEADS];

    for (size_t i = 0; i < NIB_SPACE_HEADS; i++) {
        part[i] = w->a;
        part[i].columns = w->blocks * NIB_SCAN_COLUMNS;
    }
    for (size_t i = 0; i < w->heads && w->a.delta; i++) w->k.scan_back(part, w->scratch);
    for (size_t i = 0; i < w->heads && !w->a.delta; i += NIB_SPACE_HEADS)
        w->k.space_back(part, nib_min(NIB_SPACE_HEADS, w->heads - i), w->scratch);
}

static void bench_scan(nib_ctx *ctx, size_t heads, size_t rows, size_t columns, bool delta,
                       double peak)
{
    size_t qk = TOKENS * rows, v = TOKENS * columns, block = rows * NIB_SCAN_COLUMNS;
    size_t room = delta ? nib_scan_scratch(rows, TOKENS)
                        : nib_space_scratch(rows, columns, TOKENS, NIB_SPACE_HEADS);
    scan_work w = { .k = nib_kernels_for(nib_ctx_cpu(ctx)), .heads = heads,
                    .blocks = columns / NIB_SCAN_COLUMNS,
                    .state = bench_numbers(NIB_F32, 4 * block, 1),
                    .scratch = bench_numbers(NIB_F32, room, 2) };
    float *gates = bench_numbers(NIB_F32, TOKENS, 3), *keys = bench_numbers(NIB_F32, qk, 5);
    char name[80];

    for (size_t t = 0; t < TOKENS; t++) gates[t] = 0.9f + 0.1f * gates[t];
    w.a = (nib_scan_args){ .type = NIB_F32, .delta = delta, .tokens = TOKENS, .rows = rows,
                           .columns = NIB_SCAN_COLUMNS, .q = bench_numbers(NIB_F32, qk, 4),
                           .k = keys, .qk_stride = rows, .fade = gates,
                           .beta = bench_numbers(NIB_F32, TOKENS, 6), .gate_stride = 1,
                           .v = bench_numbers(NIB_F32, v, 7), .o = bench_numbers(NIB_F32, v, 8),
                           .d_o = bench_numbers(NIB_F32, v, 9), .dv = bench_numbers(NIB_F32, v, 10),
                           .dq = bench_numbers(NIB_F32, qk, 11),
                           .dk = bench_numbers(NIB_F32, qk, 12),
                           .dqk_stride = rows, .v_stride = columns, .o_stride = columns,
                           .d_log_fade = bench_numbers(NIB_F32, TOKENS, 13),
                           .d_beta = bench_numbers(NIB_F32, TOKENS, 14) };
    for (size_t i = 0; i < qk; i++) keys[i] *= 0.1f; /* so that S stays small */
    for (int back = 0; back < 2; back++) {
        double each = delta ? (back ? 16 : 6) : (back ? 12 : 4); /* an element of S and a token */
        snprintf(name, sizeof name, "%s, %zu heads of [%zu, %zu], %s",
                 delta ? "delta rule" : "state space", heads, rows, columns,
                 back ? "backward" : "forward");
        bench_line(name, each * (double)(TOKENS * heads * rows * columns),
                   bench_best(4, back ? run_scan_back : run_scan, &w), peak);
    }
}

typedef struct wkv_work {
    nib_kernels k;
    nib_wkv_args a;
    size_t width;
    float *state;
    bool back;
} wkv_work;

/* A layer's channels, a call's after another. */
static void run_wkv(void *arg)
{
    wkv_work *w = arg;

    for (size_t c = 0; c < w->width; c += NIB_WKV_CHANNELS) {
        nib_wkv_args a = w->a;
        a.channels = nib_min(NIB_WKV_CHANNELS, w->width - c);
        a.k = (const float *)a.k + c, a.v = (const float *)a.v + c;
        a.y = (float *)a.y + c, a.dy = (const float *)a.dy + c;
        a.dk = (float *)a.dk + c, a.dv = (float *)a.dv + c;
        if (w->back) w->k.wkv_back(&a, w->state);
        else w->k.wkv(&a, w->state);
    }
}

static void bench_wkv(nib_ctx *ctx, size_t width, double peak)
{
    size_t n = TOKENS * width, room = nib_wkv_scratch(TOKENS);
    wkv_work w = { .k = nib_kernels_for(nib_ctx_cpu(ctx)), .width = width,
                   .state = bench_numbers(NIB_F32, room, 1) };
    float *decay = bench_numbers(NIB_F32, NIB_WKV_CHANNELS, 2);
    char name[80];

    for (size_t c = 0; c < NIB_WKV_CHANNELS; c++) decay[c] = -0.5f;
    w.a = (nib_wkv_args){ .type = NIB_F32, .tokens = TOKENS, .decay = decay,
                          .first = bench_numbers(NIB_F32, NIB_WKV_CHANNELS, 3),
                          .k = bench_numbers(NIB_F32, n, 4), .v = bench_numbers(NIB_F32, n, 5),
                          .y = bench_numbers(NIB_F32, n, 6), .dy = bench_numbers(NIB_F32, n, 7),
                          .dk = bench_numbers(NIB_F32, n, 8), .dv = bench_numbers(NIB_F32, n, 9),
                          .k_stride = width, .v_stride = width, .y_stride = width };
    for (w.back = false;; w.back = true) {
        double each = w.back ? 30 : 8; /* besides exponentials: four, and in backward seven */
        snprintf(name, sizeof name, "weighted averages of %zu channels, %s", width,
                 w.back ? "backward" : "forward");
        bench_line(name, each * (double)n, bench_best(8, run_wkv, &w), peak);
        if (w.back) break;
    }
}

int main(void)
{
    nib_ctx *ctx = bench_ctx(1);
    double peak = bench_peak(ctx, NIB_F32);

    bench_title(ctx, "recurrences, %d tokens of one layer, float peak %.0f GF/s", TOKENS,
                peak * 1e-9);
    bench_conv(ctx, 1024, 3, false, peak); /* LFM2-350M */
    bench_conv(ctx, 6144, 4, true, peak);  /* Qwen3.5-0.8B, by the defaults of its configuration */
    bench_scan(ctx, 16, 128, 128, true, peak); /* Qwen3.5-0.8B: its heads */
    bench_scan(ctx, 48, 128, 32, false, peak); /* Granite-4.0-H-350M: heads of 32 channels */
    bench_wkv(ctx, 768, peak);                 /* RWKV-4-169M, 12 layers */
    nib_ctx_destroy(ctx);
    return 0;
}
