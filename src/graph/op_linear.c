/* op_linear.c - y = x W^T + bias + s (x A^T) B^T (graph/linear.h).
 *
 * Backward: dx = dy W + s (dy B) A;  dA = s (dy B)^T x;  dB = s dy^T (x A^T). */
#include "graph/linear.h"
#include "graph/operations.h"
#include "graph/rows.h"

static nib_linear_rows rows_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_axis axis = run->graph->values[n->output].axis;

    return (nib_linear_rows){ .run = run, .linear = n->linear, .axis = axis,
                              .use = n->use,
                              .r1 = nib_run_rows(run, axis), .scratch = run->scratch.base,
                              .u = run->training ? io->side : NULL, .x = io->in[0] };
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_linear_rows w = rows_of(run, n, io);
    nib_linear_out out = { .y = io->out, .ld = n->linear->weight->out,
                           .type = run->graph->values[n->output].dtype, .same_x = io->same_input };

    nib_linear_forward(&w, &out);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_linear_rows w = rows_of(run, n, io);
    nib_operand dy = { io->d_out, n->linear->weight->out, run->graph->type };

    nib_linear_backward(&w, dy, io->d_in[0], io->accumulate[0]);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    return nib_linear_scratch_bytes(g, n->linear, rows[g->values[n->output].axis], false);
}

const nib_op nib_op_linear = { .id = NIB_OP_LINEAR, .name = "linear", .keeps_side = true,
                               .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_linear = { forward, backward };
