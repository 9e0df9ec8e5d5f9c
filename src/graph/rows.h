/* rows.h - what the operations share: loops over rows, runs of rows that are alike. */
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

/* Where `heads` heads of `head_dim` lie in an input: in a view as it says, or one after another. */
static inline nib_heads nib_heads_in(const nib_graph *g, int v, size_t heads, size_t head_dim)
{
    const nib_value_info *x = &g->values[v];
    nib_heads plain = nib_plain_heads(heads, head_dim);

    if (x->view_of == NIB_NONE) return plain;
    if (x->heads == heads) return x->layout;
    plain.row_stride = x->layout.row_stride; /* columns, taken as several heads */
    return plain;
}

/* In place: from the head's values to logits. */
static inline void nib_finish_logits(const nib_run *run, size_t n, float *z)
{
    const nib_graph *g = run->graph;
    if (g->logit_cap > 0 || g->logit_scale != 1)
        run->k->cap_logits(n, z, g->logit_scale, g->logit_cap);
}

static inline size_t nib_node_rows(const nib_run *run, const nib_node *n)
{
    return nib_run_rows(run, run->graph->values[n->output].axis);
}

/* x . y, in eight sums that do not wait for one another: a fixed order. */
static inline float nib_row_dot(size_t n, const float *x, const float *y)
{
    float sums[8] = { 0 }, sum = 0;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) sums[j] += x[i + j] * y[i + j];
    for (; i < n; i++) sums[i % 8] += x[i] * y[i];
    for (size_t j = 0; j < 8; j++) sum += sums[j];
    return sum;
}

/* Rows of one adapter slot and one role, up to `end`. */
typedef struct nib_row_run { unsigned slot; bool generated; size_t end; } nib_row_run;
/* Those from `row` on. */
nib_row_run nib_run_alike(const nib_run *run, nib_axis axis, size_t row);
/* The sequence of a row, and the row's place in it. */
size_t nib_run_sequence(const nib_run *run, nib_axis axis, size_t row, size_t *position);

/* The rows of a sequence on an axis that is given, and those that its state holds. */
size_t nib_run_length(const nib_run *run, nib_axis axis, size_t sequence);

/* dst[c] += sum over rows of x[r, c], in row order: gradients of biases. */
void nib_sum_rows(nib_run *run, size_t rows, size_t width, nib_operand x, float *dst);

#endif
