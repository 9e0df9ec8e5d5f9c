/* bench_gemm.c - the product of rows with an NF4 weight, forward and backward, as fraction of the
 * peak. */
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "bench.h"
#include "quant/bnb4.h"
#include "quant/product.h"

typedef struct shape { size_t in, out; } shape;
typedef struct product_work {
    nib_ctx *ctx;
    nib_kernels k;
    nib_bnb4 w;
    nib_product_args args;
    void *scratch, *ready;
    bool backward;
} product_work;

static void run(void *arg)
{
    product_work *p = arg;
    nib_product_args args = p->args;

    args.x = nib_operand_ready(p->ctx, &p->k, args.rows, args.x.ld, args.x, p->ready);
    (p->backward ? nib_product_backward : nib_product_forward)(p->ctx, &p->k, &p->w.base, &args,
                                                               p->scratch);
}

/* A weight of random codes; all scales alike. */
static nib_bnb4 random_nf4(const nib_kernels *k, shape s)
{
    size_t blocks = s.in * s.out / 64;
    float *absmax = bench_numbers(NIB_F32, blocks, 7);
    nib_bnb4 w = { .base = { .scheme = &nib_bnb4_scheme, .out = s.out, .in = s.in,
                             .dtype = NIB_F32 },
                   .codes = bench_bytes(s.in * s.out / 2, 3), .blocksize = 64, .absmax = absmax,
                   .decode = k->decode4 };

    for (size_t i = 0; i < blocks; i++) absmax[i] = 0.03f + 0.01f * absmax[i];
    memcpy(w.table, nib_nf4_table, sizeof nib_nf4_table);
    return w;
}

static void bench_shape(nib_ctx *ctx, nib_dtype type, shape s, size_t rows, double peak)
{
    product_work p = { .ctx = ctx, .k = nib_kernels_for(nib_ctx_cpu(ctx)) };
    char name[80];

    p.w = random_nf4(&p.k, s);
    p.scratch = bench_bytes(
        nib_product_scratch_bytes(ctx, s.in, 16, rows), 1);
    for (int back = 0; back < 2; back++) {
        size_t from = back ? s.out : s.in, to = back ? s.in : s.out;
        p.backward = back;
        p.ready = bench_bytes(nib_operand_bytes(&p.k, type, from, rows) + 1, 1);
        p.args = (nib_product_args){ .type = type, .rows = rows,
                                     .x = { bench_numbers(type, rows * from, 5), from, type },
                                     .y = bench_bytes(rows * to * 4, 6), .ldy = to,
                                     .y_type = type };
        snprintf(name, sizeof name, "%s %4zu x %5zu -> %5zu %s", nib_dtype_name(type), rows, from,
                 to, back ? "backward" : "forward");
        bench_line(name, 2.0 * (double)rows * (double)s.in * (double)s.out,
                   bench_best(s.in > 2048 ? 6 : 30, run, &p), peak);
        free((void *)(uintptr_t)p.args.x.x);
        free(p.ready);
        free(p.args.y);
    }
    free(p.scratch);
    free((void *)(uintptr_t)p.w.codes);
    free((void *)(uintptr_t)p.w.absmax);
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {
        { 576, 576 }, { 576, 1536 }, { 1536, 576 }, { 4096, 4096 }, { 4096, 11008 }
    };
    static const size_t rows[] = { 64, 256, 512 };
    static const nib_dtype types[] = { NIB_F32, NIB_BF16 };
    bool brief = argc > 1 && argv[1][0] == 'b'; /* "brief": 512 rows, one thread */

    for (int threads = 1; threads <= (brief ? 1 : 2); threads++) {
        nib_ctx *ctx = bench_ctx(threads);
        for (size_t t = 0; t < 2; t++) {
            double peak = bench_peak(ctx, types[t]);
            bench_title(ctx, "NF4 product, %s, peak %.0f GF/s", nib_dtype_name(types[t]),
                        peak * 1e-9);
            for (size_t r = brief ? 2 : threads == 2; r < 3; r++)
                for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                    bench_shape(ctx, types[t], shapes[s], rows[r], peak);
        }
        nib_ctx_destroy(ctx);
    }
    return 0;
}
