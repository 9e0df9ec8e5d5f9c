/* op_norm.c - root-mean-square and layer normalization over the channels of a row.
 *
 *     rms    y = w * x / sqrt(mean(x^2) + eps)
 *     layer  y = w * (x - mean) / sqrt(var + eps) + b
 *
 * The row statistics are kept for backward ([rows] r, or mean and r one after the other).
 * Trained weights get their gradient in one pass over all rows, in order. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct norm_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    size_t rows;
} norm_work;

static void forward_rows(const norm_work *w, size_t r0, size_t r1)
{
    nib_dtype type = w->run->graph->type;
    const nib_norm *norm = w->n->norm;
    size_t at = r0 * norm->width;
    const void *x = nib_at(w->io->in[0], type, at);
    void *y = nib_at_mut(w->io->out, type, at);
    float *side = w->io->side;

    if (w->n->op == &nib_op_rms_norm)
        w->run->k->rms_norm(type, r1 - r0, norm->width, x, norm->weight, w->n->eps, y, side + r0);
    else
        w->run->k->layer_norm(type, r1 - r0, norm->width, x, norm->weight, norm->bias, w->n->eps, y,
                              side + r0, side + w->rows + r0);
}

static void backward_rows(const norm_work *w, size_t r0, size_t r1)
{
    nib_dtype type = w->run->graph->type;
    const nib_norm *norm = w->n->norm;
    size_t at = r0 * norm->width;
    const void *x = nib_at(w->io->in[0], type, at), *dy = nib_at(w->io->d_out, type, at);
    void *dx = nib_at_mut(w->io->d_in[0], type, at);
    const float *side = w->io->side;
    float *dw = norm->weight_param ? norm->weight_param->grad : NULL;
    float *db = norm->bias_param ? norm->bias_param->grad : NULL;

    if (w->n->op == &nib_op_rms_norm)
        w->run->k->rms_norm_back(type, r1 - r0, norm->width, x, norm->weight, side + r0, dy, dx,
                                 w->io->accumulate[0], dw);
    else
        w->run->k->layer_norm_back(type, r1 - r0, norm->width, x, norm->weight, side + r0,
                                   side + w->rows + r0, dy, dx, w->io->accumulate[0], dw, db);
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const norm_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    forward_rows(w, r0, r1);
}

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const norm_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    backward_rows(w, r0, r1);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    norm_work w = { run, n, io, nib_node_rows(run, n) };
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), forward_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    norm_work w = { run, n, io, nib_node_rows(run, n) };
    nib_io into_scratch = *io;

    if (!io->d_in[0]) { /* only the weights are trained: dx is computed and dropped */
        into_scratch.d_in[0] = run->scratch.base;
        into_scratch.accumulate[0] = false;
        w.io = &into_scratch;
    }
    if (n->trains) backward_rows(&w, 0, w.rows);
    else nib_parallel_for(run->ctx, nib_row_tiles(w.rows), backward_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    return n->trains ? rows[g->values[n->output].axis] * n->norm->width * nib_dtype_bytes(g->type)
                     : 0;
}

const nib_op nib_op_rms_norm = { .name = "rms norm", .forward = forward, .backward = backward,
                                 .keeps_inputs = 1, .keeps_side = true, .cheap = true, .row_wise = true,
                                 .scratch = scratch };
const nib_op nib_op_layer_norm = { .name = "layer norm", .forward = forward, .backward = backward,
                                   .keeps_inputs = 1, .keeps_side = true, .cheap = true, .row_wise = true,
                                   .scratch = scratch };
