/* product.c - the product of rows with a weight, the weight decoded panel by panel.
 *
 * A tile is a block of rows times one or some panels of 64 output columns.  For each block of k the
 * tile's worker decodes the weight into a panel in its own second-level cache, and the micro-kernel
 * adds into a float block of results; low-rank part, gain and bias come with the last block, and
 * each value is rounded once, while it is in a register.  Tiles share nothing, and a value's sum
 * runs over k in order in every tiling. */
#include "quant/product.h"

#include "base/thread.h"
#include "quant/strips.h"

enum {
    COLUMNS = 64,       /* of a panel */
    MOST_COLUMNS = 320, /* of a tile */
    MOST_ROWS = 512,    /* of a tile */
    FEWEST_ROWS = 256,  /* of a tile when rows are divided between threads: each decodes the weight
                           for itself */
    MANY_PANELS = 8,    /* a thread: as many are divided evenly enough */
    TILES_EACH = 4,     /* of a thread, at least, when a tile takes several panels */
    DEPTH_F32 = 1024,  /* k at a time: a panel of at most 256 KiB, as are those of bfloat16 */
    PIECE = 256,       /* of k that the generic packers decode at a time: 32 KiB of values */
    UNIT = 256         /* blocks of k are whole multiples of it, as are blocks of the schemes */
};

typedef struct product {
    nib_ctx *ctx;
    const nib_kernels *k;
    const nib_weight *w;
    const nib_product_args *a;
    bool backward, pairs;   /* pairs: bfloat16 products, two k at a time */
    size_t n, depth;        /* columns of the result; terms of each sum */
    size_t rows_each, columns_each, row_blocks, column_blocks;
    char *scratch;
    size_t worker_bytes;
} product;

static size_t panel_bytes(void) { return (size_t)DEPTH_F32 * COLUMNS * sizeof(float); }
/* Decoded values before they are packed: 32 columns of a piece of k. */
static size_t decoded_bytes(void) { return (size_t)NIB_PANEL * PIECE * sizeof(float); }
static size_t rounded_bytes(void) { return (size_t)NIB_PANEL * PIECE * sizeof(uint16_t); }
static size_t result_bytes(size_t rows)
{
    return nib_min(rows, MOST_ROWS) * MOST_COLUMNS * sizeof(float);
}

static size_t worker_bytes(size_t rows, size_t rank)
{
    return nib_round_up(panel_bytes() + decoded_bytes() + rounded_bytes() + result_bytes(rows) +
                        (rank + 2) * COLUMNS * sizeof(float), 64);
}

size_t nib_product_scratch_bytes(nib_ctx *ctx, size_t in, size_t max_rank, size_t max_rows)
{
    size_t panels = nib_threads(ctx) * worker_bytes(max_rows, max_rank) + 64;
    return nib_max(panels, nib_product_dot_scratch_bytes(ctx, in, max_rows));
}

size_t nib_product_own_bytes(nib_ctx *ctx, const nib_weight *w, size_t max_rank, size_t max_rows)
{
    return w->scheme->forward ? w->scheme->forward_bytes(ctx, w, max_rank, max_rows) : 0;
}

typedef struct worker_space {
    char *panel;
    float *decoded;
    uint16_t *rounded;
    float *result, *gain, *bias, *factor;
} worker_space;

static worker_space space_of(const product *p, unsigned worker)
{
    char *at = p->scratch + worker * p->worker_bytes;
    worker_space s = { .panel = at };
    at += panel_bytes();
    s.decoded = (float *)at;
    at += decoded_bytes();
    s.rounded = (uint16_t *)at;
    at += rounded_bytes();
    s.result = (float *)at;
    s.gain = (float *)(at + result_bytes(p->a->rows));
    s.bias = s.gain + COLUMNS;
    s.factor = s.bias + COLUMNS;
    return s;
}

/* A tile and where its sums are made. */
typedef struct tile {
    size_t m0, rows, n0, columns;
    float *c;
    size_t ldc;
    bool rounded; /* straight into a->y, of bfloat16 */
} tile;

static nib_pack_kind kind_of(const product *p)
{
    if (p->pairs) return NIB_PACK_PAIRS;
    return p->a->type == NIB_BF16 ? NIB_PACK_ROUNDED : NIB_PACK_F32;
}

