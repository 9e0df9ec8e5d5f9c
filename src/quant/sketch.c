/* sketch.c - 8-bit rows, bounds of their products, and who can be the greatest. */
#include "quant/sketch.h"

#include <math.h>

#include "base/thread.h"

enum { ROWS = 128 /* of a tile */, MOST_X = 2047 };
static const float ROOM = 1.001f;           /* norms are sums in float themselves */
/* Of a row or x: products of two norms are numbers, and squares of rests no subnormal ones. */
static const double MOST_SQUARES = 0x1p120, LEAST_SQUARES = 0x1p-96;

typedef struct bounds { float lower, upper; } bounds;

struct nib_sketch {
    nib_ctx *ctx;
    const nib_kernels *k;
    size_t rows, in, wide;    /* wide: a row of codes, padded with those of 0 */
    uint8_t *codes;           /* [rows, wide] */
    float *scale;             /* [rows] of the codes; */
    float *error, *norm;      /* of a row |w - w'|, and no less than |w| and |w'| */
    float *lower, *upper;     /* [NIB_DOT_ROWS, rows] of the outputs, of the last call, */
    bounds *most;             /* [NIB_DOT_ROWS, tiles] and the greatest of each tile */
    float *greatest;          /* [rows] a heap of the greatest lower bounds, the least first */
    uint32_t *found;          /* [NIB_DOT_ROWS, rows] */
    int16_t *x;               /* [NIB_DOT_ROWS, wide] as dot8 has it */
};

static size_t tiles_of(const nib_sketch *s) { return nib_ceil_div(s->rows, ROWS); }

/* --- making --- */

typedef struct making {
    nib_sketch *s;
    const nib_weight *w;
    nib_dtype type;
    float *decoded;      /* [workers, in] */
    uint16_t *through;   /* [workers, in] */
} making;

static double sum_of_squares(size_t n, const float *x)
{
    double sum[8] = { 0 }; /* one after the other would wait for each addition */
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++) sum[0] += (double)x[i] * (double)x[i];
    for (size_t j = 1; j < 8; j++) sum[0] += sum[j];
    return sum[0];
}

static void encode_row(nib_sketch *s, size_t r, const float *values)
{
    uint8_t *codes = s->codes + r * s->wide;
    double squares = sum_of_squares(s->in, values);
    bool bounded = squares <= MOST_SQUARES; /* or NaN */
    nib_encoded8 row = { .error = squares }; /* of zeros in its place */

    memset(codes, NIB_DOT8_ZERO, s->wide);
    if (bounded && squares >= LEAST_SQUARES) row = s->k->encode8(s->in, values, codes);
    s->scale[r] = row.scale;
    s->error[r] = bounded ? (float)sqrt(row.error) * ROOM : INFINITY;
    s->norm[r] = bounded ? (float)sqrt(squares) * ROOM + s->error[r] : 0;
}

static void make_tile(void *arg, size_t tile, unsigned worker)
{
    const making *m = arg;
    nib_sketch *s = m->s;
    size_t end = nib_min((tile + 1) * ROWS, s->rows);
    float *values = m->decoded + worker * s->in;

    for (size_t r = tile * ROWS; r < end; r++) {
        nib_weight_decode(m->w, r, r + 1, values);
        nib_weight_round(s->k, m->type, s->in, values, m->through + worker * s->in);
        encode_row(s, r, values);
    }
}

/* Floats of a row of the matrix: scale, error, norm, greatest, and bounds for each row of x. */
enum { ROW_FLOATS = 4 + 2 * NIB_DOT_ROWS };

uint64_t nib_sketch_bytes(nib_ctx *ctx, const nib_weight *w)
{
    uint64_t rows = w->out, wide = nib_round_up(w->in, NIB_DOT8_STEP);

    return rows * (wide + ROW_FLOATS * sizeof(float) + NIB_DOT_ROWS * sizeof(uint32_t)) +
           nib_ceil_div(rows, ROWS) * NIB_DOT_ROWS * sizeof(bounds) +
           wide * NIB_DOT_ROWS * sizeof(int16_t) +
           nib_threads(ctx) * w->in * (sizeof(float) + sizeof(uint16_t));
}

