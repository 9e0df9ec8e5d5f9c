/* dense_layer.h - a linear and a function behind what was pooled: sentence-transformers' Dense.
 *
 *     y = f(W x + b)      W [out, in]   x [in]
 *     dz = f'(W x + b) dy    dW += dz x^T    db += dz    dx = W^T dz
 *
 * All float; a text at a time, in the order of the texts, so that sums have one order. */
#ifndef NIB_TRAIN_DENSE_LAYER_H
#define NIB_TRAIN_DENSE_LAYER_H

#include "graph/param.h"

typedef enum nib_dense_function {
    NIB_DENSE_IDENTITY,
    NIB_DENSE_TANH,
    NIB_DENSE_RELU,
    NIB_DENSE_GELU,
    NIB_DENSE_SIGMOID,
    NIB_DENSE_SILU,
    NIB_DENSE_FUNCTIONS
} nib_dense_function;

typedef struct nib_dense {
    size_t in, out;
    nib_dense_function function;
    char *path;             /* of its folder: "2_Dense" */
    float *weight, *bias;   /* [out, in], [out] or NULL: as read; owned */
    nib_param *weight_param, *bias_param; /* trained in their place; or NULL */
} nib_dense;

/* "torch.nn.modules.activation.Tanh"; the last part of a name decides.  false: it
 * is none of these. */
const char *nib_dense_function_name(nib_dense_function f);
bool nib_dense_function_parse(const char *name, nib_dense_function *f);
/* "Identity, Tanh, ..." */
const char *nib_dense_function_list(void);

void nib_dense_free(nib_ctx *ctx, nib_dense *list, size_t count); /* list NULL is fine */
/* Makes parameters of their values, kept apart from an adapter's file, and trains these. */
nib_status nib_dense_train(nib_ctx *ctx, nib_params *params, nib_dense *list, size_t count,
                           nib_error *err);
/* They are trained no longer: the parameters go. */
void nib_dense_forget(nib_dense *list, size_t count);
static inline const float *nib_dense_weight(const nib_dense *d)
{
    return d->weight_param ? d->weight_param->value : d->weight;
}
static inline const float *nib_dense_bias(const nib_dense *d)
{
    return d->bias_param ? d->bias_param->value : d->bias;
}

/* Numbers behind the last one, of `width` that were pooled. */
static inline size_t nib_dense_width(const nib_dense *list, size_t count, size_t width)
{
    return count ? list[count - 1].out : width;
}
/* Floats of a text's trace: what was pooled [width], then W x + b and y of each. */
size_t nib_dense_trace(const nib_dense *list, size_t count, size_t width);
/* Fills the trace behind the first `width` numbers; what comes out of the last one, inside it. */
const float *nib_dense_forward(const nib_dense *list, size_t count, size_t width, float *trace);
/* From dy of the last one to that of what was pooled, dx [width]; the gradients of what is trained
 * are added to.  dy is overwritten; dy and room: floats of the widest. */
void nib_dense_backward(const nib_dense *list, size_t count, size_t width, const float *trace,
                        float *dy, float *room, float *dx);
size_t nib_dense_widest(const nib_dense *list, size_t count, size_t width);

#endif
