/* op_given.c - an objective that is worked out outside the graph: losses that compare sequences of
 * a batch with each other (train/similarity.h) see all of its embeddings before any of them has a
 * gradient.
 *
 * Forward has nothing to do.  Backward begins with the gradient of the hidden states that the run
 * brings, nib_run.given [rows, width]:  dx = given. */
#include "graph/operations.h"
#include "graph/rows.h"

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    (void)run, (void)n, (void)io;
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *x = &run->graph->values[n->inputs[0]];
    nib_dtype type = run->graph->type;
    size_t rows = nib_run_rows(run, x->axis);

    assert(run->given);
    if (!io->d_in[0]) return;
    assert(!io->accumulate[0]); /* it is the only reader of the hidden states */
    nib_convert(io->d_in[0], type, run->given, NIB_F32, rows * x->width);
}

const nib_op nib_op_given = { .id = NIB_OP_GIVEN, .name = "given gradient", .objective = true };
const nib_op_functions nib_cpu_given = { forward, backward };
