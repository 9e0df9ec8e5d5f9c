/* op_gather.c - from the rows of an axis to those that the batch picks of it; backward spreads them
 * over zeros.  A row is picked at most once. */
#include "graph/operations.h"
#include "graph/rows.h"

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *out = &run->graph->values[n->output];
    const nib_axis_rows *rows = &run->batch->axes[out->axis];
    size_t bytes = out->width * nib_dtype_bytes(run->graph->type);

    for (size_t r = 0; r < rows->count; r++)
        memcpy((char *)io->out + r * bytes, (const char *)io->in[0] + rows->picks[r] * bytes,
               bytes);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *out = &run->graph->values[n->output];
    const nib_axis_rows *rows = &run->batch->axes[out->axis];
    size_t all = nib_run_rows(run, run->graph->axes[out->axis].parent), width = out->width;
    nib_dtype type = run->graph->type;

    if (!io->accumulate[0]) memset(io->d_in[0], 0, all * width * nib_dtype_bytes(type));
    for (size_t r = 0; r < rows->count; r++) {
        void *to = nib_at_mut(io->d_in[0], type, rows->picks[r] * width);
        run->k->add(type, width, to, nib_at(io->d_out, type, r * width), to);
    }
}

const nib_op nib_op_gather = { .id = NIB_OP_GATHER, .name = "gather" };
const nib_op_functions nib_cpu_gather = { forward, backward };
