/* op_loss.c - objectives: the sum of the losses of the rows that have an answer, a chunk of rows at
 * a time.  They are the rows of the axis that the final hidden states live on; w_r is the weight of
 * a row (1 without weights), and a node has its own head and its own kind of loss.
 *
 * Cross-entropy (words, classes, tags):
 *
 *     loss = sum_r w_r (logsumexp_v z_rv - z_r,target)
 *     dz_rv = w_r (softmax(z_r)_v - [v = target])                     divisor sum_r w_r
 *
 * so weights of classes, as torch has them, are weights of rows.
 *
 * with z = cap * tanh(scale * h / cap) of the head's h where the graph has a cap; then
 * dh = dz scale (1 - (z / cap)^2).
 *
 * With a label smoothing e of the run a target is 1 - e of its word and e / V of each:
 *
 *     loss = sum_r w_r (logsumexp_v z_rv - (1 - e) z_r,target - e mean_v z_rv)
 *     dz_rv = w_r (softmax(z_r)_v - (1 - e) [v = target] - e / V)
 *
 * Several labels y in [0, 1], and numbers y, one for each of the head's V rows:
 *
 *     loss = sum_r w_r sum_v (softplus(z_rv) - z_rv y_rv)   dz_rv = w_r (sigmoid(z_rv) - y_rv)
 *     loss = sum_r w_r sum_v (z_rv - y_rv)^2                dz_rv = 2 w_r (z_rv - y_rv)
 *                                                                     divisor V sum_r w_r
 *
 * Spans: the head has two rows, and for each a row r of every sequence is right, or none, which
 * counts nothing (an answer that lies outside of what transformers' clamp leaves):
 *
 *     loss = sum_sequences sum_v (logsumexp_r z_rv - z_right,v)
 *     dz_rv = softmax_r(z_.v)_r - [r = right_v]            divisor: how many are right
 *
 * The head's logits exist for one chunk only; the gradient is made in their place and goes
 * straight back through the head.  The sum is not divided: that happens once a step, by the
 * divisors of all its batches. */
#include <math.h>

#include "graph/linear.h"
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct loss_work {
    nib_run *run;
    const nib_linear *head;
    nib_loss_kind kind;
    nib_axis axis;
    size_t r0, rows, chunk, vocabulary;
    size_t ld; /* from row to row: rows that begin on pages would fall into the same sets of the
                  caches */
    float *logits;     /* [chunk, ld] */
    uint16_t *rounded; /* [chunk, ld] in bfloat16 when the head's backward reads that, or NULL */
    double *losses;    /* [chunk] */
    float *inner;      /* [chunk, R] inner values of the head's adapter, from forward to backward */
    void *rest;        /* the head's scratch */
    bool gradient;
} loss_work;

static size_t inner_bytes(const nib_linear *head, size_t chunk)
{
    return nib_round_up(chunk * nib_branches_rank(&head->branches) * sizeof(float), 64);
}

/* Gradients of logits are given to the head as it reads them. */
static bool gives_bf16(const nib_graph *g, const nib_linear *head)
{
    return nib_operand_type(&g->kernels, g->type, head->weight->out) == NIB_BF16;
}

static size_t rounded_bytes(const nib_graph *g, const nib_linear *head, size_t chunk, size_t ld)
{
    return gives_bf16(g, head) ? nib_round_up(chunk * ld * sizeof(uint16_t), 64) : 0;
}

/* Never a multiple of 4096 bytes, in either type: such rows are not ready (quant/operand.h). */
static size_t logit_ld(size_t v) { return v * sizeof(float) % 4096 ? v : v + 32; }

/* Of spans all rows are seen together. */
static size_t chunk_of(const nib_node *n, size_t rows)
{
    return n->loss == NIB_LOSS_SPAN ? nib_max(rows, 1)
                                    : nib_logit_chunk(n->linear->weight->out, rows);
}

static loss_work work_of(nib_run *run, const nib_node *n)
{
    const nib_graph *g = run->graph;
    nib_axis axis = g->values[n->inputs[0]].axis;
    size_t v = n->linear->weight->out, ld = logit_ld(v);
    size_t chunk = chunk_of(n, run->plan->rows[axis]);
    char *p = (char *)run->scratch.base;
    loss_work w = { .run = run, .head = n->linear, .kind = n->loss, .axis = axis, .chunk = chunk,
                    .vocabulary = v, .ld = ld, .logits = (float *)p };

    p += nib_round_up(chunk * ld * sizeof(float), 64);
    w.rounded = gives_bf16(g, n->linear) ? (uint16_t *)p : NULL;
    p += rounded_bytes(g, n->linear, chunk, ld);
    w.losses = (double *)p;
    p += nib_round_up(chunk * sizeof(double), 64);
    w.inner = (float *)p;
    w.rest = p + inner_bytes(n->linear, chunk);
    return w;
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    size_t v = n->linear->weight->out, ld = logit_ld(v);
    size_t chunk = chunk_of(n, rows[g->values[n->inputs[0]].axis]);

    return nib_round_up(chunk * ld * sizeof(float), 64) +
           rounded_bytes(g, n->linear, chunk, ld) + nib_round_up(chunk * sizeof(double), 64) +
           inner_bytes(n->linear, chunk) + nib_linear_scratch_bytes(g, n->linear, chunk, true);
}

