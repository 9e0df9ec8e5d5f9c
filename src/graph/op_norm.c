/* op_norm.c - root-mean-square and layer normalization over the channels of a row, or of each head
 * of a row (qwen3's q and k), with one weight for all heads or one for each (cohere's).
 *
 *     rms    y = w * x / sqrt(mean(x^2) + eps)      three forms: kernel/elementwise.h
 *     layer  y = w * (x - mean) / sqrt(var + eps) + b, or with 1 + w
 *
 * x may be a view of a wider value; y is plain.  The statistics of each row and head are kept for
 * backward ([rows, heads] r, or mean and r one after the other).  Trained weights get their
 * gradient in one pass over all rows and heads, in order. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct norm_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    size_t rows, heads;
    nib_heads x, y; /* where heads lie */
    size_t run_heads; /* that lie one after another in both, or all rows when 0 */
} norm_work;

static norm_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *x = &run->graph->values[n->inputs[0]];
    size_t d = nib_norm_channels(n->norm);
    norm_work w = { .run = run, .n = n, .io = io, .rows = nib_node_rows(run, n),
                    .heads = run->graph->values[n->output].width / d };

    w.y = nib_plain_heads(w.heads, d);
    w.x = nib_heads_in(run->graph, n->inputs[0], w.heads, d);
    if (x->view_of != NIB_NONE)
        w.run_heads = w.x.head_stride == d ? nib_min(w.x.per_group, w.heads) : 1;
    if (n->norm->rows) w.run_heads = 1; /* each has its weight */
    return w;
}

/* Where the weight of the norm lies whose statistics are the `at`th. */
static size_t weight_at(const norm_work *w, size_t at)
{
    return w->n->norm->rows ? at % w->heads * nib_norm_channels(w->n->norm) : 0;
}

/* `count` norms from one place in x, one in y and dy, and one in the statistics on. */
static void forward_run(const norm_work *w, size_t count, size_t x_at, size_t y_at, size_t at)
{
    nib_dtype type = w->run->graph->type;
    const nib_norm *norm = w->n->norm;
    const void *x = nib_at(w->io->in[0], type, x_at);
    void *y = nib_at_mut(w->io->out, type, y_at);
    const float *weight = norm->weight + weight_at(w, at);
    size_t d = nib_norm_channels(norm);
    float *side = w->io->side;

    if (w->n->op == &nib_op_rms_norm)
        w->run->k->rms_norm(type, w->n->rms_form, count, d, x, weight, w->n->eps, y, side + at);
    else
        w->run->k->layer_norm(type, w->n->rms_form == NIB_RMS_ONE_PLUS, count, d, x, weight,
                              norm->bias, w->n->eps, y, side + at,
                              side + w->rows * w->heads + at);
}

static void backward_run(const norm_work *w, size_t count, size_t x_at, size_t y_at, size_t at)
{
    nib_dtype type = w->run->graph->type;
    const nib_norm *norm = w->n->norm;
    const void *x = nib_at(w->io->in[0], type, x_at), *dy = nib_at(w->io->d_out, type, y_at);
    void *dx = nib_at_mut(w->io->d_in[0], type, x_at);
    const float *side = w->io->side;
    size_t d = nib_norm_channels(norm), own = weight_at(w, at);
    const float *weight = norm->weight + own;
    float *dw = norm->weight_param ? norm->weight_param->grad + own : NULL;
    float *db = norm->bias_param ? norm->bias_param->grad : NULL;

    if (w->n->op == &nib_op_rms_norm)
        w->run->k->rms_norm_back(type, w->n->rms_form, count, d, x, weight,
                                 side + at, dy, dx, w->io->accumulate[0], dw);
    else
        w->run->k->layer_norm_back(type, w->n->rms_form == NIB_RMS_ONE_PLUS, count, d, x, weight,
                                   side + at, side + w->rows * w->heads + at, dy, dx,
                                   w->io->accumulate[0], dw, db);
}

typedef void run_fn(const norm_work *w, size_t count, size_t x_at, size_t y_at, size_t at);

/* Rows [r0, r1), as many norms at a time as lie one after another. */
static void each_run(const norm_work *w, size_t r0, size_t r1, run_fn *f)
{
    if (!w->run_heads) {
        f(w, (r1 - r0) * w->heads, nib_head_at(w->x, r0, 0), nib_head_at(w->y, r0, 0),
          r0 * w->heads);
        return;
    }
    for (size_t r = r0; r < r1; r++)
        for (size_t h = 0; h < w->heads; h += w->run_heads)
            f(w, w->run_heads, nib_head_at(w->x, r, h), nib_head_at(w->y, r, h), r * w->heads + h);
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const norm_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    each_run(w, r0, r1, forward_run);
}

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const norm_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    each_run(w, r0, r1, backward_run);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    norm_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), forward_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    norm_work w = work_of(run, n, io);
    nib_io into_scratch = *io;

    if (!io->d_in[0]) { /* only the weights are trained: dx is computed and dropped */
        into_scratch.d_in[0] = run->scratch.base;
        into_scratch.accumulate[0] = false;
        w.io = &into_scratch;
    }
    if (n->trains) each_run(&w, 0, w.rows, backward_run);
    else nib_parallel_for(run->ctx, nib_row_tiles(w.rows), backward_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    return n->trains ? rows[g->values[n->output].axis] * nib_value_stride(g, n->inputs[0]) *
                           nib_dtype_bytes(g->type)
                     : 0;
}

const nib_op nib_op_rms_norm = { .id = NIB_OP_RMS_NORM, .name = "rms norm", .keeps_inputs = 1,
                                 .keeps_side = true, .cheap = true, .row_wise = true,
                                 .scratch = scratch };
const nib_op_functions nib_cpu_rms_norm = { forward, backward };
const nib_op nib_op_layer_norm = { .id = NIB_OP_LAYER_NORM, .name = "layer norm", .keeps_inputs = 1,
                                   .keeps_side = true, .cheap = true, .row_wise = true,
                                   .scratch = scratch };
const nib_op_functions nib_cpu_layer_norm = { forward, backward };
