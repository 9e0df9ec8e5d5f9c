/* op_disentangled.c - attention whose scores have parts for what stands where (He et al. 2020,
 * arXiv:2006.03654; formats-encoder.md 3.5): with r = delta(i - j) a row of a table of distances,
 *
 *     s_ij = c (q_i . k_j + [q_i . K_r] + [k_j . Q_r])      p = softmax(s)      o_i = sum_j m p v_j
 *
 * K and Q are projections of the table, values on the axis of its rows (graph.h, nib_span): rows of
 * distances that no sequence of the batch has are not there.  m: dropout.
 *
 *     ds_ij = c p_ij (m do_i . v_j - sum_j m p do_i . v_j)
 *     dC_ir = sum_(j: delta = r) ds_ij       dq = ds k + dC K      dK = dC^T q
 *     dP_jr = sum_(i: delta = r) ds_ij       dk = ds^T q + dP Q    dQ = dP^T k      dv = (m p)^T do
 *
 * Queries are taken a block at a time, so that memory is linear in the length (times the rows of
 * the table that it reaches).  A tile is a head: of a sequence forward, of all of them backward,
 * whose parts of dK and dQ are added in order. */
#include <math.h>

#include "base/random.h"
#include "graph/distances.h"
#include "graph/operations.h"
#include "graph/rows.h"
#include "graph/tiles.h"

enum { BLOCK = 64 };

/* Rows of one head in float [rows padded, d padded], zeros behind. */
typedef struct matrix { float *at; size_t rows; } matrix;

typedef struct apart_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    const nib_span *span;
    size_t heads, d, ld;     /* ld: channels padded */
    size_t longest, spanned; /* tokens of the longest sequence, rows of the table */
    uint32_t *rows;          /* [2 longest - 1] delta of i - j = at - (longest - 1), of `spanned` */
    float *each;
    size_t each_count;
} apart_work;

/* What a worker has for one head of one sequence. */
typedef struct head {
    const apart_work *w;
    size_t head, first, length; /* rows of tokens */
    size_t row0, rows;          /* of the spanned rows, those that the sequence reaches */
    uint32_t record;
    matrix q, k, v, d_o, table[2];  /* table: K and Q, at row0 */
    matrix dk, dv, d_table[2];      /* d_table: of all spanned rows */
    float *panel_k, *panel_v, *panel_table[2];      /* of rows: for scores and da */
    float *back_k, *back_table[2], *back_q, *back_o; /* as they lie: for gradients */
    float *s, *ds;    /* [BLOCK, length padded] */
    float *by_query, *d_by_query; /* [BLOCK, rows padded] q . K, and its gradient */
    float *by_key, *d_by_key;     /* [length padded, rows padded] k . Q */
    float *turned;    /* [length or rows padded, BLOCK] */
    float *dq;        /* [BLOCK, ld] */
} head;

static int table_input(const nib_node *n, int which)
{
    return which ? n->attention.query_rows : n->attention.key_rows;
}

/* --- room --- */

typedef struct room { float *base; size_t used; } room;

static float *take(room *r, size_t n)
{
    float *p = r->base ? r->base + r->used : NULL;

    r->used += nib_round_up(n, 16);
    return p;
}

