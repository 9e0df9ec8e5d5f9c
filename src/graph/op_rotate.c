/* op_rotate.c - rotary position embedding of the heads of q or k (Su et al. 2021,
 * arXiv:2104.09864).  Backward is the rotation by the negative angle. */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"

typedef struct rotate_work {
    nib_run *run;
    const nib_node *n;
    const void *from;
    void *to;
    nib_heads from_layout, to_layout;
    nib_rope_table table;
    bool inverse, accumulate;
    size_t rows;
} rotate_work;

/* What leads to the tables of a row whose sequence is a long one (longrope). */
static size_t long_tables(const rotate_work *w, size_t row)
{
    nib_axis axis = w->run->graph->values[w->n->output].axis;
    size_t position;

    if (!w->table.to_long) return 0;
    return nib_run_length(w->run, axis, nib_run_sequence(w->run, axis, row, &position)) >
                   w->n->rope->long_from
               ? w->table.to_long : 0;
}

/* Cosines and sines of a row whose sequence is so long that its length decides them. */
typedef struct grown_row {
    size_t length; /* that `inv` is of */
    double inv[NIB_MOST_GROWN / 2];
    float cosines[NIB_MOST_GROWN / 2], sines[NIB_MOST_GROWN / 2];
} grown_row;

static bool grow(const rotate_work *w, size_t row, uint32_t position, grown_row *g)
{
    const nib_rope *rope = w->n->rope;
    nib_axis axis = w->run->graph->values[w->n->output].axis;
    size_t at, length;

    if (!rope->grows_from) return false;
    length = nib_run_length(w->run, axis, nib_run_sequence(w->run, axis, row, &at));
    if (length <= rope->grows_from) return false;
    if (length != g->length) nib_tables_grown(rope, length, g->inv);
    g->length = length;
    for (size_t j = 0; j < rope->rot / 2; j++) {
        float angle = (float)position * (float)g->inv[j];
        g->cosines[j] = (float)cos((double)angle);
        g->sines[j] = (float)sin((double)angle);
    }
    return true;
}

static void rotate_tile(void *arg, size_t tile, unsigned worker)
{
    const rotate_work *w = arg;
    const nib_value_info *out = &w->run->graph->values[w->n->output];
    const nib_rope *rope = w->n->rope;
    nib_dtype type = w->run->graph->type;
    nib_heads from = w->from_layout, to = w->to_layout;
    size_t r0, r1, run_heads = nib_min(from.per_group, to.per_group);
    grown_row grown = { .length = 0 };

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        uint32_t position = w->run->batch->inputs[NIB_POSITIONS][r];
        size_t at = position * w->table.half + long_tables(w, r);
        const float *cosines = w->table.cosines + at, *sines = w->table.sines + at;

        assert(position < w->table.positions);
        if (grow(w, r, position, &grown)) cosines = grown.cosines, sines = grown.sines;
        for (size_t h = 0; h < out->heads; h += run_heads) {
            const void *x = nib_at(w->from, type, nib_head_at(from, r, h));
            void *y = nib_at_mut(w->to, type, nib_head_at(to, r, h));
            w->run->k->rotate(type, run_heads, out->head_dim, rope->rot, rope->interleaved,
                              w->inverse, cosines, sines, x, from.head_stride, y,
                              to.head_stride, w->accumulate);
        }
    }
}

static nib_heads input_heads(const nib_graph *g, const nib_node *n)
{
    const nib_value_info *out = &g->values[n->output];
    return nib_heads_in(g, n->inputs[0], out->heads, out->head_dim);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    rotate_work w = { .run = run, .n = n, .from = io->in[0], .to = io->out,
                      .from_layout = input_heads(run->graph, n),
                      .to_layout = run->graph->values[n->output].layout,
                      .table = nib_tables_of(&run->tables, n->rope),
                      .rows = nib_node_rows(run, n) };
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), rotate_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    rotate_work w = { .run = run, .n = n, .from = io->d_out, .to = io->d_in[0],
                      .from_layout = run->graph->values[n->output].layout,
                      .to_layout = input_heads(run->graph, n), .inverse = true,
                      .accumulate = io->accumulate[0],
                      .table = nib_tables_of(&run->tables, n->rope),
                      .rows = nib_node_rows(run, n) };
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), rotate_tile, &w);
}

const nib_op nib_op_rotate = { .id = NIB_OP_ROTATE, .name = "rotate" };
const nib_op_functions nib_cpu_rotate = { forward, backward };
