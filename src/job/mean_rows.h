/* mean_rows.h - rows that a table of words could have had: transformers' mean_resizing.
 *
 * Normal about the mean of the rows that are there, with their covariance times 1e-9; where that is
 * not positive definite in float32, the mean alone.  The noise is a function of seed, name, row and
 * column (Philox).  Source: transformers 4.57.6, modeling_utils.py,
 * _init_added_embeddings_weights_with_mean. */
#ifndef NIB_JOB_MEAN_ROWS_H
#define NIB_JOB_MEAN_ROWS_H

#include "format/safetensors.h"

typedef struct nib_mean_rows {
    nib_ctx *ctx;
    size_t width;
    float *mean;   /* [width] */
    float *factor; /* [width, width] column by column, lower: L L^T = 1e-9 times the covariance;
                      NULL: there is no noise */
    float *noise;  /* [width] */
    uint32_t key[2];
} nib_mean_rows;

/* Of a matrix [V, D] of F32, F16 or BF16, or of a vector [V] (D = 1), whose noise is that of the
 * head's bias there: deviation 1e-9 times that of the values.  NIB_E_NUMERIC: a value is not
 * finite; NIB_E_NOMEM.  On failure there is nothing to free. */
nib_status nib_mean_rows_make(nib_ctx *ctx, const nib_tensor *t, uint64_t seed, nib_mean_rows *out,
                              nib_error *err);
void nib_mean_rows_free(nib_mean_rows *m); /* a zeroed one is fine */
/* Row `row` of the grown table, [width]. */
void nib_mean_rows_get(const nib_mean_rows *m, uint64_t row, float *out);

#endif
