/* op_activate.c - y = act(x), y = act(gate) * up, and y = a + b: value by value. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct flat_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    size_t rows, width;
} flat_work;

static flat_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    return (flat_work){ run, n, io, nib_node_rows(run, n), run->graph->values[n->output].width };
}

/* First value and number of values of a tile. */
static size_t tile_values(const flat_work *w, size_t tile, size_t *count)
{
    size_t r0, r1;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    *count = (r1 - r0) * w->width;
    return r0 * w->width;
}

static void activate_tile(void *arg, size_t tile, unsigned worker)
{
    const flat_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t count, at = tile_values(w, tile, &count);

    (void)worker;
    w->run->k->activate(type, w->n->activation, count, nib_at(w->io->in[0], type, at),
                        nib_at_mut(w->io->out, type, at));
}

static void activate_back_tile(void *arg, size_t tile, unsigned worker)
{
    const flat_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t count, at = tile_values(w, tile, &count);

    (void)worker;
    w->run->k->activate_back(type, w->n->activation, count, nib_at(w->io->in[0], type, at),
                             nib_at(w->io->d_out, type, at), nib_at_mut(w->io->d_in[0], type, at),
                             w->io->accumulate[0]);
}

static void activate_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    flat_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), activate_tile, &w);
}

static void activate_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    flat_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), activate_back_tile, &w);
}

static void gate_tile(void *arg, size_t tile, unsigned worker)
{
    const flat_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t count, at = tile_values(w, tile, &count);

    (void)worker;
    w->run->k->gated(type, w->n->activation, count, nib_at(w->io->in[0], type, at),
                     nib_at(w->io->in[1], type, at), nib_at_mut(w->io->out, type, at));
}

/* gate and up are each read once in the graph, so that their gradients are written, not added
 * to. */
static void gate_back_tile(void *arg, size_t tile, unsigned worker)
{
    const flat_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t count, at = tile_values(w, tile, &count);

    (void)worker;
    assert(!w->io->accumulate[0] && !w->io->accumulate[1]);
    w->run->k->gated_back(type, w->n->activation, count, nib_at(w->io->in[0], type, at),
                          nib_at(w->io->in[1], type, at), nib_at(w->io->d_out, type, at),
                          w->io->d_in[0] ? nib_at_mut(w->io->d_in[0], type, at) : NULL,
                          w->io->d_in[1] ? nib_at_mut(w->io->d_in[1], type, at) : NULL);
}

static void gate_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    flat_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), gate_tile, &w);
}

static void gate_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    flat_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), gate_back_tile, &w);
}

static void add_tile(void *arg, size_t tile, unsigned worker)
{
    const flat_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t count, at = tile_values(w, tile, &count);

    (void)worker;
    w->run->k->add(type, count, nib_at(w->io->in[0], type, at), nib_at(w->io->in[1], type, at),
                   nib_at_mut(w->io->out, type, at));
}

static void add_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    flat_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), add_tile, &w);
}

/* Only for inputs whose gradient could not share dy's place (plan.c). */
static void add_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    flat_work w = work_of(run, n, io);
    nib_dtype type = run->graph->type;

    for (int i = 0; i < 2; i++) {
        if (!io->d_in[i]) continue;
        assert(io->accumulate[i]);
        run->k->add(type, w.rows * w.width, io->d_in[i], io->d_out, io->d_in[i]);
    }
}

const nib_op nib_op_activate = { .name = "activation", .forward = activate_forward,
                                 .backward = activate_backward, .keeps_inputs = 1, .cheap = true,
                                 .row_wise = true };
const nib_op nib_op_gate = { .name = "gate", .forward = gate_forward, .backward = gate_backward,
                             .keeps_inputs = 3, .cheap = true, .row_wise = true };
const nib_op nib_op_add = { .name = "add", .forward = add_forward, .backward = add_backward,
                            .passes_gradient = true, .row_wise = true };