/* Divides a worker's room; without a base only its size is found. */
static head divide(const nib_node *n, size_t longest, size_t spanned, bool back, room *at)
{
    size_t ld = nib_padded(n->attention.head_dim), d = n->attention.head_dim;
    size_t L = nib_padded(longest), R = nib_padded(spanned);
    head h = { 0 };

    h.q.at = take(at, L * ld);
    h.k.at = take(at, L * ld);
    h.v.at = take(at, L * ld);
    h.panel_k = take(at, L * d);
    h.panel_v = take(at, L * ld);
    h.s = take(at, BLOCK * L);
    h.dq = take(at, BLOCK * ld);
    for (int t = 0; t < 2; t++) {
        if (!table_input(n, t)) continue;
        h.table[t].at = take(at, R * ld);
        h.panel_table[t] = take(at, R * d);
        if (t) h.by_key = take(at, L * R);
        else h.by_query = take(at, BLOCK * R);
        if (!back) continue;
        h.d_table[t].at = take(at, R * ld);
        h.back_table[t] = take(at, R * ld);
        if (t) h.d_by_key = take(at, L * R);
        else h.d_by_query = take(at, BLOCK * R);
    }
    if (!back) return h;
    h.d_o.at = take(at, L * ld);
    h.dk.at = take(at, L * ld);
    h.dv.at = take(at, L * ld);
    h.back_k = take(at, L * ld);
    h.back_q = take(at, BLOCK * ld);
    h.back_o = take(at, BLOCK * ld);
    h.ds = take(at, BLOCK * L);
    h.turned = take(at, nib_max(L, R) * BLOCK);
    return h;
}

/* Floats of a worker. */
static size_t each_floats(const nib_node *n, size_t longest, size_t spanned, bool back)
{
    room r = { 0 };

    divide(n, longest, spanned, back, &r);
    return r.used;
}

static apart_work work_of(nib_run *run, const nib_node *n, const nib_io *io, bool back)
{
    const nib_attention_desc *a = &n->attention;
    const uint32_t *offsets = run->batch->axes[NIB_TOKENS].offsets;
    int table = a->key_rows ? a->key_rows : a->query_rows;
    nib_axis axis = run->graph->values[n->inputs[table]].axis;
    apart_work w = { .run = run, .n = n, .io = io, .heads = a->heads, .d = a->head_dim,
                     .ld = nib_padded(a->head_dim), .span = &run->graph->axes[axis].span,
                     .longest = 1, .spanned = nib_run_rows(run, axis) };
    int64_t half = (int64_t)(w.spanned / 2);

    for (size_t s = 0; s < run->batch->sequences; s++) {
        w.longest = nib_max(w.longest, offsets[s + 1] - offsets[s]);
        /* the table's projections are one slot's */
        assert(!run->batch->slots || run->batch->slots[s] == run->batch->slots[0]);
    }
    assert(w.longest <= run->positions); /* what scratch has room for */
    w.rows = (uint32_t *)run->scratch.base;
    for (size_t i = 0; i < 2 * w.longest - 1; i++) {
        int64_t row = nib_span_bucket(w.span, (int64_t)i - (int64_t)w.longest + 1) + half;
        w.rows[i] = (uint32_t)(row < 0 ? 0 : row >= 2 * half ? 2 * half - 1 : row);
    }
    w.each = (float *)run->scratch.base + nib_round_up(2 * w.longest, 16);
    w.each_count = each_floats(n, w.longest, w.spanned, back);
    return w;
}

/* --- one head of one sequence --- */

static matrix widen(const head *h, const void *x, size_t row, size_t rows, float *to)
{
    const apart_work *w = h->w;
    nib_dtype type = w->run->graph->type;

    memset(to, 0, nib_padded(rows) * w->ld * sizeof *to);
    for (size_t r = 0; r < rows; r++)
        nib_convert(to + r * w->ld, NIB_F32,
                    nib_at(x, type, ((row + r) * w->heads + h->head) * w->d), type, w->d);
    return (matrix){ to, rows };
}

