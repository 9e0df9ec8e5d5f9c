/* module.h - the objects that own weights: linears, embeddings, norm vectors.
 *
 * A linear owns its weight, its bias and its adapters' branches; so does an embedding.
 * Adapters fill slots, they never rewrite the graph.  A batch names a slot for each
 * sequence; the linear works over runs of rows of equal slots. */
#ifndef NIB_GRAPH_MODULE_H
#define NIB_GRAPH_MODULE_H

#include "graph/branch.h"
#include "quant/weight.h"

typedef struct nib_linear {
    char *name;          /* module path: "model.layers.0.self_attn.q_proj" */
    nib_weight *weight;  /* [out, in]; over full->value when a full copy is trained */
    bool owns_weight;    /* false: tied to another module's */
    bool transposed;     /* dense files hold it as [in, out] */
    bool router;         /* it chooses experts: all-linear does not mean it */
    bool parameter;      /* no Linear of the reference: no target means it */
    bool of_head;        /* a part of a head: quantizing leaves it dense */
    bool bypassed;       /* PEFT refuses adapters of it: kernels read its weight past the module */
    char *stack;         /* the tensor of which it is slice `slice`, or NULL */
    char *stack_also;    /* its name in another version of the reference, or NULL */
    char *apart[2];      /* of a stack: the modules that hold its rows, one behind the other, in
                            files that have every expert apart; NULL: none, or one alone */
    const char *apart_sources[2]; /* where these files have: the modules' tensors of values or
                                     codes, borrowed; else NULL */
    size_t slice;
    nib_weight *frozen;  /* the model's own weight while an adapter's copy stands in `weight` */
    float *bias;         /* [out] or NULL; bias_param's value when it is trained */
    char *bias_name;     /* of its tensor; NULL: "<name>.bias" */
    float *frozen_bias;  /* likewise the model's own bias */
    nib_param *bias_param;
    nib_param *full;     /* modules_to_save */
    nib_param *rows;     /* trained in place of the weight's (quant/replaced.h): those of the tied
                            embedding */
    nib_branches branches;
} nib_linear;

typedef struct nib_embedding {
    char *name;
    nib_weight *weight;  /* [V, D] */
    bool owns_weight;
    bool has_padding;    /* torch's padding_idx: a trained copy's row `padding` gets no gradient */
    uint32_t padding;
    nib_weight *frozen;
    nib_param *full;
    nib_param *rows;     /* trainable_token_indices: trained in place of the weight's */
    nib_branches branches;
} nib_embedding;

/* Where a norm of heads has its weights. */
typedef enum nib_norm_weights {
    NIB_NORM_SHARED, /* <name>.weight [d] for all heads; of a whole row too */
    NIB_NORM_ROWS,   /* <name>.weight [heads, d] */
    NIB_NORM_GROUPS, /* <name>.weight [heads * d] */
    NIB_NORM_APART,  /* <name>.norms.<head>.weight [d] */
    NIB_NORM_SCALE,  /* <name>.scale [d] */
    NIB_NORM_BARE    /* nowhere: all are 1 */
} nib_norm_weights;

/* Weight (and bias) of a norm. */
typedef struct nib_norm {
    char *name;
    nib_norm_weights weights;
    size_t rows;          /* heads with a weight of their own; 0: one weight for all */
    size_t width;         /* numbers of the weight, those of all rows */
    float *weight, *bias; /* bias NULL for RMS norms; the parameters' values when trained */
    float *frozen_weight, *frozen_bias;
    nib_param *weight_param, *bias_param;
} nib_norm;

/* Channels that are normed together. */
static inline size_t nib_norm_channels(const nib_norm *n)
{
    return n->width / (n->rows ? n->rows : 1);
}

/* Learned numbers that are neither a bias nor a norm's: the taps of a convolution, the decays of a
 * recurrence, the sinks of an attention.  `width` counts them all. */
typedef struct nib_vector {
    char *name;
    size_t width;
    float *value;        /* the parameter's value when it is trained */
    float *frozen;       /* the model's own while an adapter's copy stands in `value` */
    nib_param *param;
} nib_vector;

/* Is any parameter of the module being trained? */
static inline bool nib_param_wants(const nib_param *p) { return p && p->wants_grad; }

static inline bool nib_linear_trains(const nib_linear *l)
{
    return nib_param_wants(l->full) || nib_param_wants(l->rows) || nib_param_wants(l->bias_param) ||
           nib_branches_train(&l->branches);
}

static inline bool nib_embedding_trains(const nib_embedding *e)
{
    return nib_param_wants(e->full) || nib_param_wants(e->rows) ||
           nib_branches_train(&e->branches);
}

static inline bool nib_norm_trains(const nib_norm *n)
{
    return nib_param_wants(n->weight_param) || nib_param_wants(n->bias_param);
}

static inline bool nib_vector_trains(const nib_vector *v) { return nib_param_wants(v->param); }

#endif
