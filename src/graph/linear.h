/* linear.h - a linear with its bias and adapters applied to rows: what op_linear, the loss and
 * the reading of logits share.
 *
 *     y = x W^T + bias + s (dropout(x) A^T) B^T
 *
 * or with magnitudes what magnitude.h says.
 *
 * Rows of generated tokens are dots (quant/product.h), NIB_DOT_ROWS at a time; all others are
 * products in tiles.  The batch says which they are (nib_batch.generated), so that a row's bits do
 * not depend on how many rows there are.
 * Source of the low-rank branch: Hu et al. 2021, arXiv:2106.09685, eq. 3. */
#ifndef NIB_GRAPH_LINEAR_H
#define NIB_GRAPH_LINEAR_H

#include "graph/run.h"
#include "quant/operand.h"

/* Rows [r0, r1) of an axis through a linear.  Pointers to their values point at row r0. */
typedef struct nib_linear_rows {
    nib_run *run;
    const nib_linear *linear;
    nib_axis axis;
    uint32_t use;       /* how often the linear was applied before: another dropout each time */
    size_t r0, r1;
    void *scratch;      /* nib_linear_scratch_bytes() */
    float *u;           /* [rows, R], R the greatest rank of the linear's branches: takes their
                           inner values from forward to backward; NULL: scratch is used */
    const void *x;      /* [rows, in] */
    const uint32_t *places; /* [rows] the rows of `axis` that they are, ascending; r0 is 0 then.
                               NULL: r0 and those that follow */
} nib_linear_rows;

typedef struct nib_linear_out {
    void *y;            /* [rows, out] */
    size_t ld;          /* values of y from row to row */
    nib_dtype type;     /* of y */
    bool same_x;        /* the call before was of the same rows of the same x, with the same
                           scratch, which nothing has used since */
    bool dots;          /* rows are taken as those of generated tokens, whatever they are */
} nib_linear_out;

/* dy_ready: dy is given as nib_operand_ready() would give it. */
size_t nib_linear_scratch_bytes(const nib_graph *g, const nib_linear *l, size_t rows,
                                bool dy_ready);

void nib_linear_forward(const nib_linear_rows *w, const nib_linear_out *out);
/* dx (+)= ..., NULL: not wanted; adds to the gradients of what is trained.  x is read only when
 * something is; u as forward gave it. */
void nib_linear_backward(const nib_linear_rows *w, nib_operand dy, void *dx, bool accumulate);

#endif
