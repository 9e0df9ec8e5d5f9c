/* int8_product.c - LLM.int8's forward product: rows of x in 8 bits, their outliers apart.
 *
 *     y[m, o] = (sum of xq[m, i] q[o, i]) * (r[m] * SCB[o]) / 127^2
 *               + sum over outliers x[m, i] W[o, i]
 *
 * r[m] is the greatest magnitude of row m that is no outlier, xq its codes (kernel/rows8.h), 0 at
 * outliers.  The first sum is of integers, the second of floats in the order of columns, W rounded
 * to the compute type; low-rank part, gain and bias come last and the result is rounded once.  A
 * row's outliers are its own values of at least the threshold.  bitsandbytes takes the columns in
 * which any row of the batch has one, so there a token's values change with its neighbours; for a
 * batch of one row the two are the same.  Source: formats.md 4.7. */
#include "base/thread.h"
#include "quant/int8.h"
#include "quant/product.h"

#include <math.h>

enum {
    MOST_ROWS = 512, /* made ready at a time */
    TILE_ROWS = 128,
    STRIP_ROWS = 16, /* whose sums lie in the first cache */
    OUTPUTS = 64     /* of a tile */
};

typedef struct int8_product {
    nib_ctx *ctx;
    const nib_kernels *k;
    const nib_int8 *w;
    const nib_product_args *a;
    size_t first, rows;  /* of args, at hand: first .. first + rows */
    size_t ld, words;    /* from one row of codes, of outlier bits, to the next */
    int8_t *codes;       /* [rows, ld] */
    uint64_t *outliers;  /* [rows, words] */
    nib_int8_row *stats; /* [rows] */
    char *workers;
    size_t worker_bytes;
} int8_product;

/* A worker's space: a row of x widened, or the outliers of one: */
typedef struct space {
    float *values;
    uint32_t *columns;
} space;

static size_t code_ld(size_t in) { return nib_round_up(in, 64); }
static size_t worker_bytes(size_t in) { return nib_round_up(in * (sizeof(float) + 4), 64); }

size_t nib_int8_forward_bytes(nib_ctx *ctx, const nib_weight *w, size_t max_rank, size_t max_rows)
{
    size_t rows = nib_min(max_rows, MOST_ROWS), ld = code_ld(w->in);

    (void)max_rank; /* its part is summed where it is stored */
    return rows * (ld + ld / 8) + nib_round_up(rows * sizeof(nib_int8_row), 64) +
           nib_threads(ctx) * worker_bytes(w->in);
}

static space space_of(const int8_product *p, unsigned worker)
{
    float *values = (float *)(void *)(p->workers + worker * p->worker_bytes);
    return (space){ values, (uint32_t *)(void *)(values + p->w->base.in) };
}

static void make_row(void *arg, size_t m, unsigned worker)
{
    const int8_product *p = arg;
    const nib_operand *x = &p->a->x;
    const void *row = nib_operand_row(x, p->first + m);
    float threshold = p->w->threshold > 0 ? p->w->threshold : INFINITY;
    float *wide = space_of(p, worker).values;

    if (x->type == NIB_BF16) {
        p->k->from_bf16(p->w->base.in, row, wide);
        row = wide;
    }
    p->stats[m] = p->k->int8_encode(p->w->base.in, row, threshold, p->codes + m * p->ld,
                                    p->outliers + m * p->words);
}

/* The columns and values of row m's outliers; how many. */
static size_t list_outliers(const int8_product *p, size_t m, const space *s)
{
    const nib_operand *x = &p->a->x;
    const void *row = nib_operand_row(x, p->first + m);
    size_t count = 0;

    for (size_t word = 0; p->stats[m].outliers && word < p->words; word++)
        for (uint64_t bits = p->outliers[m * p->words + word]; bits; bits &= bits - 1) {
            size_t i = word * 64 + (size_t)__builtin_ctzll(bits);
            s->columns[count] = (uint32_t)i;
            s->values[count++] = nib_get(x->type, row, i);
        }
    return count;
}

