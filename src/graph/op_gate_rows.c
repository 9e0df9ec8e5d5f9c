/* op_gate_rows.c - y_t = sigmoid(z_t) x_t, one z for each row: how much a shared expert counts.
 *
 *     dx_t = s dy_t      dz_t = s (1 - s) (dy_t . x_t),  s = sigmoid(z_t) */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"

typedef struct gate_work {
    nib_run *run;
    const nib_io *io;
    nib_dtype type;
    size_t rows, width;
    float *rooms; /* [workers] two rows */
} gate_work;

static size_t room_floats(size_t width) { return 2 * nib_round_up(width, 16); }

static float load(const gate_work *w, const void *x, size_t i)
{
    float f;

    nib_convert(&f, NIB_F32, nib_at(x, w->type, i), w->type, 1);
    return f;
}

static void forward_row(const gate_work *w, size_t r, float *row)
{
    float s = 1 / (1 + expf(-load(w, w->io->in[1], r)));

    nib_convert(row, NIB_F32, nib_at(w->io->in[0], w->type, r * w->width), w->type, w->width);
    for (size_t c = 0; c < w->width; c++) row[c] *= s;
    nib_convert(nib_at_mut(w->io->out, w->type, r * w->width), w->type, row, NIB_F32, w->width);
}

/* dst (+)= the floats of `row`. */
static void store(const gate_work *w, void *dst, size_t count, bool accumulate, float *row,
                  float *through)
{
    if (accumulate) {
        nib_convert(through, NIB_F32, dst, w->type, count);
        for (size_t c = 0; c < count; c++) row[c] += through[c];
    }
    nib_convert(dst, w->type, row, NIB_F32, count);
}

static void backward_row(const gate_work *w, size_t r, float *row)
{
    const nib_io *io = w->io;
    float *dy = row + nib_round_up(w->width, 16), s = 1 / (1 + expf(-load(w, io->in[1], r))), dz;

    nib_convert(row, NIB_F32, nib_at(io->in[0], w->type, r * w->width), w->type, w->width);
    nib_convert(dy, NIB_F32, nib_at(io->d_out, w->type, r * w->width), w->type, w->width);
    dz = s * (1 - s) * nib_row_dot(w->width, dy, row);
    if (io->d_in[1])
        store(w, nib_at_mut(io->d_in[1], w->type, r), 1, io->accumulate[1], &dz, row);
    if (!io->d_in[0]) return;
    for (size_t c = 0; c < w->width; c++) dy[c] *= s;
    store(w, nib_at_mut(io->d_in[0], w->type, r * w->width), w->width, io->accumulate[0], dy, row);
}

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const gate_work *w = arg;
    size_t r0, r1;

    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++)
        (w->io->d_out ? backward_row : forward_row)(w, r,
                                                    w->rooms + worker * room_floats(w->width));
}

static void run_rows(nib_run *run, const nib_node *n, const nib_io *io)
{
    gate_work w = { run, io, run->graph->type, nib_node_rows(run, n),
                    run->graph->values[n->output].width, (float *)(void *)run->scratch.base };

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), run_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return room_floats(g->values[n->output].width) * sizeof(float) * nib_threads(g->ctx);
}

const nib_op nib_op_gate_rows = { .id = NIB_OP_GATE_ROWS, .name = "gate of rows",
                                  .keeps_inputs = 3, .cheap = true, .row_wise = true,
                                  .scratch = scratch };
const nib_op_functions nib_cpu_gate_rows = { run_rows, run_rows };
