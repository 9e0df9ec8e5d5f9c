/* op_weigh_keys.c - attention without a softmax, of one head over each sequence (Mega's laplace and
 * relu2; formats-encoder.md 3.12):
 *
 *     s_ij = q_i . k_j / length + b_(j - i)      o_i = sum_j m_ij f(s_ij) v_j      m: dropout
 *     da_ij = m_ij do_i . v_j                    ds_ij = f'(s_ij) da_ij
 *     dq_i = sum_j ds_ij k_j / length            dk_j = sum_i ds_ij q_i / length
 *     dv_j = sum_i m_ij f(s_ij) do_i
 *
 * f: laplace, (1 + erf((s - mu) / (sigma sqrt 2))) / 2, mu = sqrt(1/2), sigma = sqrt(1 / (4 pi)),
 * rounded as the reference has them; relu2, max(s, 0)^2.  Rows are widened once; a tile is a row:
 * of queries for o and dq, of keys for dk and dv. */
#include <math.h>

#include "base/random.h"
#include "graph/distances.h"
#include "graph/operations.h"
#include "graph/rows.h"

static const float MU = 0.707107f, SIGMA = 0.282095f;

typedef struct weigh_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    size_t d, v_d, rows, reach;
    float *q, *k, *v, *d_o; /* [rows, d or v_d] */
    float *distances;       /* [2 reach + 1] of key - query */
    float *each;            /* rows of a worker */
    size_t each_count;
} weigh_work;

/* Three rows: of d, of v_d, and of d. */
static size_t each_count(const nib_attention_desc *d)
{
    return 2 * nib_round_up(d->head_dim, 16) + nib_round_up(d->v_dim, 16);
}

static void widen(const weigh_work *w, const void *x, size_t count, float *to)
{
    nib_convert(to, NIB_F32, x, w->run->graph->type, count);
}

static weigh_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_attention_desc *d = &n->attention;
    const uint32_t *offsets = run->batch->axes[NIB_TOKENS].offsets;
    size_t most = run->plan->rows[NIB_TOKENS];
    weigh_work w = { .run = run, .n = n, .io = io, .d = d->head_dim, .v_d = d->v_dim,
                     .rows = nib_node_rows(run, n), .each_count = each_count(d) };

    w.q = (float *)run->scratch.base;
    w.k = w.q + most * w.d;
    w.v = w.k + most * w.d;
    w.d_o = w.v + most * w.v_d;
    w.distances = w.d_o + most * w.v_d;
    w.each = w.distances + 2 * most;
    widen(&w, io->in[0], w.rows * w.d, w.q);
    widen(&w, io->in[1], w.rows * w.d, w.k);
    widen(&w, io->in[2], w.rows * w.v_d, w.v);
    for (size_t s = 0; s < run->batch->sequences; s++)
        w.reach = nib_max(w.reach, (size_t)(offsets[s + 1] - offsets[s]) - 1);
    for (size_t i = 0; i < 2 * w.reach + 1; i++)
        w.distances[i] = nib_has_distances(d)
                             ? nib_distance_number(d, 0, (int64_t)i - (int64_t)w.reach) : 0;
    return w;
}

/* f(s) and f'(s). */
static float weight_of(nib_weighing how, float s, float *slope)
{
    float x = (s - MU) / (SIGMA * 1.41421356f);

    if (how == NIB_WEIGH_RELU2) {
        float up = s > 0 ? s : 0;
        *slope = 2 * up;
        return up * up;
    }
    *slope = expf(-x * x) / (SIGMA * 2.50662827f);
    return 0.5f * (1 + erff(x));
}

/* Where a row lies. */
typedef struct place { size_t first, length, at; uint32_t record; } place;

static place place_of(const weigh_work *w, size_t row)
{
    const nib_batch *b = w->run->batch;
    place p;
    size_t s = nib_run_sequence(w->run, NIB_TOKENS, row, &p.at);

    p.first = b->axes[NIB_TOKENS].offsets[s];
    p.length = b->axes[NIB_TOKENS].offsets[s + 1] - p.first;
    p.record = b->records ? b->records[s] : (uint32_t)s;
    return p;
}

