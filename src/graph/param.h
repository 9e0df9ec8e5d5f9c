/* param.h - a trained thing: value, gradient, name.  All float, row-major. */
#ifndef NIB_GRAPH_PARAM_H
#define NIB_GRAPH_PARAM_H

#include "base/base.h"

typedef struct nib_param {
    char *name;          /* as in the adapter's file */
    size_t rows, cols;   /* a vector has one row */
    float *value, *grad; /* [rows, cols]; inside the parameter list's blocks */
    bool decays;         /* takes weight decay: not biases and norm weights */
} nib_param;

static inline size_t nib_param_count(const nib_param *p) { return p->rows * p->cols; }

/* The growing list of what is trained.  Values and gradients are one allocation each
 * parameter; the optimizer walks the list in its order. */
typedef struct nib_params {
    nib_param **items;
    size_t count, capacity;
} nib_params;

/* Makes a parameter with zero value and gradient; `name` is copied.  NULL: no memory. */
nib_param *nib_params_add(nib_ctx *ctx, nib_params *list, const char *name, size_t rows, size_t cols);
void nib_params_free(nib_ctx *ctx, nib_params *list);
void nib_params_clear_grads(nib_params *list);

#endif