static void begin_sequence(head *h, const apart_work *w, size_t s)
{
    const nib_kernels *k = w->run->k;
    const nib_batch *b = w->run->batch;

    h->first = b->axes[NIB_TOKENS].offsets[s];
    h->length = b->axes[NIB_TOKENS].offsets[s + 1] - h->first;
    h->rows = nib_min(w->spanned, 2 * nib_span_reach(w->span, h->length));
    h->row0 = (w->spanned - h->rows) / 2;
    h->record = b->records ? b->records[s] : (uint32_t)s;
    h->q = widen(h, w->io->in[0], h->first, h->length, h->q.at);
    h->k = widen(h, w->io->in[1], h->first, h->length, h->k.at);
    h->v = widen(h, w->io->in[2], h->first, h->length, h->v.at);
    nib_panel_of_rows(k, h->k.at, h->length, w->d, w->ld, h->panel_k);
    for (int t = 0; t < 2; t++) {
        int input = table_input(w->n, t);
        if (!input) continue;
        h->table[t] = widen(h, w->io->in[input], h->row0, h->rows, h->table[t].at);
        nib_panel_of_rows(k, h->table[t].at, h->rows, w->d, w->ld, h->panel_table[t]);
    }
    if (h->by_key)
        nib_times_panel(k, h->length, h->rows, w->d, h->k.at, w->ld, h->panel_table[1], h->by_key,
                        nib_padded(h->rows), false);
}

/* The row of the sequence's table for query i and key j. */
static size_t row_of(const head *h, size_t i, size_t j)
{
    return h->w->rows[i + h->w->longest - 1 - j] - h->row0;
}

/* p of the queries [i0, i0 + count), in h->s. */
static void weigh(const head *h, size_t i0, size_t count)
{
    const apart_work *w = h->w;
    const nib_kernels *k = w->run->k;
    size_t ld = nib_padded(h->length), table_ld = nib_padded(h->rows);
    const float *q = h->q.at + i0 * w->ld;

    nib_times_panel(k, count, h->length, w->d, q, w->ld, h->panel_k, h->s, ld, false);
    if (h->by_query)
        nib_times_panel(k, count, h->rows, w->d, q, w->ld, h->panel_table[0], h->by_query, table_ld,
                        false);
    for (size_t i = 0; i < count; i++) {
        float *s = h->s + i * ld, most, sum;
        for (size_t j = 0; j < h->length; j++) {
            size_t r = row_of(h, i0 + i, j);
            float more = h->by_query ? h->by_query[i * table_ld + r] : 0;
            if (h->by_key) more += h->by_key[j * table_ld + r];
            s[j] = (s[j] + more) * w->n->attention.scale;
        }
        k->logsumexp(h->length, s, &most, &sum);
        k->softmax_scaled(h->length, s, most + logf(sum), 1, 0);
    }
}

/* m of query i and keys j .. j + 3. */
static void draw_kept(const head *h, size_t i, size_t j, float kept[4])
{
    const apart_work *w = h->w;
    const nib_drop *drop = &w->n->attention.drop;
    const uint32_t key[2] = { (uint32_t)w->run->dropout_seed ^ drop->key ^
                                  (uint32_t)h->head * 0x85ebca6bu,
                              (uint32_t)(w->run->dropout_seed >> 32) };
    const uint32_t counter[4] = { h->record, (uint32_t)i, (uint32_t)(j / 4), w->run->batch->epoch };

    nib_dropout_factors(drop->p, key, counter, kept);
}

/* x_ij *= m_ij of a block. */
static void drop_block(const head *h, size_t i0, size_t count, float *x)
{
    size_t ld = nib_padded(h->length);

    if (!h->w->run->training || h->w->n->attention.drop.p == 0) return;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < h->length; j += 4) {
            float kept[4];
            draw_kept(h, i0 + i, j, kept);
            for (size_t c = 0; c < 4 && j + c < h->length; c++) x[i * ld + j + c] *= kept[c];
        }
}

/* --- forward --- */

