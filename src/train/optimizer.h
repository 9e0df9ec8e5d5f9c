/* optimizer.h - AdamW over a list of parameters, with torch's arithmetic.
 *
 *     p *= 1 - lr wd;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *
 * Loshchilov and Hutter 2017, arXiv:1711.05101; formats.md 14.3.  Float states. */
#ifndef NIB_TRAIN_OPTIMIZER_H
#define NIB_TRAIN_OPTIMIZER_H

#include "base/dtype.h"
#include "graph/param.h"
#include "kernel/kernels.h"
#include "nibble/finetune.h"

typedef struct nib_optimizer {
    nib_ctx *ctx;
    const nib_kernels *k;
    nib_params *params;     /* borrowed */
    nib_adamw settings;     /* but for the step's learning rate and scale */
    double beta1, beta2, weight_decay;
    float *m, *v;           /* all parameters one after another */
    size_t elements;
    uint64_t step;
} nib_optimizer;

nib_status nib_optimizer_init(nib_ctx *ctx, const nib_kernels *k, nib_params *params,
                              const nib_train_options *o, nib_optimizer *out, nib_error *err);
void nib_optimizer_free(nib_optimizer *o);

/* The norm of all gradients together, times `scale`. */
double nib_gradient_norm(const nib_kernels *k, const nib_params *params, double scale);

/* One update with gradients times `scale` (1 / supervised tokens, and clipping). */
void nib_optimizer_step(nib_optimizer *o, double learning_rate, double scale);

/* The states as named tensors, for checkpoints: tensor i of nib_optimizer_states(), in a fixed order.
 * `data` may be written to; with o->step they are all that an optimizer remembers. */
typedef struct nib_optimizer_state {
    const nib_param *param;
    const char *name;        /* torch's: "exp_avg", "exp_avg_sq" */
    nib_dtype dtype;
    unsigned rank;
    uint64_t shape[2];
    void *data;
    size_t bytes;
} nib_optimizer_state;

size_t nib_optimizer_states(const nib_optimizer *o);
nib_optimizer_state nib_optimizer_state_at(const nib_optimizer *o, size_t i);

#endif
