/* op_linear.c - y = x W^T + bias + s (x A^T) B^T (graph/linear.h).
 *
 * Backward: dx = dy W + s (dy B) A;  dA = s (dy B)^T x;  dB = s dy^T (x A^T). */
#include "graph/linear.h"
#include "graph/operations.h"
#include "graph/rows.h"

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_axis axis = run->graph->values[n->output].axis;
    float *u = run->training && n->linear->branches.count ? io->side : NULL;

    nib_linear_forward(run, n->linear, axis, 0, nib_run_rows(run, axis), io->in[0], io->same_input,
                       io->out, n->linear->weight->out, run->graph->type, u, run->scratch.base);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_axis axis = run->graph->values[n->output].axis;
    nib_operand dy = { io->d_out, n->linear->weight->out, run->graph->type };

    nib_linear_backward(run, n->linear, axis, 0, nib_run_rows(run, axis), io->in[0], io->side, dy,
                        io->d_in[0], io->accumulate[0], run->scratch.base);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    return nib_linear_scratch_bytes(g, n->linear, rows[g->values[n->output].axis], false);
}

const nib_op nib_op_linear = { .name = "linear", .forward = forward, .backward = backward,
                               .keeps_side = true, .row_wise = true, .scratch = scratch };
