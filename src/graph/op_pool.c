/* op_pool.c - from the rows of each sequence to one row a sequence: the first, the last or the mean
 * (BERT's pooler reads the first, a decoder's classifier the last, a sentence embedding the mean).
 *
 * Backward: dx of the chosen row is dy, or each row's is dy / length. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct pool_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    float *sums; /* a row for each worker */
} pool_work;

static nib_axis input_axis(const nib_graph *g, const nib_node *n)
{
    return g->values[n->inputs[0]].axis;
}

/* The rows [*r0, *r1) of sequence `s` that are pooled. */
static void pooled_rows(const pool_work *w, size_t s, size_t *r0, size_t *r1)
{
    const uint32_t *offsets = w->run->batch->axes[input_axis(w->run->graph, w->n)].offsets;

    *r0 = w->n->pooling == NIB_POOL_LAST ? offsets[s + 1] - 1 : offsets[s];
    *r1 = w->n->pooling == NIB_POOL_MEAN ? offsets[s + 1] : *r0 + 1;
}

static void forward_tile(void *arg, size_t s, unsigned worker)
{
    const pool_work *w = arg;
    const nib_kernels *k = w->run->k;
    nib_dtype type = w->run->graph->type;
    size_t width = w->run->graph->values[w->n->output].width, r0, r1;
    size_t room = nib_round_up(width, 16);
    float *sum = w->sums + 2 * worker * room, *row = sum + room;

    pooled_rows(w, s, &r0, &r1);
    memset(sum, 0, width * sizeof *sum);
    for (size_t r = r0; r < r1; r++) {
        nib_convert(row, NIB_F32, nib_at(w->io->in[0], type, r * width), type, width);
        k->axpy(width, 1 / (float)(r1 - r0), row, sum);
    }
    nib_convert(nib_at_mut(w->io->out, type, s * width), type, sum, NIB_F32, width);
}

static void backward_tile(void *arg, size_t s, unsigned worker)
{
    const pool_work *w = arg;
    const uint32_t *offsets = w->run->batch->axes[input_axis(w->run->graph, w->n)].offsets;
    nib_dtype type = w->run->graph->type;
    size_t width = w->run->graph->values[w->n->output].width, bytes = nib_dtype_bytes(type), r0, r1;
    float *dx = w->sums + 2 * worker * nib_round_up(width, 16), *dy = dx + nib_round_up(width, 16);

    if (!w->io->accumulate[0])
        memset(nib_at_mut(w->io->d_in[0], type, offsets[s] * width), 0,
               (offsets[s + 1] - offsets[s]) * width * bytes);
    pooled_rows(w, s, &r0, &r1);
    nib_convert(dy, NIB_F32, nib_at(w->io->d_out, type, s * width), type, width);
    for (size_t r = r0; r < r1; r++) {
        void *to = nib_at_mut(w->io->d_in[0], type, r * width);
        nib_convert(dx, NIB_F32, to, type, width);
        w->run->k->axpy(width, 1 / (float)(r1 - r0), dy, dx);
        nib_convert(to, type, dx, NIB_F32, width);
    }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    pool_work w = { run, n, io, (float *)run->scratch.base };
    nib_parallel_for(run->ctx, run->batch->sequences, forward_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    pool_work w = { run, n, io, (float *)run->scratch.base };
    nib_parallel_for(run->ctx, run->batch->sequences, backward_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return 2 * nib_round_up(g->values[n->output].width, 16) * sizeof(float) * nib_threads(g->ctx);
}

const nib_op nib_op_pool = { .id = NIB_OP_POOL, .name = "pool", .scratch = scratch };
const nib_op_functions nib_cpu_pool = { forward, backward };
