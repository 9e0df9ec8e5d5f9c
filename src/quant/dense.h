/* dense.h - the scheme of unquantized weights, for quant/ alone. */
#ifndef NIB_QUANT_DENSE_H
#define NIB_QUANT_DENSE_H

#include "quant/weight.h"

/* Rows of float32, float16 or bfloat16 (base.dtype), in file order, perhaps on a map. */
typedef struct nib_dense {
    nib_weight base;
    const void *data; /* [out, in], row-major */
    void *owned;      /* what to free, or NULL when data lies on a map */
} nib_dense;

extern const nib_scheme nib_dense_scheme;

const nib_dense *nib_weight_as_dense(const nib_weight *w); /* NULL: of another scheme */

#endif