/* The scheme's own packer, when it has one for this piece. */
static bool pack_fused(const product *p, size_t c0, size_t t0, size_t terms, char *panel)
{
    nib_pack piece = { .kind = kind_of(p), .backward = p->backward, .c0 = c0, .t0 = t0,
                       .terms = terms };

    return p->w->scheme->pack && p->w->scheme->pack(p->w, p->k, &piece, panel);
}

/* Terms of the next piece that is decoded at a time, from `at` on: it ends with a block of a
 * scheme. */
static size_t piece_terms(size_t at, size_t left) { return nib_min(PIECE - at % PIECE, left); }

/* Forward: 32 outputs n0.. times k0..k0+depth, transposed into the panel.  Outputs past the end are
 * zero. */
static void pack_forward(const product *p, const worker_space *s, size_t n0, size_t k0,
                         size_t depth, char *panel)
{
    size_t rows = nib_min(NIB_PANEL, p->n - n0), bytes = nib_pack_value_bytes(kind_of(p));
    size_t word = sizeof(uint32_t) / bytes; /* terms of one */
    const void *from = p->pairs ? (const void *)s->rounded : s->decoded;

    if (rows == NIB_PANEL && pack_fused(p, n0, k0, depth, panel)) return;
    for (size_t k = 0, some; k < depth; k += some) {
        some = piece_terms(k0 + k, depth - k);
        if (rows < NIB_PANEL) memset(s->decoded, 0, NIB_PANEL * some * sizeof(float));
        p->w->scheme->decode_tile(p->w, n0, n0 + rows, k0 + k, k0 + k + some, s->decoded, some);
        if (p->pairs) p->k->to_bf16(NIB_PANEL * some, s->decoded, s->rounded);
        else nib_weight_round(p->k, p->a->type, rows * some, s->decoded, s->rounded);
        p->k->pack_transposed(some / word, from, some / word,
                              (uint32_t *)(void *)(panel + k * NIB_STRIP * bytes),
                              depth / word * NIB_STRIP);
    }
}

/* Backward: the weight's rows k0..k0+depth are the terms, `columns` of its columns from n0 on a
 * strip, where they lie as they are; columns past the end are zero. */
static void pack_strip(const product *p, const worker_space *s, size_t n0, size_t columns,
                       size_t k0, size_t depth, char *strip)
{
    float *rows = p->pairs ? s->decoded : (float *)(void *)strip;

    for (size_t k = 0, some; k < depth; k += some, rows += p->pairs ? 0 : some * NIB_STRIP) {
        some = nib_min(PIECE, depth - k);
        if (columns < NIB_STRIP) memset(rows, 0, some * NIB_STRIP * sizeof(float));
        if (columns)
            p->w->scheme->decode_tile(p->w, k0 + k, k0 + k + some, n0, n0 + columns, rows,
                                      NIB_STRIP);
        if (!p->pairs) nib_weight_round(p->k, p->a->type, some * NIB_STRIP, rows, s->rounded);
        for (size_t i = 0; p->pairs && i < some; i += 2)
            p->k->pack_pairs(NIB_STRIP, rows + i * NIB_STRIP, rows + (i + 1) * NIB_STRIP,
                             (uint32_t *)(void *)strip + (k + i) / 2 * NIB_STRIP);
    }
}

static void pack_backward(const product *p, const worker_space *s, size_t n0, size_t k0,
                          size_t depth, char *panel)
{
    size_t columns = nib_min(NIB_PANEL, p->n - n0), bytes = nib_pack_value_bytes(kind_of(p));

    if (columns == NIB_PANEL && pack_fused(p, n0, k0, depth, panel)) return;
    for (size_t n = 0; n < NIB_PANEL; n += NIB_STRIP)
        pack_strip(p, s, n0 + n, n < columns ? nib_min(NIB_STRIP, columns - n) : 0, k0, depth,
                   panel + n * depth * bytes);
}

/* The low-rank factor's part for `wide` columns, as a panel; columns past the end are zero. */
static void pack_factor(const product *p, size_t n0, size_t wide, float *panel)
{
    const nib_product_args *a = p->a;
    size_t columns = nib_min(wide, p->n - n0), strips = nib_round_up(columns, NIB_STRIP);
    nib_strided factor = p->backward
                             ? (nib_strided){ a->factor + n0, 1, p->w->in }
                             : (nib_strided){ a->factor + n0 * a->rank, a->rank, 1 };

    nib_pack_strips(factor, columns, a->rank, 0, a->rank, panel);
    memset(panel + strips * a->rank, 0, (wide - strips) * a->rank * sizeof *panel);
}

