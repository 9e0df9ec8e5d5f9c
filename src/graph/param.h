/* param.h - a trained thing: value, gradient, name.  All float, row-major. */
#ifndef NIB_GRAPH_PARAM_H
#define NIB_GRAPH_PARAM_H

#include "base/base.h"

/* What a parameter is in PEFT's model: from it follow its rank in files, its weight decay, LoRA+'s
 * rate and whether 8-bit optimizers keep its states in 32 bits. */
typedef enum nib_param_kind {
    NIB_PARAM_LINEAR,
    NIB_PARAM_EMBEDDING, /* full copies of a weight */
    NIB_PARAM_LORA_A,
    NIB_PARAM_LORA_B,
    NIB_PARAM_LORA_EMBEDDING, /* A or B of an embedding's branch */
    NIB_PARAM_ROWS,           /* single rows of an embedding */
    NIB_PARAM_STORED, /* a weight that lies beside an adapter, frozen: saved again, not trained */
    NIB_PARAM_BIAS,
    NIB_PARAM_RMS_NORM,
    NIB_PARAM_LAYER_NORM, /* vectors; of a norm its weight */
    NIB_PARAM_MAGNITUDE   /* a vector, of a branch (DoRA) */
} nib_param_kind;

typedef struct nib_param {
    char *name;          /* as in the adapter's file */
    size_t rows, cols;   /* a vector has one row */
    float *value, *grad; /* [rows, cols]; inside the parameter list's blocks */
    nib_param_kind kind;
    bool wants_grad;     /* a training step adds to grad */
    bool apart;          /* of a module beside the model: an adapter's file does not hold it */
    bool across;         /* files hold it as [cols, rows] (GPT-2's Conv1D) */
} nib_param;

static inline size_t nib_param_count(const nib_param *p) { return p->rows * p->cols; }
static inline bool nib_param_is_trained(const nib_param *p) { return p->kind != NIB_PARAM_STORED; }
/* A or B of a branch. */
static inline bool nib_param_is_low_rank(const nib_param *p)
{
    return p->kind == NIB_PARAM_LORA_A || p->kind == NIB_PARAM_LORA_B ||
           p->kind == NIB_PARAM_LORA_EMBEDDING;
}
static inline bool nib_param_is_vector(const nib_param *p) { return p->kind >= NIB_PARAM_BIAS; }

/* The growing list of what is trained.  Values and gradients are one allocation each
 * parameter; the optimizer walks the list in its order. */
typedef struct nib_params {
    nib_param **items;
    size_t count, capacity;
} nib_params;

/* Makes a parameter with zero value and gradient, of kind NIB_PARAM_LINEAR; `name` is copied. NULL:
 * no memory. */
nib_param *nib_params_add(nib_ctx *ctx, nib_params *list, const char *name, size_t rows,
                          size_t cols);
void nib_params_free(nib_ctx *ctx, nib_params *list);
void nib_params_clear_grads(nib_params *list);

/* The values of what is trained, one after the other: their bytes, out to a copy of these, and
 * back. */
size_t nib_params_trained_bytes(const nib_params *list);
void nib_params_copy_out(const nib_params *list, uint8_t *copy);
void nib_params_copy_back(nib_params *list, const uint8_t *copy);

#endif
