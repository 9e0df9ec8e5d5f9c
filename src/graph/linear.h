/* linear.h - a linear with its bias and adapters applied to rows: what op_linear and the
 * loss share.
 *
 *     y = x W^T + bias + s (dropout(x) A^T) B^T
 *
 * Source of the low-rank branch: Hu et al. 2021, arXiv:2106.09685, eq. 3. */
#ifndef NIB_GRAPH_LINEAR_H
#define NIB_GRAPH_LINEAR_H

#include "graph/run.h"
#include "quant/operand.h"

/* dy_ready: dy is given as nib_operand_ready() would give it. */
size_t nib_linear_scratch_bytes(const nib_graph *g, const nib_linear *l, size_t rows,
                                bool dy_ready);

/* Rows [r0, r1) of an axis: x [rows, in] and y [rows, out] point at row r0; y has ld values from
 * row to row.  same_x: the call before was of the same rows of the same x,
 * with the same scratch, which nothing has used since.  u [rows, R], R the greatest rank of the
 * linear's branches, takes their inner values for backward; NULL: scratch is used. */
void nib_linear_forward(nib_run *run, const nib_linear *l, nib_axis axis, size_t r0, size_t r1,
                        const void *x, bool same_x, void *y, size_t ld, nib_dtype y_type, float *u,
                        void *scratch);
/* dx (+)= ..., NULL: not wanted; adds to the gradients of what is trained.  x is read only when
 * something is; u as forward gave it. */
void nib_linear_backward(nib_run *run, const nib_linear *l, nib_axis axis, size_t r0, size_t r1,
                         const void *x, const float *u, nib_operand dy, void *dx, bool accumulate,
                         void *scratch);

#endif