/* The gain or bias of `wide` columns; zeros past the end. */
static const float *copy_columns(const product *p, const float *from, size_t n0, size_t wide,
                                 float *to)
{
    size_t columns = nib_min(wide, p->n - n0);

    memcpy(to, from + n0, columns * sizeof *to);
    memset(to + columns, 0, (wide - columns) * sizeof *to);
    return to;
}

/* y (+)= result, rounded once: for tiles that are not made where they belong (run_tile). */
static void store(const product *p, const tile *t)
{
    const nib_product_args *a = p->a;
    size_t columns = t->columns;

    for (size_t m = 0; m < t->rows; m++) {
        const float *from = t->c + m * t->ldc;
        size_t at = (t->m0 + m) * a->ldy + t->n0;

        if (a->y_type == NIB_F32) {
            if (a->accumulate) p->k->axpy(columns, 1, from, (float *)a->y + at);
            else memcpy((float *)a->y + at, from, columns * sizeof(float));
        } else {
            uint16_t *to = (uint16_t *)a->y + at;
            float old[MOST_COLUMNS];
            if (a->accumulate) {
                p->k->from_bf16(columns, to, old);
                p->k->axpy(columns, 1, from, old);
                from = old;
            }
            p->k->to_bf16(columns, from, to);
        }
    }
}

static size_t most_depth(const product *p) { return p->pairs ? p->k->bf16_depth : DEPTH_F32; }

/* Terms of the next block: the depth is split evenly, in whole units of low-bit schemes.  A small
 * rest is no block: sums are read and written again for each. */
static size_t block_depth(const product *p, size_t left)
{
    size_t most = most_depth(p), column = left * nib_pack_value_bytes(kind_of(p));

    if (left <= most + most / 4 && column * COLUMNS <= panel_bytes()) return left;
    return nib_min(left, nib_round_up(nib_ceil_div(left, nib_ceil_div(left, most)), UNIT));
}

/* Sums (+)= x W over `depth` terms and the `wide` columns of one panel, n from the tile's first;
 * after the last block of terms u factor, the gain and the bias. */
static void add_block(const product *p, const worker_space *s, const tile *t, size_t n,
                      size_t wide, size_t k0, size_t depth, bool add)
{
    const nib_product_args *a = p->a;
    size_t at = t->m0 * a->x.ld + k0;
    size_t bytes = depth * NIB_PANEL * nib_pack_value_bytes(kind_of(p));
    nib_gemm_end end = { .a = t->c, .panel = s->factor, .ldy = a->ldy,
                         .accumulate = a->accumulate };
    bool last = k0 + depth == p->depth;

    for (size_t i = 0; i < wide; i += NIB_PANEL)
        (p->backward ? pack_backward : pack_forward)(p, s, t->n0 + n + i, k0, depth,
                                                     s->panel + i / NIB_PANEL * bytes);
    if (last && a->u) {
        pack_factor(p, t->n0 + n, wide, s->factor);
        end.K = a->rank;
        end.a = a->u + t->m0 * a->rank;
    }
    if (last && a->gain) end.gain = copy_columns(p, a->gain, t->n0 + n, wide, s->gain);
    if (last && a->bias) end.bias = copy_columns(p, a->bias, t->n0 + n, wide, s->bias);
    if (t->rounded) end.y = (uint16_t *)a->y + t->m0 * a->ldy + t->n0 + n;
    if (p->pairs)
        p->k->gemm_bf16(t->rows, wide, depth, (const uint16_t *)a->x.x + at, a->x.ld,
                        (const uint16_t *)(void *)s->panel, t->c + n, t->ldc, add,
                        last ? &end : NULL);
    else
        p->k->gemm_f32(t->rows, wide, depth, (const float *)a->x.x + at, a->x.ld,
                       (const float *)(void *)s->panel, t->c + n, t->ldc, add, last ? &end : NULL);
}

