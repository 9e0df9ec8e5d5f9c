/* rows.h - what the operations share: loops over rows, runs of equal adapter slots. */
#ifndef NIB_GRAPH_ROWS_H
#define NIB_GRAPH_ROWS_H

#include "base/thread.h"
#include "graph/run.h"
#include "quant/operand.h"

enum { NIB_ROWS_A_TILE = 16 };

/* Rows [r0, r1) of a tile of a row loop. */
static inline void nib_tile_rows(size_t tile, size_t rows, size_t *r0, size_t *r1)
{
    *r0 = tile * NIB_ROWS_A_TILE;
    *r1 = nib_min(*r0 + NIB_ROWS_A_TILE, rows);
}

static inline size_t nib_row_tiles(size_t rows) { return nib_ceil_div(rows, NIB_ROWS_A_TILE); }

static inline const void *nib_at(const void *base, nib_dtype type, size_t elements)
{
    return (const char *)base + elements * (type == NIB_F32 ? 4 : 2);
}
static inline void *nib_at_mut(void *base, nib_dtype type, size_t elements)
{
    return (char *)base + elements * (type == NIB_F32 ? 4 : 2);
}

/* Elements from row to row of a value: of its base when it is a view. */
static inline size_t nib_value_stride(const nib_graph *g, int v)
{
    return g->values[v].view_of >= 0 ? g->values[v].layout.row_stride : g->values[v].width;
}

static inline size_t nib_node_rows(const nib_run *run, const nib_node *n)
{
    return nib_run_rows(run, run->graph->values[n->output].axis);
}

/* The adapter slot of row `row`, and in *end the first row after it of another slot. */
unsigned nib_run_slot(const nib_run *run, nib_axis axis, size_t row, size_t *end);
/* The sequence of a row, and the row's place in it. */
size_t nib_run_sequence(const nib_run *run, nib_axis axis, size_t row, size_t *position);

/* dst[c] += sum over rows of x[r, c], in row order: gradients of biases. */
void nib_sum_rows(nib_run *run, size_t rows, size_t width, nib_operand x, float *dst);

#endif
