/* op_gather.c - from token rows to logit rows; backward spreads them over zeros.
 * A token row is taken at most once. */
#include "graph/operations.h"
#include "graph/rows.h"

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    size_t bytes = run->graph->values[n->output].width * nib_dtype_bytes(run->graph->type);

    for (size_t r = 0; r < run->batch->logit_rows; r++)
        memcpy((char *)io->out + r * bytes,
               (const char *)io->in[0] + run->batch->logit_index[r] * bytes, bytes);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    size_t width = run->graph->values[n->output].width;
    nib_dtype type = run->graph->type;

    if (!io->accumulate[0])
        memset(io->d_in[0], 0, run->batch->tokens * width * nib_dtype_bytes(type));
    for (size_t r = 0; r < run->batch->logit_rows; r++) {
        void *to = nib_at_mut(io->d_in[0], type, run->batch->logit_index[r] * width);
        run->k->add(type, width, to, nib_at(io->d_out, type, r * width), to);
    }
}

const nib_op nib_op_gather = { .name = "gather", .forward = forward, .backward = backward };