nib_status nib_sketch_create(nib_ctx *ctx, const nib_kernels *k, nib_dtype type,
                             const nib_weight *w, nib_sketch **out, nib_error *err)
{
    nib_sketch *s = nib_new(ctx, sizeof *s);
    making m = { .s = s, .w = w, .type = type };
    nib_status status = NIB_OK;

    if (s) {
        *s = (nib_sketch){ .ctx = ctx, .k = k, .rows = w->out, .in = w->in };
        s->wide = nib_round_up(w->in, NIB_DOT8_STEP);
        s->codes = nib_new_array(ctx, w->out, s->wide);
        s->scale = nib_new_array(ctx, w->out, ROW_FLOATS * sizeof *s->scale);
        s->found = nib_new_array(ctx, w->out, NIB_DOT_ROWS * sizeof *s->found);
        s->most = nib_new_array(ctx, tiles_of(s), NIB_DOT_ROWS * sizeof *s->most);
        s->x = nib_new_array(ctx, s->wide, NIB_DOT_ROWS * sizeof *s->x);
        m.decoded = nib_new_array(ctx, nib_threads(ctx), w->in * sizeof *m.decoded);
        m.through = nib_new_array(ctx, nib_threads(ctx), w->in * sizeof *m.through);
    }
    if (!s || !s->codes || !s->scale || !s->found || !s->most || !s->x || !m.decoded ||
        !m.through) {
        status = nib_fail(err, NIB_E_NOMEM, "sketch of %zu x %zu: out of memory", w->out, w->in);
        goto done;
    }
    s->error = s->scale + w->out;
    s->norm = s->error + w->out;
    s->greatest = s->norm + w->out;
    s->lower = s->greatest + w->out;
    s->upper = s->lower + NIB_DOT_ROWS * w->out;
    nib_parallel_for(ctx, tiles_of(s), make_tile, &m);
    *out = s;
    s = NULL; /* handed over */
done:
    nib_free(ctx, m.decoded);
    nib_free(ctx, m.through);
    nib_sketch_destroy(s);
    return status;
}

void nib_sketch_destroy(nib_sketch *s)
{
    if (!s) return;
    nib_free(s->ctx, s->codes);
    nib_free(s->ctx, s->scale);
    nib_free(s->ctx, s->found);
    nib_free(s->ctx, s->most);
    nib_free(s->ctx, s->x);
    nib_free(s->ctx, s);
}

/* --- finding --- */

typedef struct question {
    bool bounded;       /* else nothing of the rest counts */
    float scale;        /* x' = scale * integers */
    int32_t zero;       /* NIB_DOT8_ZERO * sum of the integers: what all sums have too much */
    float norm, error;  /* |x| and |x - x'| */
} question;

typedef struct questions {
    nib_sketch *s;
    size_t count;
    question all[NIB_DOT_ROWS];
    float rounding;     /* of a float sum, as a fraction of |w| |x| */
} questions;

/* x in integers, so small that no sum of codes times x can pass 31 bits. */
static question ask(const nib_sketch *s, const float *x, int16_t *integers)
{
    const float most_x = (float)nib_min((size_t)MOST_X, INT32_MAX / 255 / s->wide);
    double squares = sum_of_squares(s->in, x), errors = 0;
    question q = { .bounded = squares <= MOST_SQUARES && squares >= LEAST_SQUARES }; /* or NaN */
    float most = 0;
    int32_t sum = 0;

    memset(integers, 0, s->wide * sizeof *integers);
    if (!q.bounded) return q;
    for (size_t i = 0; i < s->in; i++) most = fmaxf(most, fabsf(x[i]));
    q.scale = most / most_x;
    for (size_t i = 0; i < s->in; i++) {
        float integer = rintf(x[i] / q.scale), rest = x[i] - integer * q.scale;
        integers[nib_dot8_place(i)] = (int16_t)integer;
        sum += (int32_t)integer;
        errors += (double)rest * (double)rest;
    }
    q.zero = NIB_DOT8_ZERO * sum;
    q.norm = (float)sqrt(squares) * ROOM;
    q.error = (float)sqrt(errors) * ROOM;
    return q;
}

