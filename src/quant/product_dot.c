/* product_dot.c - the product of one to four rows: a dot for each output.
 *
 * Each weight is read from memory once and used once, so nothing is packed: a scheme's own dot
 * reads its codes, or a row is decoded to floats and multiplied. */
#include "quant/product.h"

#include "base/thread.h"

enum {
    OUTPUTS = 32,       /* of a tile, at least; */
    TILES_A_THREAD = 4, /* as many as there should be */
    DEPTH = 2048        /* decoded at a time */
};

typedef struct dots {
    nib_ctx *ctx;
    const nib_kernels *k;
    const nib_weight *w;
    const nib_product_args *a;
    const uint32_t *ids; /* the outputs wanted, or NULL: all */
    size_t count;
    size_t tile;         /* outputs of one */
    nib_dot_kind kind;   /* of the scheme's own dot; NIB_DOT_NONE: rows are decoded to floats */
    char *workers;       /* scratch: each worker's decoded row, */
    char *ready;         /* then the rows of x in the form that dots read, */
    size_t ready_bytes;  /* each so long, */
    float *widened;      /* then one row of x in float */
} dots;

static size_t worker_bytes(void) { return DEPTH * (sizeof(float) + sizeof(uint16_t)); }

size_t nib_product_dot_scratch_bytes(nib_ctx *ctx, size_t in, size_t max_rows)
{
    return nib_threads(ctx) * worker_bytes() +
           (nib_min(max_rows, NIB_DOT_ROWS) + 1) * in * sizeof(float) + 64;
}

/* sums[m] of one output for each row of x. */
static void decoded_dot(const dots *d, size_t row, unsigned worker, float sums[NIB_DOT_ROWS])
{
    float *values = (float *)(void *)(d->workers + worker * worker_bytes());
    uint16_t *through = (uint16_t *)(void *)(values + DEPTH);

    for (size_t m = 0; m < d->a->rows; m++) sums[m] = 0;
    for (size_t k0 = 0; k0 < d->w->in; k0 += DEPTH) {
        size_t depth = nib_min(DEPTH, d->w->in - k0);
        d->w->scheme->decode_tile(d->w, row, row + 1, k0, k0 + depth, values, depth);
        nib_weight_round(d->k, d->a->type, depth, values, through);
        for (size_t m = 0; m < d->a->rows; m++)
            sums[m] += d->k->dot(
                depth, (const float *)(const void *)(d->ready + m * d->ready_bytes) + k0, values);
    }
}

/* sums[m * tile + n] of `count` outputs from r0 on. */
static void dot_rows(const dots *d, size_t r0, size_t count, unsigned worker, float *sums)
{
    float one[NIB_DOT_ROWS];

    if (d->kind)
        d->w->scheme->dot(d->w, d->k, d->kind, d->a->rows, d->ready, r0, r0 + count, sums, d->tile);
    for (size_t n = 0; !d->kind && n < count; n++) {
        decoded_dot(d, r0 + n, worker, one);
        for (size_t m = 0; m < d->a->rows; m++) sums[m * d->tile + n] = one[m];
    }
}

/* Sums of `count` outputs from `row` on, ended by low-rank part, gain and bias, to place `at` of
 * row m of y. */
static void put(const dots *d, float *sums, size_t row, size_t count, size_t m, size_t at)
{
    const nib_product_args *a = d->a;

    for (size_t n = 0; a->u && n < count; n++)
        for (size_t i = 0; i < a->rank; i++)
            sums[n] += a->u[m * a->rank + i] * a->factor[(row + n) * a->rank + i];
    for (size_t n = 0; a->gain && n < count; n++) sums[n] *= a->gain[row + n];
    for (size_t n = 0; a->bias && n < count; n++) sums[n] += a->bias[row + n];
    at += m * a->ldy;
    if (a->y_type == NIB_F32) memcpy((float *)a->y + at, sums, count * sizeof *sums);
    else d->k->to_bf16(count, sums, (uint16_t *)a->y + at);
}

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const dots *d = arg;
    size_t n0 = tile * d->tile, count = nib_min(d->tile, d->count - n0), run;
    float sums[NIB_DOT_SUMS];

    for (size_t n = 0; n < count; n += run) { /* a run: outputs that are neighbours */
        size_t row = d->ids ? d->ids[n0 + n] : n0;
        for (run = d->ids ? 1 : count;
             d->ids && n + run < count && d->ids[n0 + n + run] == row + run;)
            run++;
        dot_rows(d, row, run, worker, sums);
        for (size_t m = 0; m < d->a->rows; m++) put(d, sums + m * d->tile, row, run, m, n0 + n);
    }
}

static void make_ready(const dots *d)
{
    const nib_product_args *a = d->a;

    for (size_t m = 0; m < a->rows; m++) { /* few values: not worth the threads */
        const void *x = nib_operand_row(&a->x, m);
        void *to = d->ready + m * d->ready_bytes;
        if (a->type == NIB_BF16 && d->kind != NIB_DOT_PAIRS) {
            d->k->from_bf16(d->w->in, x, d->widened);
            x = d->widened;
        }
        if (d->kind) d->w->scheme->dot_ready(d->w, d->k, d->kind, x, to);
        else memcpy(to, x, d->ready_bytes);
    }
}

/* The outputs of a tile. */
static size_t tile_of(const dots *d)
{
    bool wide = d->kind && !d->ids && d->w->scheme->dot_wide && d->w->scheme->dot_wide(d->w);
    size_t tiles = (wide ? 1 : TILES_A_THREAD) * nib_threads(d->ctx);
    size_t most = wide ? NIB_DOT_SUMS / d->a->rows / OUTPUTS * OUTPUTS : NIB_DOT_OUTPUTS;

    return nib_min(nib_round_up(nib_ceil_div(d->count, tiles), OUTPUTS), most);
}

static void run_dots(dots *d, void *scratch)
{
    const nib_product_args *a = d->a;

    assert(a->rows <= NIB_DOT_ROWS && !a->accumulate && a->x.type == a->type);
    d->kind = NIB_DOT_NONE;
    if (d->w->scheme->dot_kind)
        d->kind = d->w->scheme->dot_kind(d->w, d->k, a->type, a->precision);
    d->workers = (char *)nib_round_up((uintptr_t)scratch, 64);
    d->ready = d->workers + nib_threads(d->ctx) * worker_bytes();
    d->ready_bytes = d->w->in * (d->kind == NIB_DOT_PAIRS ? sizeof(uint16_t) : sizeof(float));
    d->widened = (float *)(void *)(d->ready + a->rows * d->w->in * sizeof(float));
    make_ready(d);
    d->tile = tile_of(d);
    nib_parallel_for(d->ctx, nib_ceil_div(d->count, d->tile), run_tile, d);
}

void nib_product_dot(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                     const nib_product_args *args, void *scratch)
{
    dots d = { .ctx = ctx, .k = k, .w = w, .a = args, .count = w->out };

    if (w->scheme->forward && !args->decode) w->scheme->forward(ctx, k, w, args, scratch);
    else run_dots(&d, scratch);
}

void nib_product_dot_some(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                          const nib_product_args *args, const uint32_t *ids, size_t count,
                          void *scratch)
{
    dots d = { .ctx = ctx, .k = k, .w = w, .a = args, .ids = ids, .count = count };

    assert(!w->scheme->forward);
    run_dots(&d, scratch);
}