/* Outputs n0 .. n0 + count of row m, from their integer sums to y. */
static void finish_row(const int8_product *p, size_t m, const int32_t *sums, size_t n0,
                       size_t count, const space *s)
{
    const nib_product_args *a = p->a;
    const nib_int8 *w = p->w;
    size_t row = p->first + m, at = row * a->ldy + n0, outliers = list_outliers(p, m, s);
    float y[OUTPUTS], absmax = p->stats[m].absmax;

    for (size_t n = 0; n < count; n++)
        y[n] = (float)sums[n] * (absmax * w->scb[n0 + n]) * (1.0f / (127 * 127));
    for (size_t n = 0; outliers && n < count; n++) {
        const int8_t *codes = w->codes + (n0 + n) * w->base.in;
        float step = nib_int8_step(w, n0 + n), sum = 0;
        for (size_t i = 0; i < outliers; i++) {
            float weight = (float)codes[s->columns[i]] * step;
            if (a->type == NIB_BF16) weight = nib_round_bf16(weight);
            sum += s->values[i] * weight;
        }
        y[n] += sum;
    }
    for (size_t n = 0; a->u && n < count; n++)
        y[n] += p->k->dot(a->rank, a->u + row * a->rank, a->factor + (n0 + n) * a->rank);
    for (size_t n = 0; a->gain && n < count; n++) y[n] *= a->gain[n0 + n];
    for (size_t n = 0; a->bias && n < count; n++) y[n] += a->bias[n0 + n];
    if (a->y_type == NIB_F32) memcpy((float *)a->y + at, y, count * sizeof *y);
    else p->k->to_bf16(count, y, (uint16_t *)a->y + at);
}

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const int8_product *p = arg;
    size_t blocks = nib_ceil_div(p->w->base.out, OUTPUTS), in = p->w->base.in;
    size_t m0 = tile / blocks * TILE_ROWS, m1 = nib_min(m0 + TILE_ROWS, p->rows);
    size_t n0 = tile % blocks * OUTPUTS, count = nib_min(OUTPUTS, p->w->base.out - n0);
    nib_int8_rows w = { p->w->codes + n0 * in, count, in };
    int32_t sums[STRIP_ROWS * OUTPUTS];
    space s = space_of(p, worker);

    for (size_t m = m0; m < m1; m += STRIP_ROWS) {
        size_t some = nib_min(STRIP_ROWS, m1 - m);
        p->k->int8_products(in, (nib_int8_rows){ p->codes + m * p->ld, some, p->ld }, w, sums,
                            OUTPUTS);
        for (size_t i = 0; i < some; i++)
            finish_row(p, m + i, sums + i * OUTPUTS, n0, count, &s);
    }
}

void nib_int8_forward(nib_ctx *ctx, const nib_kernels *k, const nib_weight *weight,
                      const struct nib_product_args *args, void *scratch)
{
    const nib_int8 *w = (const nib_int8 *)weight;
    size_t ld = code_ld(weight->in), rows = nib_min(args->rows, MOST_ROWS);
    size_t blocks = nib_ceil_div(weight->out, OUTPUTS);
    char *at = scratch;
    int8_product p = { .ctx = ctx, .k = k, .w = w, .a = args, .ld = ld, .words = ld / 64,
                       .worker_bytes = worker_bytes(weight->in) };

    assert(!args->accumulate);
    p.codes = (int8_t *)at;
    p.outliers = (uint64_t *)(void *)(at += rows * ld);
    p.stats = (nib_int8_row *)(void *)(at += rows * ld / 8);
    p.workers = at + nib_round_up(rows * sizeof *p.stats, 64);
    for (; p.first < args->rows; p.first += MOST_ROWS) {
        p.rows = nib_min(MOST_ROWS, args->rows - p.first);
        nib_parallel_for(ctx, p.rows, make_row, &p);
        nib_parallel_for(ctx, nib_ceil_div(p.rows, TILE_ROWS) * blocks, run_tile, &p);
    }
}