/* To the compute type, as floats. */
static void round_row(const loss_work *w, float *z)
{
    uint16_t through[512];

    for (size_t v = 0; v < w->vocabulary; v += NIB_COUNT(through))
        nib_weight_round(w->run->k, w->run->graph->type,
                         nib_min(NIB_COUNT(through), w->vocabulary - v), z + v, through);
}

static double mean(size_t n, const float *z)
{
    double sums[8] = { 0 }, sum = 0; /* eight, that do not wait for one another */

    for (size_t v = 0; v < n; v++) sums[v % 8] += (double)z[v];
    for (int i = 0; i < 8; i++) sum += sums[i];
    return sum / (double)n;
}

/* z becomes slope * (exp(z - lse) - even), the slope being that of nib_softmax_scaled_fn with
 * `scale`. */
static void smooth_gradient(const loss_work *w, float *z, float lse, float scale, float even)
{
    const nib_graph *g = w->run->graph;
    float before[512];

    for (size_t v = 0; v < w->vocabulary; v += NIB_COUNT(before)) {
        size_t n = nib_min(NIB_COUNT(before), w->vocabulary - v);
        memcpy(before, z + v, n * sizeof *before);
        w->run->k->softmax_scaled(n, z + v, lse, scale, g->logit_cap);
        for (size_t i = 0; i < n; i++) {
            float t = g->logit_cap > 0 ? before[i] / g->logit_cap : 0;
            z[v + i] -= scale * (1 - t * t) * even;
        }
    }
}

/* Of row `r`: its loss; z becomes the gradient. */
static double cross_entropy(const loss_work *w, size_t r, float weight, float *z)
{
    const nib_graph *g = w->run->graph;
    double smoothing = w->run->label_smoothing, picked;
    float scale = g->logit_scale * weight, max, sum, lse, t;
    uint32_t target = w->run->batch->targets[r];

    assert(target < w->vocabulary);
    nib_finish_logits(w->run, w->vocabulary, z);
    w->run->k->logsumexp(w->vocabulary, z, &max, &sum);
    lse = max + logf(sum);
    picked = (double)z[target];
    if (smoothing > 0) picked += smoothing * (mean(w->vocabulary, z) - picked);
    if (!w->gradient) return (double)weight * ((double)lse - picked);
    t = g->logit_cap > 0 ? z[target] / g->logit_cap : 0;
    if (smoothing > 0)
        smooth_gradient(w, z, lse, scale, (float)(smoothing / (double)w->vocabulary));
    else w->run->k->softmax_scaled(w->vocabulary, z, lse, scale, g->logit_cap);
    z[target] -= scale * (1 - t * t) * (float)(1 - smoothing);
    return (double)weight * ((double)lse - picked);
}

static double of_each(const loss_work *w, size_t r, float weight, float *z)
{
    const float *y = w->run->batch->wanted + r * w->vocabulary;
    double loss = 0;

    for (size_t v = 0; v < w->vocabulary; v++) {
        double x = (double)z[v], slope;
        if (w->kind == NIB_LOSS_BINARY) {
            loss += fmax(x, 0) + log1p(exp(-fabs(x))) - x * (double)y[v];
            slope = 1 / (1 + exp(-x)) - (double)y[v];
        } else {
            loss += (x - (double)y[v]) * (x - (double)y[v]);
            slope = 2 * (x - (double)y[v]);
        }
        z[v] = (float)((double)weight * slope);
    }
    return (double)weight * loss;
}

static float weight_of(const loss_work *w, size_t r)
{
    return w->run->batch->weights ? w->run->batch->weights[r] : 1;
}

/* The gradient of a row, as the head reads it. */
static void finish_gradient(const loss_work *w, size_t row, float *z)
{
    if (!w->gradient) return;
    if (w->rounded) w->run->k->to_bf16(w->vocabulary, z, w->rounded + row * w->ld);
    else round_row(w, z);
}

static void row_tile(void *arg, size_t tile, unsigned worker)
{
    const loss_work *w = arg;
    size_t r = w->r0 + tile;
    float *z = w->logits + tile * w->ld;

    (void)worker;
    w->losses[tile] = w->kind == NIB_LOSS_CROSS_ENTROPY ? cross_entropy(w, r, weight_of(w, r), z)
                                                        : of_each(w, r, weight_of(w, r), z);
    finish_gradient(w, tile, z);
}

/* --- spans --- */

/* The first of the rows with logits that belongs to this token or a later one. */
static size_t row_from(const nib_axis_rows *rows, uint32_t token)
{
    size_t low = 0, high = rows->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rows->picks[middle] < token) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* One edge of the span of rows r0 .. r1: its loss; z becomes the gradient. */
