/* merge_rows.h - the values of one merged tensor, a few rows at a time. */
#ifndef NIB_JOB_MERGE_ROWS_H
#define NIB_JOB_MERGE_ROWS_H

#include "job/merge_plan.h"

typedef struct nib_merge_rows {
    nib_ctx *ctx;
    size_t rows;       /* at a time, of the widest weight */
    float *wide;       /* [rows, widest] decoded and merged */
    float *delta;      /* [threads, widest] B A of one row */
    uint8_t *narrow;   /* [rows, widest] in the type of the file */
    size_t widest;
} nib_merge_rows;

nib_status nib_merge_rows_init(nib_ctx *ctx, size_t widest, nib_merge_rows *out, nib_error *err);
void nib_merge_rows_free(nib_merge_rows *r); /* a zeroed one is fine */

/* W + s B A (of an embedding W + s A^T B^T), times its gains where the branch has magnitudes:
 * sums over the rank in order, in float, times s, plus the weight, rounded once.  NIB_E_NUMERIC: a
 * value that the new type cannot hold. */
nib_status nib_merge_write_weight(nib_merge_rows *r, nib_tensor_writer *w,
                                  const nib_merge_item *item, nib_error *err);
/* The same of each slice of a stack. */
nib_status nib_merge_write_stack(nib_merge_rows *r, nib_tensor_writer *w,
                                 const nib_merge_item *item, nib_error *err);
nib_status nib_merge_write_values(nib_merge_rows *r, nib_tensor_writer *w,
                                  const nib_merge_item *item, nib_error *err);
nib_status nib_merge_write_copy(nib_merge_rows *r, nib_tensor_writer *w, const nib_merge_item *item,
                                nib_error *err);
/* to[width] += s times row `row` of B A, or with `columns` of its transpose; with magnitudes `to`
 * must be that row of the weight, and the sum is multiplied by its gains.  delta [width]: room. */
void nib_merge_add_row(const nib_branch *l, bool columns, size_t row, float *delta, float *to,
                       size_t width);

#endif
