/* optimizer.h - AdamW over a list of parameters, in the forms TrainingArguments' `optim` names.
 *
 *     p *= 1 - lr wd;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *
 *     adamw_torch         m and v in float, as torch
 *     paged_adamw_32bit   the same bits; m and v in a file-backed map, written out when memory is
 *                         short
 *     adamw_bnb_8bit      m and v in 8 bits as bitsandbytes has them (kernel/adamw8.h); in float
 *                         where a parameter has fewer than 4096 values or is an embedding
 *     paged_adamw_8bit    the same bits as that, in a map
 *
 * Learning rate and decay are each parameter's: Trainer's two groups, or LoRA+'s four
 * (optimizer_groups.c). Loshchilov and Hutter 2017, arXiv:1711.05101; Dettmers et al. 2022,
 * arXiv:2110.02861; formats.md 5 and 14.3. */
#ifndef NIB_TRAIN_OPTIMIZER_H
#define NIB_TRAIN_OPTIMIZER_H

#include "base/arena.h"
#include "base/dtype.h"
#include "base/pagefile.h"
#include "graph/param.h"
#include "kernel/kernels.h"
#include "nibble/finetune.h"
#include "train/plateau.h"

/* What is kept for one parameter. */
typedef struct nib_moments {
    bool eight_bit;
    double learning_rate, weight_decay; /* at the schedule's factor 1 */
    void *m, *v;                        /* float, or codes: the parameter's shape */
    float *m_absmax, *v_absmax;         /* of codes: one a block */
} nib_moments;

typedef struct nib_optimizer {
    nib_ctx *ctx;
    const nib_kernels *k;
    nib_params *params;     /* borrowed */
    bool eight_bit, paged;
    nib_adamw settings;     /* but for what changes from step to step */
    double beta1, beta2;
    nib_moments *moments;   /* one a parameter */
    nib_moment_maps *maps;  /* of 8-bit moments, or NULL */
    nib_arena arena;        /* the moments' memory: one of the two */
    nib_pagefile file;
    uint64_t step;
} nib_optimizer;

/* NIB_E_INVALID: an unknown `optim`, with the known ones; numbers of AdamW or LoRA+ out of range,
 * or of LoRA+ without its ratio. */
nib_status nib_optimizer_check(const nib_train_options *o, nib_error *err);
bool nib_optimizer_is_paged(const nib_train_options *o);

/* Bytes that nib_optimizer_init() takes; *paged: bytes of the map, which are not among them.  o:
 * checked. */
uint64_t nib_optimizer_bytes(const nib_params *params, const nib_train_options *o, uint64_t *paged);

/* page_dir: where the map's file is made, for paged forms.  o: checked. */
nib_status nib_optimizer_init(nib_ctx *ctx, const nib_kernels *k, nib_params *params,
                              const nib_train_options *o, const char *page_dir, nib_optimizer *out,
                              nib_error *err);
void nib_optimizer_free(nib_optimizer *o);

/* The norm of all gradients together, times `scale`. */
double nib_gradient_norm(const nib_kernels *k, const nib_params *params, double scale);

/* One update: rates times `factor` (the schedule's), gradients times `scale` (1 / supervised
 * tokens, and clipping).  Allocates nothing. */
void nib_optimizer_step(nib_optimizer *o, double factor, double scale);

/* Each group's rate becomes what a plateau lowers it to. */
void nib_optimizer_lower_rates(nib_optimizer *o, const nib_plateau *p);

/* The states as named tensors, for checkpoints: tensor i of nib_optimizer_states(), in a fixed
 * order. `data` may be written to unless `fixed`; with o->step they are all that an optimizer
 * remembers. */
typedef struct nib_optimizer_state {
    const nib_param *param;
    const char *name;        /* torch's "exp_avg", "exp_avg_sq", or bitsandbytes' "state1",
                              * "absmax1", "qmap1", ... */
    nib_dtype dtype;
    unsigned rank;
    uint64_t shape[2];
    void *data;
    size_t bytes;
    bool fixed;              /* a map of codes: what is read must be equal */
    bool scale;              /* an absmax: finite and not negative */
} nib_optimizer_state;

size_t nib_optimizer_states(const nib_optimizer *o);
nib_optimizer_state nib_optimizer_state_at(const nib_optimizer *o, size_t i);

/* --- for the optimizer's own files --- */

/* Settles learning_rate and weight_decay of a parameter (optimizer_groups.c). */
void nib_optimizer_group(const nib_train_options *o, const nib_param *p, nib_moments *m);
/* Lays all moments out from `base` on; the bytes they take.  moments and base may be NULL: only
 * counts. */
size_t nib_optimizer_layout(const nib_params *params, bool eight_bit, nib_moments *moments,
                            uint8_t *base);

#endif