/* m_ij. */
static float kept(const weigh_work *w, const place *p, size_t i, size_t j)
{
    const nib_drop *drop = &w->n->attention.drop;
    const uint32_t key[2] = { (uint32_t)w->run->dropout_seed ^ drop->key,
                              (uint32_t)(w->run->dropout_seed >> 32) };
    const uint32_t counter[4] = { p->record, (uint32_t)i, (uint32_t)(j / 4), w->run->batch->epoch };
    float factors[4];

    if (!w->run->training || drop->p == 0) return 1;
    nib_dropout_factors(drop->p, key, counter, factors);
    return factors[j % 4];
}

/* Of query i and key j of a sequence. */
static float score(const weigh_work *w, const place *p, size_t i, size_t j, float *slope)
{
    float s = nib_row_dot(w->d, w->q + (p->first + i) * w->d, w->k + (p->first + j) * w->d);

    s = s / (float)p->length + w->distances[w->reach + j - i];
    return weight_of(w->n->attention.weighing, s, slope);
}

static void forward_row(void *arg, size_t row, unsigned worker)
{
    const weigh_work *w = arg;
    place p = place_of(w, row);
    float *o = w->each + worker * w->each_count, slope;

    memset(o, 0, w->v_d * sizeof *o);
    for (size_t j = 0; j < p.length; j++) {
        float a = score(w, &p, p.at, j, &slope) * kept(w, &p, p.at, j);
        w->run->k->axpy(w->v_d, a, w->v + (p.first + j) * w->v_d, o);
    }
    nib_convert(nib_at_mut(w->io->out, w->run->graph->type, row * w->v_d), w->run->graph->type, o,
                NIB_F32, w->v_d);
}

static void give(const weigh_work *w, int input, size_t row, size_t d, const float *from)
{
    nib_dtype type = w->run->graph->type;

    for (size_t c = 0; w->io->d_in[input] && c < d; c++) {
        void *to = w->io->d_in[input];
        size_t at = row * d + c;
        nib_put(type, to, at,
                w->io->accumulate[input] ? nib_get(type, to, at) + from[c] : from[c]);
    }
}

/* ds_ij / length, and m_ij f(s_ij). */
static float score_gradient(const weigh_work *w, const place *p, size_t i, size_t j, float *a)
{
    float slope, m = kept(w, p, i, j);
    float d_a = nib_row_dot(w->v_d, w->d_o + (p->first + i) * w->v_d,
                            w->v + (p->first + j) * w->v_d);

    *a = m * score(w, p, i, j, &slope);
    return slope * m * d_a / (float)p->length;
}

static void backward_row(void *arg, size_t row, unsigned worker)
{
    const weigh_work *w = arg;
    const nib_kernels *k = w->run->k;
    place p = place_of(w, row);
    float *dq = w->each + worker * w->each_count, *dk = dq + nib_round_up(w->d, 16),
          *dv = dk + nib_round_up(w->d, 16), a;

    memset(dq, 0, w->each_count * sizeof *dq);
    for (size_t j = 0; j < p.length; j++) { /* the row is the query */
        float ds = score_gradient(w, &p, p.at, j, &a);
        k->axpy(w->d, ds, w->k + (p.first + j) * w->d, dq);
    }
    for (size_t i = 0; i < p.length; i++) { /* the row is the key */
        float ds = score_gradient(w, &p, i, p.at, &a);
        k->axpy(w->d, ds, w->q + (p.first + i) * w->d, dk);
        k->axpy(w->v_d, a, w->d_o + (p.first + i) * w->v_d, dv);
    }
    give(w, 0, row, w->d, dq);
    give(w, 1, row, w->d, dk);
    give(w, 2, row, w->v_d, dv);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    weigh_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, w.rows, forward_row, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    weigh_work w = work_of(run, n, io);

    widen(&w, io->d_out, w.rows * w.v_d, w.d_o);
    nib_parallel_for(run->ctx, w.rows, backward_row, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    const nib_attention_desc *d = &n->attention;

    return (2 * rows[NIB_TOKENS] * (d->head_dim + d->v_dim + 1) +
            nib_threads(g->ctx) * each_count(d)) * sizeof(float);
}

const nib_op nib_op_weigh_keys = { .id = NIB_OP_WEIGH_KEYS, .name = "attention without softmax",
                                   .keeps_inputs = 7, .scratch = scratch };
const nib_op_functions nib_cpu_weigh_keys = { forward, backward };
