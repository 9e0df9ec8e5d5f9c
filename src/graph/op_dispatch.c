/* op_dispatch.c - rows to the experts that they chose, and back.
 *
 *     dispatch  x_r = x_from(r)                          dx_t = sum_j dx_place(t, j)
 *     combine   y_t = sum_j w_tj y_place(t, j)           dy_r = w_tj dy_t, dw_tj = dy_t . y_r
 *
 * Sums run over a row's choices in the order of the experts, in float, and are rounded once. */
#include "graph/operations.h"
#include "graph/routes.h"

typedef struct dispatch_work {
    nib_run *run;
    const nib_io *io;
    nib_dtype type;
    size_t width;
    nib_routes routes;
    float *rooms; /* [workers] two rows and the weights of one */
} dispatch_work;

static size_t room_floats(size_t width, size_t times)
{
    return 2 * nib_round_up(width, 16) + nib_round_up(times, 16);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    int choices = n->inputs[n->input_count - 1];

    (void)rows;
    return room_floats(g->values[n->output].width, g->values[choices].width / NIB_ROUTE_WORDS) *
           sizeof(float) * nib_threads(g->ctx);
}

static dispatch_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    int last = n->input_count - 1;

    return (dispatch_work){ run, io, run->graph->type, run->graph->values[n->output].width,
                            nib_routes_of(run, n, last, io->in[last]),
                            (float *)(void *)run->scratch.base };
}

/* sum += c x, x a row of the compute type that goes through `row`. */
static void add_row(const dispatch_work *w, float c, const void *x, float *row, float *sum)
{
    nib_convert(row, NIB_F32, x, w->type, w->width);
    w->run->k->axpy(w->width, c, row, sum);
}

typedef void row_fn(const dispatch_work *w, size_t t, float *room);

typedef struct dispatch_tiles { const dispatch_work *w; row_fn *f; } dispatch_tiles;

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const dispatch_tiles *t = arg;
    size_t r0, r1;

    nib_tile_rows(tile, t->w->routes.rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++)
        t->f(t->w, r, t->w->rooms + worker * room_floats(t->w->width, t->w->routes.times));
}

static void run_rows(nib_run *run, const nib_node *n, const nib_io *io, row_fn *f)
{
    dispatch_work w = work_of(run, n, io);
    dispatch_tiles t = { &w, f };

    nib_parallel_for(run->ctx, nib_row_tiles(w.routes.rows), run_tile, &t);
}

/* --- dispatch --- */

static void dispatch_row(const dispatch_work *w, size_t t, float *room)
{
    size_t bytes = w->width * nib_dtype_bytes(w->type);

    (void)room;
    for (size_t j = 0; j < w->routes.times; j++)
        memcpy((char *)w->io->out + w->routes.place[t * w->routes.times + j] * bytes,
               (const char *)w->io->in[0] + t * bytes, bytes);
}

static void dispatch_back_row(const dispatch_work *w, size_t t, float *room)
{
    void *dx = nib_at_mut(w->io->d_in[0], w->type, t * w->width);
    float *sum = room, *row = room + nib_round_up(w->width, 16);

    memset(sum, 0, w->width * sizeof *sum);
    for (size_t j = 0; j < w->routes.times; j++) {
        size_t place = w->routes.place[t * w->routes.times + j];
        add_row(w, 1, nib_at(w->io->d_out, w->type, place * w->width), row, sum);
    }
    if (w->io->accumulate[0]) add_row(w, 1, dx, row, sum);
    nib_convert(dx, w->type, sum, NIB_F32, w->width);
}

static void dispatch_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_rows(run, n, io, dispatch_row);
}

static void dispatch_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_rows(run, n, io, dispatch_back_row);
}

/* --- combine --- */

/* The weights of row t, as floats, in the last part of its room. */
static float *weights_of(const dispatch_work *w, size_t t, float *room)
{
    float *weights = room + 2 * nib_round_up(w->width, 16);

    nib_convert(weights, NIB_F32, nib_at(w->io->in[1], w->type, t * w->routes.times), w->type,
                w->routes.times);
    return weights;
}

static void combine_row(const dispatch_work *w, size_t t, float *room)
{
    const float *weights = weights_of(w, t, room);
    float *sum = room, *row = room + nib_round_up(w->width, 16);

    memset(sum, 0, w->width * sizeof *sum);
    for (size_t j = 0; j < w->routes.times; j++) {
        size_t place = w->routes.place[t * w->routes.times + j];
        add_row(w, weights[j], nib_at(w->io->in[0], w->type, place * w->width), row, sum);
    }
    nib_convert(nib_at_mut(w->io->out, w->type, t * w->width), w->type, sum, NIB_F32, w->width);
}

/* Each routed row has one reader, and belongs to one row: its gradient is written, never added
 * to. */
static void combine_back_row(const dispatch_work *w, size_t t, float *room)
{
    float *weights = weights_of(w, t, room), *dy = room, *row = room + nib_round_up(w->width, 16);
    size_t first = t * w->routes.times;

    nib_convert(dy, NIB_F32, nib_at(w->io->d_out, w->type, t * w->width), w->type, w->width);
    for (size_t j = 0; j < w->routes.times; j++) {
        size_t at = w->routes.place[first + j] * w->width;
        float weight = weights[j];

        if (w->io->d_in[1]) {
            nib_convert(row, NIB_F32, nib_at(w->io->in[0], w->type, at), w->type, w->width);
            weights[j] = nib_row_dot(w->width, dy, row);
        }
        if (!w->io->d_in[0]) continue;
        for (size_t c = 0; c < w->width; c++) row[c] = weight * dy[c];
        nib_convert(nib_at_mut(w->io->d_in[0], w->type, at), w->type, row, NIB_F32, w->width);
    }
    if (!w->io->d_in[1]) return;
    if (w->io->accumulate[1]) {
        nib_convert(row, NIB_F32, nib_at(w->io->d_in[1], w->type, first), w->type,
                    w->routes.times);
        for (size_t j = 0; j < w->routes.times; j++) weights[j] += row[j];
    }
    nib_convert(nib_at_mut(w->io->d_in[1], w->type, first), w->type, weights, NIB_F32,
                w->routes.times);
}

static void combine_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_rows(run, n, io, combine_row);
}

static void combine_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    assert(!io->accumulate[0]);
    run_rows(run, n, io, combine_back_row);
}

const nib_op nib_op_dispatch = { .id = NIB_OP_DISPATCH, .name = "dispatch", .keeps_inputs = 2,
                                 .cheap = true, .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_dispatch = { dispatch_forward, dispatch_backward };
const nib_op nib_op_combine = { .id = NIB_OP_COMBINE, .name = "combine", .keeps_inputs = 7,
                                .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_combine = { combine_forward, combine_backward };
