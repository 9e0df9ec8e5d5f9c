/* op_gate_pairs.c - gpt_oss's gate: gate and up are neighbours in a row, and neither goes beyond a
 * limit.
 *
 *     g = min(x_2i, limit)   u = clamp(x_2i+1, -limit, limit)   y_i = (u + 1) g sigmoid(1.702 g)
 *
 * Backward is that of a gate with an up of u + 1; beyond the limit gradients are 0.
 * Source: formats.md 10.46 and 10.60, OGLU. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct pair_work {
    nib_run *run;
    const nib_io *io;
    nib_dtype type;
    size_t rows, width; /* of the output */
    float limit;
    float *rooms; /* [workers] rows of [2 width], and five of [width] */
} pair_work;

/* A row as it lies, what is gated of it, and the output or what follows from its gradient. */
typedef struct pair_room { float *x, *gate, *up, *y, *d_gate, *d_up; } pair_room;

static size_t room_floats(size_t width) { return 7 * nib_round_up(width, 16); }

static pair_room load(const pair_work *w, size_t r, unsigned worker)
{
    size_t step = nib_round_up(w->width, 16);
    float *p = w->rooms + worker * room_floats(w->width);
    pair_room m = { p, p + 2 * step, p + 3 * step, p + 4 * step, p + 5 * step, p + 6 * step };

    nib_convert(m.x, NIB_F32, nib_at(w->io->in[0], w->type, 2 * r * w->width), w->type,
                2 * w->width);
    for (size_t i = 0; i < w->width; i++) { /* what is no number stays none */
        float gate = m.x[2 * i], up = m.x[2 * i + 1];
        m.gate[i] = gate > w->limit ? w->limit : gate;
        m.up[i] = (up > w->limit ? w->limit : up < -w->limit ? -w->limit : up) + 1;
    }
    return m;
}

static void forward_row(const pair_work *w, size_t r, unsigned worker)
{
    pair_room m = load(w, r, worker);

    w->run->k->gated(NIB_F32, NIB_ACT_QUICK_GELU, w->width, m.gate, m.up, m.y);
    nib_convert(nib_at_mut(w->io->out, w->type, r * w->width), w->type, m.y, NIB_F32, w->width);
}

static void backward_row(const pair_work *w, size_t r, unsigned worker)
{
    pair_room m = load(w, r, worker);
    void *dx = nib_at_mut(w->io->d_in[0], w->type, 2 * r * w->width);

    nib_convert(m.y, NIB_F32, nib_at(w->io->d_out, w->type, r * w->width), w->type, w->width);
    w->run->k->gated_back(NIB_F32, NIB_ACT_QUICK_GELU, w->width, m.gate, m.up, m.y, m.d_gate, false,
                          m.d_up, false);
    for (size_t i = 0; i < w->width; i++) {
        float up = m.x[2 * i + 1];
        m.x[2 * i] = m.x[2 * i] > w->limit ? 0 : m.d_gate[i];
        m.x[2 * i + 1] = up > w->limit || up < -w->limit ? 0 : m.d_up[i];
    }
    if (w->io->accumulate[0]) {
        float *before = m.gate; /* and what follows it */
        nib_convert(before, NIB_F32, dx, w->type, 2 * w->width);
        for (size_t i = 0; i < 2 * w->width; i++) m.x[i] += before[i];
    }
    nib_convert(dx, w->type, m.x, NIB_F32, 2 * w->width);
}

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const pair_work *w = arg;
    size_t r0, r1;

    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) (w->io->d_out ? backward_row : forward_row)(w, r, worker);
}

static void run_rows(nib_run *run, const nib_node *n, const nib_io *io)
{
    pair_work w = { run, io, run->graph->type, nib_node_rows(run, n),
                    run->graph->values[n->output].width, n->scale,
                    (float *)(void *)run->scratch.base };

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), run_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return room_floats(g->values[n->output].width) * sizeof(float) * nib_threads(g->ctx);
}

const nib_op nib_op_gate_pairs = { .id = NIB_OP_GATE_PAIRS, .name = "gate of neighbours",
                                   .keeps_inputs = 1, .cheap = true, .row_wise = true,
                                   .scratch = scratch };
const nib_op_functions nib_cpu_gate_pairs = { run_rows, run_rows };
