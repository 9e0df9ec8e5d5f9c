/* survival_sums.c - see survival_sums.h.  Rows of the matrices are taken in tiles, a thread a
 * tile; what the tiles find is added in their order. */
#include "job/survival_sums.h"

#include <cblas.h>
#include <math.h>

#include "base/thread.h"
#include "job/merge_rows.h"

enum { TILE = 64, MOST_TILES = 64, ROWS = 256 };

typedef struct point { double a, b, c; } point; /* of one x */

static void add_point(nib_survival_sums *s, point p)
{
    s->rows++;
    s->a += p.a;
    s->b += p.b;
    s->c += p.c;
    s->aa += p.a * p.a;
    s->ab += p.a * p.b;
    s->bb += p.b * p.b;
}

void nib_survival_add(nib_survival_sums *to, const nib_survival_sums *more)
{
    to->rows += more->rows;
    to->a += more->a;
    to->b += more->b;
    to->c += more->c;
    to->aa += more->aa;
    to->ab += more->ab;
    to->bb += more->bb;
}

nib_survival nib_survival_of(const nib_survival_sums *s)
{
    nib_survival r = { .survived = NAN, .standard_error = NAN, .noise = NAN, .rows = s->rows };
    double n = (double)s->rows, squares;

    if (!(s->b > 0)) return r;
    r.survived = s->a / s->b;
    r.noise = sqrt(s->c / s->b);
    squares = s->aa - 2 * r.survived * s->ab + r.survived * r.survived * s->bb;
    if (s->rows > 1) r.standard_error = sqrt(fmax(squares, 0) * n / (n - 1)) / s->b;
    return r;
}

/* W' - W and D of row `row`; room [3, in]: room for the two and one more. */
static void change_row(const nib_change *c, size_t row, float *e, float *d, float *room)
{
    size_t in = c->base->in;

    nib_weight_decode(c->base, row, row + 1, room);
    nib_weight_decode(c->made, row, row + 1, e);
    if (c->whole) nib_weight_decode(c->whole, row, row + 1, d);
    for (size_t i = 0; i < in; i++) {
        e[i] -= room[i];
        d[i] = c->whole ? d[i] - room[i] : 0;
    }
    if (!c->branch) return;
    for (size_t i = 0; c->branch->magnitude && i < in; i++) d[i] += room[i];
    nib_merge_add_row(c->branch, c->embedding, row, room, d, in);
    if (c->branch->magnitude) nib_weight_decode(c->base, row, row + 1, room);
    for (size_t i = 0; c->branch->magnitude && i < in; i++) d[i] -= room[i];
}

static point point_of(const float *e, const float *d, size_t n)
{
    point p = { 0 };

    for (size_t i = 0; i < n; i++) {
        double x = (double)e[i], y = (double)d[i];
        p.a += x * y;
        p.b += y * y;
        p.c += (x - y) * (x - y);
    }
    return p;
}

/* Tiles of rows, few enough for their findings to stay small. */
static size_t tile_rows(size_t rows)
{
    return nib_max(TILE, nib_ceil_div(rows, MOST_TILES));
}

typedef struct work {
    const nib_change *c;
    size_t tile;
    point *points;        /* [tiles, in], of words [rows] */
    float *room;          /* [threads, 3, in] */
    const uint32_t *ids;
} work;

/* --- each input alone --- */

static void columns_tile(void *arg, size_t tile, unsigned worker)
{
    const work *k = arg;
    size_t in = k->c->base->in, r0 = tile * k->tile, r1 = nib_min(r0 + k->tile, k->c->base->out);
    float *e = k->room + worker * 3 * in, *d = e + in;
    point *to = k->points + tile * in;

    for (size_t r = r0; r < r1; r++) {
        change_row(k->c, r, e, d, d + in);
        for (size_t i = 0; i < in; i++) {
            point p = point_of(e + i, d + i, 1);
            to[i].a += p.a;
            to[i].b += p.b;
            to[i].c += p.c;
        }
    }
}

static void word_tile(void *arg, size_t i, unsigned worker)
{
    const work *k = arg;
    size_t in = k->c->base->in;
    float *e = k->room + worker * 3 * in, *d = e + in;

    change_row(k->c, k->ids ? k->ids[i] : i, e, d, d + in);
    k->points[i] = point_of(e, d, in);
}

/* points: how many a tile has.  NULL-safe room is the caller's to free. */
static nib_status make_room(nib_ctx *ctx, work *k, size_t points, nib_error *err)
{
    k->points = nib_new_array(ctx, points, sizeof *k->points);
    k->room = nib_new_array(ctx, nib_threads(ctx) * 3, k->c->base->in * sizeof(float));
    return k->points && k->room ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%zu x %zu values: out of "
                                                    "memory", k->c->base->out, k->c->base->in);
}