static void put_rows(const head *h, const float *from, size_t row, size_t rows, void *to, bool add)
{
    const apart_work *w = h->w;
    nib_dtype type = w->run->graph->type;

    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < w->d; c++) {
            size_t at = ((row + r) * w->heads + h->head) * w->d + c;
            float value = from[r * w->ld + c];
            nib_put(type, to, at, add ? nib_get(type, to, at) + value : value);
        }
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const apart_work *w = arg;
    room at = { w->each + worker * w->each_count, 0 };
    head h = divide(w->n, w->longest, w->spanned, false, &at);

    h.w = w;
    h.head = tile % w->heads;
    begin_sequence(&h, w, tile / w->heads);
    nib_panel_of(w->run->k, h.v.at, h.length, w->ld, w->ld, h.panel_v);
    for (size_t i = 0; i < h.length; i += BLOCK) {
        size_t count = nib_min(h.length - i, (size_t)BLOCK);
        weigh(&h, i, count);
        drop_block(&h, i, count, h.s);
        nib_times_panel(w->run->k, count, w->ld, h.length, h.s, nib_padded(h.length), h.panel_v,
                        h.dq, w->ld, false);
        put_rows(&h, h.dq, h.first + i, count, w->io->out, false);
    }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    apart_work w = work_of(run, n, io, false);
    nib_parallel_for(run->ctx, run->batch->sequences * w.heads, forward_tile, &w);
}

/* --- backward --- */

/* h->s from p to m p, h->ds from do . v to ds. */
static void soften(const head *h, size_t i0, size_t count)
{
    size_t ld = nib_padded(h->length);

    drop_block(h, i0, count, h->ds);
    for (size_t i = 0; i < count; i++) {
        float *p = h->s + i * ld, *ds = h->ds + i * ld;
        float own = nib_row_dot(h->length, p, ds);
        for (size_t j = 0; j < h->length; j++)
            ds[j] = p[j] * (ds[j] - own) * h->w->n->attention.scale;
    }
    drop_block(h, i0, count, h->s);
}

/* Sums of ds by rows of the table, of the block's queries and of all keys. */
static void gather_rows(const head *h, size_t i0, size_t count)
{
    size_t ld = nib_padded(h->length), table_ld = nib_padded(h->rows);

    if (h->d_by_query) memset(h->d_by_query, 0, count * table_ld * sizeof(float));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < h->length; j++) {
            size_t r = row_of(h, i0 + i, j);
            if (h->d_by_query) h->d_by_query[i * table_ld + r] += h->ds[i * ld + j];
            if (h->d_by_key) h->d_by_key[j * table_ld + r] += h->ds[i * ld + j];
        }
}

/* to [rows, ld] += x [count, rows]^T panel, of a block of `count` rows as they lie. */
static void add_turned(const head *h, const float *x, size_t count, size_t rows, size_t ld,
                       const float *panel, float *to)
{
    nib_turn(x, count, rows, ld, h->turned, BLOCK);
    nib_times_panel(h->w->run->k, rows, h->w->ld, count, h->turned, BLOCK, panel, to, h->w->ld,
                    true);
}

static void backward_block(const head *h, size_t i0, size_t count)
{
    const apart_work *w = h->w;
    const nib_kernels *k = w->run->k;
    size_t ld = nib_padded(h->length), table_ld = nib_padded(h->rows);

    weigh(h, i0, count);
    nib_times_panel(k, count, h->length, w->d, h->d_o.at + i0 * w->ld, w->ld, h->panel_v, h->ds, ld,
                    false);
    soften(h, i0, count);
    gather_rows(h, i0, count);
    nib_panel_of(k, h->q.at + i0 * w->ld, count, w->ld, w->ld, h->back_q);
    nib_panel_of(k, h->d_o.at + i0 * w->ld, count, w->ld, w->ld, h->back_o);
    add_turned(h, h->s, count, h->length, ld, h->back_o, h->dv.at);
    add_turned(h, h->ds, count, h->length, ld, h->back_q, h->dk.at);
    nib_times_panel(k, count, w->ld, h->length, h->ds, ld, h->back_k, h->dq, w->ld, false);
    if (h->d_by_query) {
        nib_times_panel(k, count, w->ld, h->rows, h->d_by_query, table_ld, h->back_table[0], h->dq,
                        w->ld, true);
        add_turned(h, h->d_by_query, count, h->rows, table_ld, h->back_q,
                   h->d_table[0].at + h->row0 * w->ld);
    }
    if (w->io->d_in[0])
        put_rows(h, h->dq, h->first + i0, count, w->io->d_in[0], w->io->accumulate[0]);
}