/* Sums are made where they belong when that is float.  Bfloat16 is rounded on its way there; sums
 * of several blocks of terms wait in the worker's own space.  So do all sums of a tile whose last
 * panel is not whole, and float ones that are added to what is there unless all tiles are whole and
 * have no gain: no value's sum depends on how columns are divided. */
static void run_tile(void *arg, size_t number, unsigned worker)
{
    const product *p = arg;
    const nib_product_args *a = p->a;
    worker_space s = space_of(p, worker);
    tile t = { .m0 = number / p->column_blocks * p->rows_each,
               .n0 = number % p->column_blocks * p->columns_each,
               .c = s.result, .ldc = MOST_COLUMNS };
    size_t wide;
    bool whole, direct, add;

    t.rows = nib_min(p->rows_each, a->rows - t.m0);
    t.columns = nib_min(p->columns_each, p->n - t.n0);
    wide = nib_round_up(t.columns, NIB_PANEL);
    whole = t.columns == wide;
    direct = a->y_type == NIB_F32 && whole &&
             (!a->accumulate || (p->n % NIB_PANEL == 0 && !a->gain));
    t.rounded = a->y_type == NIB_BF16 && whole;
    if (direct) {
        t.c = (float *)a->y + t.m0 * a->ldy + t.n0;
        t.ldc = a->ldy;
    }
    add = direct && a->accumulate;
    for (size_t k0 = 0, depth; k0 < p->depth; k0 += depth, add = true) {
        depth = block_depth(p, p->depth - k0);
        for (size_t n = 0; n < wide; n += COLUMNS)
            add_block(p, &s, &t, n, nib_min(COLUMNS, wide - n), k0, depth, add);
    }
    if (!direct && !t.rounded) store(p, &t);
}

/* Tiles of all rows where there are columns enough for all threads, so that the weight is decoded
 * once; else tiles of a thread's own rows; where there are few of both, the columns in equal
 * parts. */
static void divide(product *p, size_t threads)
{
    size_t rows = p->a->rows, sharing;
    bool many = nib_ceil_div(p->n, COLUMNS) >= MANY_PANELS * threads;

    p->rows_each = nib_min(rows, MOST_ROWS);
    if (!many && rows >= 2 * FEWEST_ROWS)
        p->rows_each = nib_min(nib_max(nib_ceil_div(rows, threads), FEWEST_ROWS), MOST_ROWS);
    p->row_blocks = nib_ceil_div(rows, nib_max(p->rows_each, 1));
    sharing = nib_ceil_div(threads, nib_max(p->row_blocks, 1));
    p->columns_each = COLUMNS;
    if (!many && sharing > 1)
        p->columns_each = nib_min(nib_round_up(nib_ceil_div(p->n, sharing), NIB_PANEL),
                                  MOST_COLUMNS);
    else if (p->depth > most_depth(p))
        /* Panels take turns at a block of k of the rows, which is read from afar once for all of
         * them. */
        p->columns_each = nib_min(
            nib_round_up(nib_ceil_div(p->n * p->row_blocks, TILES_EACH * threads), COLUMNS),
            MOST_COLUMNS);
    p->column_blocks = nib_ceil_div(p->n, p->columns_each);
}

static void run_product(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                        const nib_product_args *a, bool backward, void *scratch)
{
    product p = { .ctx = ctx, .k = k, .w = w, .a = a, .backward = backward,
                  .pairs = a->x.type == NIB_BF16,
                  .n = backward ? w->in : w->out, .depth = backward ? w->out : w->in,
                  .scratch = (char *)nib_round_up((uintptr_t)scratch, 64),
                  .worker_bytes = worker_bytes(a->rows, a->u ? a->rank : 0) };

    assert(!p.pairs || nib_operand_type(k, a->x.type, p.depth) == NIB_BF16);
    divide(&p, nib_threads(ctx));
    nib_parallel_for(ctx, p.row_blocks * p.column_blocks, run_tile, &p);
}

void nib_product_forward(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                         const nib_product_args *args, void *scratch)
{
    if (w->scheme->forward && !args->decode) w->scheme->forward(ctx, k, w, args, scratch);
    else run_product(ctx, k, w, args, false, scratch);
}

void nib_product_backward(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                          const nib_product_args *args, void *scratch)
{
    run_product(ctx, k, w, args, true, scratch);
}