static void free_room(nib_ctx *ctx, work *k)
{
    nib_free(ctx, k->points);
    nib_free(ctx, k->room);
}

nib_status nib_survival_of_ids(nib_ctx *ctx, const nib_change *c, const uint32_t *ids, size_t rows,
                               nib_survival_sums *to, nib_error *err)
{
    work k = { .c = c, .ids = ids };
    nib_status status = make_room(ctx, &k, rows, err);

    if (!status) nib_parallel_for(ctx, rows, word_tile, &k);
    for (size_t i = 0; !status && i < rows; i++) add_point(to, k.points[i]);
    free_room(ctx, &k);
    return status;
}

nib_status nib_survival_of_weights(nib_ctx *ctx, const nib_change *c, nib_survival_sums *to,
                                   nib_error *err)
{
    size_t out = c->base->out, in = c->base->in;
    work k = { .c = c, .tile = tile_rows(out) };
    size_t tiles = nib_ceil_div(out, k.tile);
    nib_status status;

    if (c->embedding) return nib_survival_of_ids(ctx, c, NULL, out, to, err);
    status = make_room(ctx, &k, tiles * in, err);
    if (!status) nib_parallel_for(ctx, tiles, columns_tile, &k);
    for (size_t i = 0; !status && i < in; i++) {
        point p = { 0 };
        for (size_t t = 0; t < tiles; t++) {
            const point *q = &k.points[t * in + i];
            p = (point){ p.a + q->a, p.b + q->b, p.c + q->c };
        }
        add_point(to, p);
    }
    free_room(ctx, &k);
    return status;
}

/* --- rows of inputs --- */

typedef struct product {
    const nib_change *c;
    const float *x;
    size_t rows, tile, room_each;
    point *points;  /* [tiles, rows] */
    float *room;    /* [threads]: E and D [TILE, in], x E^T and x D^T [rows, TILE], one row */
} product;

static void product_tile(void *arg, size_t tile, unsigned worker)
{
    const product *k = arg;
    size_t in = k->c->base->in, r0 = tile * k->tile, r1 = nib_min(r0 + k->tile, k->c->base->out);
    float *e = k->room + worker * k->room_each, *d = e + TILE * in, *ye = d + TILE * in,
          *yd = ye + k->rows * TILE, *row = yd + k->rows * TILE;
    point *to = k->points + tile * k->rows;

    for (size_t r = r0, n; r < r1; r += n) {
        n = nib_min(TILE, r1 - r);
        for (size_t i = 0; i < n; i++) change_row(k->c, r + i, e + i * in, d + i * in, row);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)k->rows, (int)n, (int)in, 1, k->x,
                    (int)in, e, (int)in, 0, ye, TILE);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)k->rows, (int)n, (int)in, 1, k->x,
                    (int)in, d, (int)in, 0, yd, TILE);
        for (size_t t = 0; t < k->rows; t++) {
            point p = point_of(ye + t * TILE, yd + t * TILE, n);
            to[t] = (point){ to[t].a + p.a, to[t].b + p.b, to[t].c + p.c };
        }
    }
}

/* At most ROWS of them. */
static nib_status some_rows(nib_ctx *ctx, const nib_change *c, const float *x, size_t rows,
                            nib_survival_sums *to, nib_error *err)
{
    size_t in = c->base->in, tile = tile_rows(c->base->out),
           tiles = nib_ceil_div(c->base->out, tile);
    product k = { .c = c, .x = x, .rows = rows, .tile = tile,
                  .room_each = (2 * TILE + 1) * in + 2 * TILE * rows };
    nib_status status = NIB_OK;

    k.points = nib_new_array(ctx, tiles, rows * sizeof *k.points);
    k.room = nib_new_array(ctx, nib_threads(ctx), k.room_each * sizeof *k.room);
    if (!k.points || !k.room)
        status = nib_fail(err, NIB_E_NOMEM, "%zu rows of %zu values: out of memory", rows, in);
    else nib_parallel_for(ctx, tiles, product_tile, &k);
    for (size_t t = 0; !status && t < rows; t++) {
        point p = { 0 };
        for (size_t i = 0; i < tiles; i++) {
            const point *q = &k.points[i * rows + t];
            p = (point){ p.a + q->a, p.b + q->b, p.c + q->c };
        }
        add_point(to, p);
    }
    nib_free(ctx, k.points);
    nib_free(ctx, k.room);
    return status;
}

nib_status nib_survival_of_rows(nib_ctx *ctx, const nib_change *c, const float *x, size_t rows,
                                nib_survival_sums *to, nib_error *err)
{
    nib_status status = NIB_OK;

    openblas_set_num_threads(1); /* the threads are ours */
    for (size_t r = 0, n; r < rows && !status; r += n) {
        n = nib_min(ROWS, rows - r);
        status = some_rows(ctx, c, x + r * c->base->in, n, to, err);
    }
    return status;
}