static float greatest(const float *x, size_t n)
{
    float most[8], all = -INFINITY;
    size_t i = 0;

    for (size_t j = 0; j < 8; j++) most[j] = -INFINITY;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    for (; i < n; i++) all = x[i] > all ? x[i] : all;
    for (size_t j = 0; j < 8; j++) all = most[j] > all ? most[j] : all;
    return all;
}

static void bound_tile(void *arg, size_t tile, unsigned worker)
{
    const questions *qs = arg;
    nib_sketch *s = qs->s;
    size_t r0 = tile * ROWS, rows = nib_min(ROWS, s->rows - r0);
    const float *scale = s->scale + r0, *error = s->error + r0, *norm = s->norm + r0;
    int32_t sums[NIB_DOT_ROWS * ROWS];

    (void)worker;
    s->k->dot8(rows, s->wide, s->codes + r0 * s->wide, qs->count, s->x, sums, ROWS);
    for (size_t m = 0; m < qs->count; m++) {
        question q = qs->all[m];
        float *lower = s->lower + m * s->rows + r0, *upper = s->upper + m * s->rows + r0;
        for (size_t r = 0; r < rows; r++) {
            float value = (float)(sums[m * ROWS + r] - q.zero) * (scale[r] * q.scale);
            float room = error[r] * q.norm + norm[r] * q.error + norm[r] * q.norm * qs->rounding;
            lower[r] = value - room;
            upper[r] = value + room;
        }
        s->most[m * tiles_of(s) + tile] =
            (bounds){ greatest(lower, rows), greatest(upper, rows) };
    }
}

static void sink(float *heap, size_t n, float x)
{
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= x) break;
        heap[at] = heap[child];
    }
    heap[at] = x;
}

/* The n-th greatest of the lower bounds for row m of x. */
static float threshold(const nib_sketch *s, size_t m, size_t n)
{
    const float *lower = s->lower + m * s->rows;
    const bounds *most = s->most + m * tiles_of(s);
    float *heap = s->greatest;

    for (size_t i = 0; i < n; i++) heap[i] = -INFINITY;
    for (size_t tile = 0; tile < tiles_of(s); tile++) {
        size_t end = nib_min((tile + 1) * ROWS, s->rows);
        for (size_t r = tile * ROWS; most[tile].lower > heap[0] && r < end; r++)
            if (lower[r] > heap[0]) sink(heap, n, lower[r]);
    }
    return heap[0];
}

/* Rows whose upper bound for row m of x is not below `least`, and how many they are. */
static size_t rows_reaching(const nib_sketch *s, size_t m, float least, uint32_t *rows)
{
    const float *upper = s->upper + m * s->rows;
    const bounds *most = s->most + m * tiles_of(s);
    size_t count = 0;

    for (size_t tile = 0; tile < tiles_of(s); tile++) {
        size_t end = nib_min((tile + 1) * ROWS, s->rows);
        for (size_t r = tile * ROWS; most[tile].upper >= least && r < end; r++)
            if (upper[r] >= least) rows[count++] = (uint32_t)r;
    }
    return count;
}

void nib_sketch_find(nib_sketch *s, size_t M, const float *x, size_t most, nib_found *found)
{
    questions qs = { .s = s, .count = M };

    assert(most > 0 && M <= NIB_DOT_ROWS);
    /* n 2^-24 bounds a sum in any order; twice that, for both sums */
    qs.rounding = (float)(s->in + 64) * 0x1p-23f;
    for (size_t m = 0; m < M; m++) qs.all[m] = ask(s, x + m * s->in, s->x + m * s->wide);
    nib_parallel_for(s->ctx, tiles_of(s), bound_tile, &qs);
    for (size_t m = 0; m < M; m++) {
        uint32_t *rows = s->found + m * s->rows;
        size_t count = 0;
        if (qs.all[m].bounded)
            count = rows_reaching(s, m, threshold(s, m, nib_min(most, s->rows)), rows);
        found[m] = (nib_found){ rows, count };
    }
}
