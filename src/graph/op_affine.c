/* op_affine.c - y = w x + b, channel by channel, w and b rows of tables (b may be missing); neither
 * is trained.  Backward: dx = w dy. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct affine_work {
    const nib_run *run;
    const nib_io *io;
    size_t rows, width;
    const float *weight, *bias; /* bias NULL: none */
} affine_work;

static affine_work work_of(const nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_affine_desc *d = &n->affine;
    size_t width = run->graph->values[n->output].width;

    return (affine_work){ run, io, nib_node_rows(run, n), width,
                          d->weight->value + d->row * width,
                          d->bias ? d->bias->value + d->row * width : NULL };
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const affine_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++)
        for (size_t c = 0; c < w->width; c++) {
            size_t at = r * w->width + c;
            nib_put(type, w->io->out, at, w->weight[c] * nib_get(type, w->io->in[0], at) +
                                              (w->bias ? w->bias[c] : 0));
        }
}

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const affine_work *w = arg;
    nib_dtype type = w->run->graph->type;
    void *dx = w->io->d_in[0];
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++)
        for (size_t c = 0; c < w->width; c++) {
            size_t at = r * w->width + c;
            float g = w->weight[c] * nib_get(type, w->io->d_out, at);
            nib_put(type, dx, at, w->io->accumulate[0] ? nib_get(type, dx, at) + g : g);
        }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    affine_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), forward_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    affine_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), backward_tile, &w);
}

const nib_op nib_op_affine = { .id = NIB_OP_AFFINE, .name = "affine", .cheap = true,
                               .row_wise = true };
const nib_op_functions nib_cpu_affine = { forward, backward };
