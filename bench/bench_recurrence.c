/* bench_recurrence.c - what is carried from token to token besides keys and values: a layer's
 * convolution and recurrence at sizes of small published models, forward and backward.
 *
 * Work is the multiply-adds of the formula; a share of the peak says how much of a step they are
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

int main(void)
{
    nib_ctx *ctx = bench_ctx(1);
    double peak = bench_peak(ctx, NIB_F32);

    bench_title(ctx, "recurrences, %d tokens of one layer, float peak %.0f GF/s", TOKENS,
                peak * 1e-9);
    bench_conv(ctx, 1024, 3, false, peak); /* LFM2-350M */
    bench_conv(ctx, 6144, 4, true, peak);  /* Qwen3.5-0.8B, by the defaults of its configuration */
    nib_ctx_destroy(ctx);
    return 0;
}
