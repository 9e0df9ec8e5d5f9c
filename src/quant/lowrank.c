/* lowrank.c - the small float products of a low-rank branch, and the gradient of a whole matrix.
 *
 * u = s x A^T and v = s dy B divide rows between threads; dA and dB divide columns, and each
 * sum runs over all rows in order. */
#include "base/thread.h"
#include "quant/product.h"
#include "quant/strips.h"

enum {
    ROWS = 64,
    GRAD_ROWS = 128,
    MOST_COLUMNS = 192, /* of a tile of a gradient */
    PACKED = 128        /* terms of a tile that packs a factor */
};

typedef struct lowrank {
    nib_ctx *ctx;
    const nib_kernels *k;
    size_t rows, width, rank;
    nib_operand x;
    const float *f; /* inner: A [R, in], or B [out, R] */
    nib_operand v;  /* gradient: the other factor, rows of R values: u or v in float, or dy */
    float scale;
    float *y;
    bool back;      /* inner: B rather than A;  gradient: dB rather than dA */
    char *scratch;
    size_t each;    /* bytes of a worker */
    size_t columns; /* of a tile of a gradient */
} lowrank;

static size_t rank_wide(size_t rank) { return nib_round_up(rank, NIB_STRIP); }

/* Inner: a panel of all of A for everybody, then a worker's rows in float and its result. */
static size_t inner_panel_bytes(size_t width, size_t rank)
{
    return nib_round_up(width * rank_wide(rank) * sizeof(float), 64);
}
static size_t inner_worker_bytes(size_t width, size_t rank)
{
    return nib_round_up((ROWS * width + ROWS * rank_wide(rank)) * sizeof(float), 64);
}
/* Gradient: v transposed for everybody; then a worker's panel of some rows of x, and its result. */
static size_t grad_shared_bytes(size_t rows, size_t rank)
{
    return nib_round_up(rows * rank * sizeof(float), 64);
}
static size_t grad_worker_bytes(size_t rank)
{
    return nib_round_up((GRAD_ROWS + rank) * MOST_COLUMNS * sizeof(float), 64);
}

size_t nib_lowrank_scratch_bytes(nib_ctx *ctx, size_t out, size_t in, size_t max_rank,
                                 size_t max_rows)
{
    size_t width = nib_max(out, in);
    size_t inner = inner_panel_bytes(width, max_rank) +
                   nib_threads(ctx) * inner_worker_bytes(width, max_rank);
    size_t grad = grad_shared_bytes(max_rows, max_rank) +
                  nib_threads(ctx) * grad_worker_bytes(max_rank);

    return nib_max(inner, grad) + 64;
}

/* Rows from r0 on as floats; in `to` when they are not. */
static nib_operand float_rows(const lowrank *l, size_t r0, size_t rows, float *to)
{
    if (l->x.type == NIB_F32)
        return (nib_operand){ nib_operand_row(&l->x, r0), l->x.ld, NIB_F32 };
    for (size_t r = 0; r < rows; r++)
        l->k->from_bf16(l->width, nib_operand_row(&l->x, r0 + r), to + r * l->width);
    return (nib_operand){ to, l->width, NIB_F32 };
}

/* --- u = s x A^T,  v = s dy B --- */

static void inner_tile(void *arg, size_t tile, unsigned worker)
{
    const lowrank *l = arg;
    size_t r0 = tile * ROWS, rows = nib_min(ROWS, l->rows - r0), wide = rank_wide(l->rank);
    const float *panel = (const float *)(const void *)l->scratch;
    float *space = (float *)(void *)(l->scratch + inner_panel_bytes(l->width, l->rank) +
                                     worker * l->each);
    float *result = space + ROWS * l->width;
    nib_operand x = float_rows(l, r0, rows, space);

    l->k->gemm_f32(rows, wide, l->width, x.x, x.ld, panel, result, wide, false, NULL);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < l->rank; i++)
            l->y[(r0 + r) * l->rank + i] = l->scale * result[r * wide + i];
}

static void inner_panel_tile(void *arg, size_t tile, unsigned worker)
{
    const lowrank *l = arg;
    size_t first = tile * PACKED, end = nib_min(first + PACKED, l->width);
    nib_strided f = { l->f, l->back ? 1 : l->width, l->back ? l->rank : 1 };

    (void)worker;
    nib_pack_strips(f, l->rank, l->width, first, end, (float *)(void *)l->scratch);
}

static void inner(lowrank *l)
{
    l->each = inner_worker_bytes(l->width, l->rank);
    nib_parallel_for(l->ctx, nib_ceil_div(l->width, PACKED), inner_panel_tile, l);
    nib_parallel_for(l->ctx, nib_ceil_div(l->rows, ROWS), inner_tile, l);
}

void nib_lowrank_inner(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t in, size_t rank,
                       nib_operand x, const float *a, float scale, float *u, void *scratch)
{
    lowrank l = { .ctx = ctx, .k = k, .rows = rows, .width = in, .rank = rank, .x = x, .f = a,
                  .scale = scale, .y = u, .scratch = (char *)nib_round_up((uintptr_t)scratch, 64) };
    inner(&l);
}

void nib_lowrank_inner_back(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t out,
                            size_t rank, nib_operand dy, const float *b, float scale, float *v,
                            void *scratch)
{
    lowrank l = { .ctx = ctx, .k = k, .rows = rows, .width = out, .rank = rank, .x = dy, .f = b,
                  .scale = scale, .y = v, .back = true,
                  .scratch = (char *)nib_round_up((uintptr_t)scratch, 64) };
    inner(&l);
}

