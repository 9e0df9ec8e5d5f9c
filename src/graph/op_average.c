/* op_average.c - exponential moving averages of each channel along a sequence, from both sides, and
 * the channel itself (Ma et al. 2022, arXiv:2209.10655, section 3.1; formats-encoder.md 3.12):
 *
 *     y_t,c = r_c x_t,c + sum_d sum_n p_dcn sum_(l < L) q_dcn^l x_(t -+ l),c
 *
 * d: backwards and, of both sides, forwards in time; p = sigmoid(damping) expansion projection /
 * sqrt(N), q = 1 - sigmoid(damping) sigmoid(decay); L: no limit, or `truncation`.  Each inner sum
 * is a recurrence, s_t = q s_(t-1) + x_t - q^L x_(t-L), so the work is tokens times states.
 *
 * Backward: dx is the same of dy with the two directions exchanged.  The parameters are not
 * trained.
 *
 * A tile is a block of channels of a sequence. */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"

enum { CHANNELS = 16 };

typedef struct average_work {
    nib_run *run;
    const nib_node *n;
    const void *from;
    void *to;
    bool add, back;
    size_t width, blocks, directions;
    float *weights, *decays, *cut; /* [directions, width, states] p, q, q^L */
    float *each;                   /* of a worker: rows of x and y, [tokens, CHANNELS] */
    size_t each_count;
} average_work;

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

/* --- p, q and q^L --- */

static size_t coefficients(const nib_node *n, size_t width)
{
    return (n->average.both ? 2 : 1) * width * n->average.states;
}

static void make_coefficients(const average_work *w)
{
    const nib_average_desc *d = &w->n->average;
    size_t count = coefficients(w->n, w->width);
    float scale = sqrtf(1.0f / (float)d->states);

    for (size_t i = 0; i < count; i++) {
        float damping = sigmoid(d->damping->value[i]);
        w->decays[i] = 1 - damping * sigmoid(d->decay->value[i]);
        w->weights[i] = damping * d->expansion->value[i] * d->projection->value[i] * scale;
        w->cut[i] = d->truncation ? powf(w->decays[i], (float)d->truncation) : 0;
    }
}

/* --- one direction of a block --- */

/* Adds state n of direction d to y, over `tokens` rows taken in the order of `forwards`. */
static void add_state(const average_work *w, size_t d, size_t n, size_t c0, size_t tokens,
                      bool forwards, const float *x, float *y)
{
    size_t states = w->n->average.states, limit = w->n->average.truncation;
    size_t channels = nib_min(w->width - c0, (size_t)CHANNELS);
    float s[CHANNELS] = { 0 }, p[CHANNELS] = { 0 }, q[CHANNELS] = { 0 }, cut[CHANNELS] = { 0 };

    for (size_t c = 0; c < channels; c++) {
        size_t at = (d * w->width + c0 + c) * states + n;
        p[c] = w->weights[at], q[c] = w->decays[at], cut[c] = w->cut[at];
    }
    for (size_t i = 0; i < tokens; i++) {
        size_t t = forwards ? i : tokens - 1 - i;
        const float *now = x + t * CHANNELS;
        float *out = y + t * CHANNELS;

        for (size_t c = 0; c < CHANNELS; c++) s[c] = q[c] * s[c] + now[c];
        if (limit && i >= limit) {
            const float *gone = x + (forwards ? t - limit : t + limit) * CHANNELS;
            for (size_t c = 0; c < CHANNELS; c++) s[c] -= cut[c] * gone[c];
        }
        for (size_t c = 0; c < CHANNELS; c++) out[c] += p[c] * s[c];
    }
}

static void read_block(const average_work *w, size_t r0, size_t tokens, size_t c0, float *x)
{
    size_t channels = nib_min(w->width - c0, (size_t)CHANNELS);
    nib_dtype type = w->run->graph->type;

    memset(x, 0, tokens * CHANNELS * sizeof *x);
    for (size_t t = 0; t < tokens; t++)
        nib_convert(x + t * CHANNELS, NIB_F32, nib_at(w->from, type, (r0 + t) * w->width + c0),
                    type, channels);
}

static void write_block(const average_work *w, size_t r0, size_t tokens, size_t c0, const float *y)
{
    size_t channels = nib_min(w->width - c0, (size_t)CHANNELS);
    nib_dtype type = w->run->graph->type;

    for (size_t t = 0; t < tokens; t++)
        for (size_t c = 0; c < channels; c++) {
            size_t at = (r0 + t) * w->width + c0 + c;
            float value = y[t * CHANNELS + c];
            nib_put(type, w->to, at, w->add ? nib_get(type, w->to, at) + value : value);
        }
}

static void average_tile(void *arg, size_t tile, unsigned worker)
{
    const average_work *w = arg;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    size_t s = tile / w->blocks, c0 = tile % w->blocks * CHANNELS;
    size_t r0 = offsets[s], tokens = offsets[s + 1] - r0;
    size_t channels = nib_min(w->width - c0, (size_t)CHANNELS);
    float *x = w->each + worker * w->each_count, *y = x + tokens * CHANNELS;
    const float *residual = w->n->average.residual->value + c0;

    read_block(w, r0, tokens, c0, x);
    for (size_t t = 0; t < tokens; t++)
        for (size_t c = 0; c < CHANNELS; c++)
            y[t * CHANNELS + c] = c < channels ? residual[c] * x[t * CHANNELS + c] : 0;
    for (size_t d = 0; d < w->directions; d++)
        for (size_t n = 0; n < w->n->average.states; n++)
            add_state(w, d, n, c0, tokens, (d == 0) != w->back, x, y);
    write_block(w, r0, tokens, c0, y);
}

static size_t each_count(size_t tokens) { return 2 * tokens * CHANNELS; }

static void average(nib_run *run, const nib_node *n, const void *from, void *to, bool add,
                    bool back)
{
    size_t width = run->graph->values[n->output].width, count = coefficients(n, width);
    average_work w = { .run = run, .n = n, .from = from, .to = to, .add = add, .back = back,
                       .width = width, .blocks = nib_ceil_div(width, (size_t)CHANNELS),
                       .directions = n->average.both ? 2 : 1,
                       .weights = (float *)run->scratch.base,
                       .each_count = each_count(nib_run_longest(run)) };

    w.decays = w.weights + count;
    w.cut = w.decays + count;
    w.each = w.cut + count;
    make_coefficients(&w);
    nib_parallel_for(run->ctx, run->batch->sequences * w.blocks, average_tile, &w);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    average(run, n, io->in[0], io->out, false, false);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    average(run, n, io->d_out, io->d_in[0], io->accumulate[0], true);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return 3 * coefficients(n, g->values[n->output].width) * sizeof(float);
}

static size_t longest_scratch(const nib_graph *g, const nib_node *n,
                              const size_t rows[NIB_MAX_AXES])
{
    (void)n;
    return nib_threads(g->ctx) * each_count(rows[NIB_TOKENS]) * sizeof(float);
}

const nib_op nib_op_average = { .id = NIB_OP_AVERAGE, .name = "moving average",
                                .scratch = scratch, .longest_scratch = longest_scratch };
const nib_op_functions nib_cpu_average = { forward, backward };
