/* linear_magnitude.h - what a linear's branch with magnitudes needs beside plain LoRA
 * (magnitude.h): rows of one slot, as linear.c divides them. */
#ifndef NIB_GRAPH_LINEAR_MAGNITUDE_H
#define NIB_GRAPH_LINEAR_MAGNITUDE_H

#include "graph/run.h"
#include "quant/operand.h"

typedef struct nib_magnitude_rows {
    nib_run *run;
    const nib_weight *weight;
    const nib_branch *branch;
    size_t rows;
    nib_operand x;  /* [rows, in] what the branch reads */
    const float *u; /* [rows, R] its inner values, or v of the way back */
    void *space;    /* nib_linear_magnitude_bytes() */
    void *rest;     /* the products' own scratch */
} nib_magnitude_rows;

/* Of a linear for up to so many rows; 0 where no branch has magnitudes. */
size_t nib_linear_magnitude_bytes(const nib_graph *g, const nib_linear *l, size_t rows);

/* y += (g - 1) * (x W^T + u B^T): what dropout leaves beside the base's product and the branch. */
void nib_magnitude_add_dropped(const nib_magnitude_rows *m, void *y, size_t ld, nib_dtype type);
/* dm += sum over rows of dy * (x W^T + u B^T) / norm; the product is made again for it, some rows
 * at a time.  What stands at the beginning of `space`, where dy times the gains has room
 * (nib_operand_scaled()), stays. */
void nib_magnitude_add_gradient(const nib_magnitude_rows *m, nib_operand dy);
/* dx [rows, in] = ((g - 1) * dy) W + v A, of the compute type.  It takes the place of what stands
 * at the beginning of `space`. */
void nib_magnitude_dropped_back(const nib_magnitude_rows *m, nib_operand dy, void *dx);

#endif