/* --- dA += v^T x,  dB += dy^T u: the transposed factor [R, M] times x [M, columns], 128 rows at a
 * time --- */

/* Rows [r0, r0 + rows) of a tile's columns as strips; past the end zeros.  x is read row by row. */
static void pack_rows(const lowrank *l, size_t c0, size_t columns, size_t r0, size_t rows,
                      float *panel)
{
    size_t done = 0, bytes = nib_dtype_bytes(l->x.type);
    const char *first = (const char *)nib_operand_row(&l->x, r0) + c0 * bytes;

    for (; done + NIB_PANEL <= columns; done += NIB_PANEL)
        l->k->pack_rows(l->x.type, rows, first + done * bytes, l->x.ld, panel + done * rows);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = done; c < columns; c += NIB_STRIP) {
            float *to = panel + c * rows + r * NIB_STRIP;
            size_t n = nib_min(NIB_STRIP, columns - c);
            const void *row = nib_operand_row(&l->x, r0 + r);
            if (n < NIB_STRIP) memset(to, 0, NIB_STRIP * sizeof *to);
            if (l->x.type == NIB_BF16) l->k->from_bf16(n, (const uint16_t *)row + c0 + c, to);
            else memcpy(to, (const float *)row + c0 + c, n * sizeof *to);
        }
}

static void grad_tile(void *arg, size_t tile, unsigned worker)
{
    const lowrank *l = arg;
    size_t c0 = tile * l->columns, columns = nib_min(l->columns, l->width - c0),
           wide = nib_round_up(columns, NIB_STRIP);
    const float *factor = (const float *)(const void *)l->scratch; /* [R, M] */
    float *panel = (float *)(void *)(l->scratch + grad_shared_bytes(l->rows, l->rank) +
                                     worker * l->each);
    float *result = panel + GRAD_ROWS * MOST_COLUMNS;

    for (size_t r0 = 0; r0 < l->rows; r0 += GRAD_ROWS) {
        size_t rows = nib_min(GRAD_ROWS, l->rows - r0);
        pack_rows(l, c0, columns, r0, rows, panel);
        l->k->gemm_f32(l->rank, wide, rows, factor + r0, l->rows, panel, result, wide, r0 > 0,
                       NULL);
    }
    for (size_t r = 0; r < l->rank; r++)
        for (size_t c = 0; c < columns; c++)
            l->y[l->back ? (c0 + c) * l->rank + r : r * l->width + c0 + c] += result[r * wide + c];
}

/* The factor of some rows, transposed; sixteen values of each row at a time, so that what is
 * written stays in cache. */
static void grad_factor_tile(void *arg, size_t tile, unsigned worker)
{
    const lowrank *l = arg;
    float *factor = (float *)(void *)l->scratch, some[NIB_STRIP];
    size_t first = tile * PACKED, end = nib_min(first + PACKED, l->rows);

    (void)worker;
    for (size_t r0 = 0; r0 < l->rank; r0 += NIB_STRIP)
        for (size_t m = first; m < end; m++) {
            size_t n = nib_min(NIB_STRIP, l->rank - r0);
            const void *row = nib_operand_row(&l->v, m);
            const float *from = l->v.type == NIB_F32 ? (const float *)row + r0 : some;
            if (l->v.type == NIB_BF16) l->k->from_bf16(n, (const uint16_t *)row + r0, some);
            for (size_t i = 0; i < n; i++) factor[(r0 + i) * l->rows + m] = from[i];
        }
}

static void grad(lowrank *l)
{
    /* Two tiles a thread where there are so many columns: how they are divided changes no sum. */
    size_t columns = nib_round_up(nib_ceil_div(l->width, 2 * nib_threads(l->ctx)), NIB_STRIP);

    l->columns = nib_min(columns, MOST_COLUMNS);
    l->each = grad_worker_bytes(l->rank);
    nib_parallel_for(l->ctx, nib_ceil_div(l->rows, PACKED), grad_factor_tile, l);
    nib_parallel_for(l->ctx, nib_ceil_div(l->width, l->columns), grad_tile, l);
}

void nib_lowrank_grad_a(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t in, size_t rank,
                        const float *v, nib_operand x, float *da, void *scratch)
{
    lowrank l = { .ctx = ctx, .k = k, .rows = rows, .width = in, .rank = rank, .x = x,
                  .v = { v, rank, NIB_F32 }, .y = da,
                  .scratch = (char *)nib_round_up((uintptr_t)scratch, 64) };
    grad(&l);
}

void nib_lowrank_grad_b(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t out, size_t rank,
                        const float *u, nib_operand dy, float *db, void *scratch)
{
    lowrank l = { .ctx = ctx, .k = k, .rows = rows, .width = out, .rank = rank, .x = dy,
                  .v = { u, rank, NIB_F32 }, .y = db, .back = true,
                  .scratch = (char *)nib_round_up((uintptr_t)scratch, 64) };
    grad(&l);
}

/* dW = dy^T x is dA with v = dy: as many "ranks" as outputs. */
void nib_product_grad_weight(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t out, size_t in,
                             nib_operand dy, nib_operand x, float *dw, void *scratch)
{
    lowrank l = { .ctx = ctx, .k = k, .rows = rows, .width = in, .rank = out, .x = x, .v = dy,
                  .y = dw, .scratch = (char *)nib_round_up((uintptr_t)scratch, 64) };
    grad(&l);
}