/* What the keys' scores with the table give, when all queries have been seen. */
static void finish_keys(const head *h)
{
    const apart_work *w = h->w;
    size_t table_ld = nib_padded(h->rows);

    nib_times_panel(w->run->k, h->length, w->ld, h->rows, h->d_by_key, table_ld, h->back_table[1],
                    h->dk.at, w->ld, true);
    for (size_t j = 0; j < h->length; j += BLOCK) {
        size_t count = nib_min(h->length - j, (size_t)BLOCK);
        nib_panel_of(w->run->k, h->k.at + j * w->ld, count, w->ld, w->ld, h->back_q);
        add_turned(h, h->d_by_key + j * table_ld, count, h->rows, table_ld, h->back_q,
                   h->d_table[1].at + h->row0 * w->ld);
    }
}

static void backward_sequence(head *h, const apart_work *w, size_t s)
{
    const nib_kernels *k = w->run->k;
    size_t bytes = w->ld * sizeof(float);

    begin_sequence(h, w, s);
    h->d_o = widen(h, w->io->d_out, h->first, h->length, h->d_o.at);
    nib_panel_of_rows(k, h->v.at, h->length, w->d, w->ld, h->panel_v);
    nib_panel_of(k, h->k.at, h->length, w->ld, w->ld, h->back_k);
    for (int t = 0; t < 2; t++)
        if (table_input(w->n, t))
            nib_panel_of(k, h->table[t].at, h->rows, w->ld, w->ld, h->back_table[t]);
    memset(h->dk.at, 0, h->length * bytes);
    memset(h->dv.at, 0, h->length * bytes);
    if (h->d_by_key)
        memset(h->d_by_key, 0, h->length * nib_padded(h->rows) * sizeof(float));
    for (size_t i = 0; i < h->length; i += BLOCK)
        backward_block(h, i, nib_min(h->length - i, (size_t)BLOCK));
    if (h->d_by_key) finish_keys(h);
    if (w->io->d_in[1])
        put_rows(h, h->dk.at, h->first, h->length, w->io->d_in[1], w->io->accumulate[1]);
    if (w->io->d_in[2])
        put_rows(h, h->dv.at, h->first, h->length, w->io->d_in[2], w->io->accumulate[2]);
}

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const apart_work *w = arg;
    room at = { w->each + worker * w->each_count, 0 };
    head h = divide(w->n, w->longest, w->spanned, true, &at);

    h.w = w;
    h.head = tile;
    for (int t = 0; t < 2; t++)
        if (table_input(w->n, t))
            memset(h.d_table[t].at, 0, nib_padded(w->spanned) * w->ld * sizeof(float));
    for (size_t s = 0; s < w->run->batch->sequences; s++) backward_sequence(&h, w, s);
    for (int t = 0; t < 2; t++) {
        int input = table_input(w->n, t);
        if (input && w->io->d_in[input])
            put_rows(&h, h.d_table[t].at, 0, w->spanned, w->io->d_in[input],
                     w->io->accumulate[input]);
    }
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    apart_work w = work_of(run, n, io, true);
    nib_parallel_for(run->ctx, w.heads, backward_tile, &w);
}

static size_t longest_scratch(const nib_graph *g, const nib_node *n,
                              const size_t rows[NIB_MAX_AXES])
{
    int table = n->attention.key_rows ? n->attention.key_rows : n->attention.query_rows;
    size_t longest = rows[NIB_TOKENS], spanned = rows[g->values[n->inputs[table]].axis];

    return (nib_round_up(2 * longest, 16) +
            nib_threads(g->ctx) * each_floats(n, longest, spanned,
                                              g->values[n->output].needs_grad)) * sizeof(float);
}

const nib_op nib_op_disentangled = { .id = NIB_OP_DISENTANGLED, .name = "disentangled attention",
                                     .keeps_inputs = 31, .longest_scratch = longest_scratch };
const nib_op_functions nib_cpu_disentangled = { forward, backward };