static double edge(const loss_work *w, size_t r0, size_t r1, size_t v)
{
    const float *wanted = w->run->batch->wanted;
    size_t right = r0;
    double most = -HUGE_VAL, sum = 0, picked;

    while (right < r1 && !(wanted[right * w->vocabulary + v] > 0.5f)) right++;
    for (size_t r = r0; r < r1 && right < r1; r++)
        most = fmax(most, (double)w->logits[r * w->ld + v]);
    for (size_t r = r0; r < r1 && right < r1; r++)
        sum += exp((double)w->logits[r * w->ld + v] - most);
    picked = right < r1 ? (double)w->logits[right * w->ld + v] : 0;
    for (size_t r = r0; r < r1; r++) {
        float *z = &w->logits[r * w->ld + v];
        *z = right < r1 ? (float)(exp((double)*z - most) / sum - (r == right)) : 0;
    }
    return right < r1 ? most + log(sum) - picked : 0;
}

static void span_tile(void *arg, size_t sequence, unsigned worker)
{
    const loss_work *w = arg;
    const nib_batch *b = w->run->batch;
    const uint32_t *offsets = b->axes[NIB_TOKENS].offsets;
    size_t r0 = row_from(&b->axes[NIB_LOGIT_ROWS], offsets[sequence]);
    size_t r1 = row_from(&b->axes[NIB_LOGIT_ROWS], offsets[sequence + 1]);

    (void)worker;
    for (size_t r = r0; r < r1; r++) w->losses[r] = 0;
    for (size_t v = 0; v < w->vocabulary && r0 < r1; v++) w->losses[r0] += edge(w, r0, r1, v);
    for (size_t r = r0; r < r1; r++) finish_gradient(w, r, w->logits + r * w->ld);
}

/* What the loss's mean divides by, of a row. */
static double divisor(const loss_work *w, size_t r)
{
    double sum = 0;

    if (w->kind == NIB_LOSS_CROSS_ENTROPY) return (double)weight_of(w, r);
    if (w->kind != NIB_LOSS_SPAN) return (double)weight_of(w, r) * (double)w->vocabulary;
    for (size_t v = 0; v < w->vocabulary; v++)
        sum += w->run->batch->wanted[r * w->vocabulary + v] > 0.5f;
    return sum;
}

/* All chunks; d_hidden NULL: the loss alone. */
static void run_loss(nib_run *run, const nib_node *n, const void *hidden, void *d_hidden)
{
    const nib_linear *head = n->linear;
    nib_dtype type = run->graph->type;
    size_t width = head->weight->in, total;
    loss_work w = work_of(run, n);
    nib_operand dz;

    dz = w.rounded ? (nib_operand){ w.rounded, w.ld, NIB_BF16 }
                   : (nib_operand){ w.logits, w.ld, NIB_F32 };
    assert(nib_operand_is_ready(run->k, w.vocabulary, dz)); /* or scratch is too small */
    total = nib_run_rows(run, w.axis);
    w.gradient = d_hidden || nib_linear_trains(head);
    assert(w.kind != NIB_LOSS_SPAN || (w.axis == NIB_LOGIT_ROWS && run->graph->logit_scale == 1 &&
                                       !(run->graph->logit_cap > 0)));
    for (w.r0 = 0; w.r0 < total; w.r0 += w.rows) {
        nib_linear_rows rows = { .run = run, .linear = head, .axis = w.axis, .r0 = w.r0,
                                 .scratch = w.rest, .x = nib_at(hidden, type, w.r0 * width) };
        nib_linear_out out = { .y = w.logits, .ld = w.ld, .type = NIB_F32 };

        /* evenly */
        w.rows = nib_ceil_div(total - w.r0, nib_ceil_div(total - w.r0, w.chunk));
        rows.r1 = w.r0 + w.rows;
        rows.u = run->training && head->branches.count ? w.inner : NULL;
        nib_linear_forward(&rows, &out);
        if (w.kind == NIB_LOSS_SPAN)
            nib_parallel_for(run->ctx, run->batch->sequences, span_tile, &w);
        else nib_parallel_for(run->ctx, w.rows, row_tile, &w);
        for (size_t r = 0; r < w.rows; r++) {
            run->loss_sum += w.losses[r];
            run->loss_weight += divisor(&w, w.r0 + r);
        }
        if (w.gradient)
            nib_linear_backward(&rows, dz,
                                d_hidden ? nib_at_mut(d_hidden, type, w.r0 * width) : NULL, false);
    }
}

/* In a training step forward has nothing to do: backward makes the logits once, for both. */
static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_loss(run, n, io->in[0], NULL);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_loss(run, n, io->in[0], io->d_in[0]);
}

const nib_op nib_op_loss = { .id = NIB_OP_LOSS, .name = "loss", .objective = true,
                             .scratch = scratch };
const nib_op_functions nib_cpu_loss = { forward, backward };
