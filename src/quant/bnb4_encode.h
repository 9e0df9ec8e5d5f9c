/* bnb4_encode.h - the encoder of NF4 and FP4, for bnb4.c alone. */
#ifndef NIB_QUANT_BNB4_ENCODE_H
#define NIB_QUANT_BNB4_ENCODE_H

#include "quant/bnb4.h"
#include "quant/dense.h"

/* A matrix to be encoded. */
typedef struct nib_bnb4_matrix {
    size_t out, in;
    const nib_dense *dense; /* read where it lies; or NULL: */
    nib_rows_fn rows;
    void *arg;
} nib_bnb4_matrix;

/* What nib_bnb4_encode() does, but for the weight's scheme, which the caller sets. */
nib_status nib_bnb4_encode_matrix(nib_ctx *ctx, const nib_bnb4_options *options,
                                  const nib_bnb4_matrix *from, nib_bnb4 **w, nib_error *err);

#endif
