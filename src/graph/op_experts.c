/* op_experts.c - the same linear of each expert, over the rows that chose it (graph/linear.h).
 *
 * Rows of an expert lie together (routes.h), so each expert in use is one product, and the weights
 * of one that no row chose are not read. */
#include "graph/linear.h"
#include "graph/operations.h"
#include "graph/routes.h"

/* The rows of one expert. */
static nib_linear_rows rows_of(nib_run *run, const nib_node *n, const nib_io *io,
                               const nib_routes *routes, size_t first, size_t end)
{
    const nib_graph *g = run->graph;
    const nib_linear *linear = n->experts[routes->expert[first]];
    float *u = run->training ? io->side : NULL;

    return (nib_linear_rows){
        .run = run, .linear = linear, .axis = g->axes[g->values[n->output].axis].parent,
        .r1 = end - first, .scratch = run->scratch.base,
        .u = u ? u + first * g->values[n->side].width : NULL,
        .x = io->in[0] ? nib_at(io->in[0], g->type, first * linear->weight->in) : NULL,
        .places = routes->from + first };
}

static size_t end_of(const nib_routes *r, size_t first)
{
    size_t end = first, all = r->rows * r->times;

    while (end < all && r->expert[end] == r->expert[first]) end++;
    return end;
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_routes routes = nib_routes_of(run, n, 1, io->in[1]);
    nib_dtype type = run->graph->type;
    size_t width = run->graph->values[n->output].width;

    for (size_t r = 0, end; r < routes.rows * routes.times; r = end) {
        nib_linear_rows w;
        nib_linear_out out = { .y = nib_at_mut(io->out, type, r * width), .ld = width,
                               .type = type };

        end = end_of(&routes, r);
        w = rows_of(run, n, io, &routes, r, end);
        nib_linear_forward(&w, &out);
    }
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_routes routes = nib_routes_of(run, n, 1, io->in[1]);
    nib_dtype type = run->graph->type;
    size_t width = run->graph->values[n->output].width;

    for (size_t r = 0, end; r < routes.rows * routes.times; r = end) {
        nib_operand dy = { nib_at(io->d_out, type, r * width), width, type };
        nib_linear_rows w;

        end = end_of(&routes, r);
        w = rows_of(run, n, io, &routes, r, end);
        nib_linear_backward(&w, dy,
                            io->d_in[0] ? nib_at_mut(io->d_in[0], type, r * w.linear->weight->in)
                                        : NULL,
                            io->accumulate[0]);
    }
}

/* All rows may choose one expert. */
static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    size_t bytes = 0;

    for (size_t e = 0; e < n->route.experts; e++)
        bytes = nib_max(bytes, nib_linear_scratch_bytes(
                                   g, n->experts[e], rows[g->values[n->output].axis], false));
    return bytes;
}

const nib_op nib_op_experts = { .id = NIB_OP_EXPERTS, .name = "experts", .keeps_inputs = 2,
                                .keeps_side = true, .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_experts = { forward, backward };
