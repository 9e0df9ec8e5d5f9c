/* module.h - the objects that own weights: linears, embeddings, norm vectors.
 *
 * A linear owns its weight, its bias and its adapter slots; so does an embedding.
 * Adapters fill slots, they never rewrite the graph.  A batch names a slot for each
 * sequence; the linear works over runs of rows of equal slots. */
#ifndef NIB_GRAPH_MODULE_H
#define NIB_GRAPH_MODULE_H

#include "graph/param.h"
#include "quant/weight.h"

enum { NIB_MAX_SLOTS = 64 };

/* One low-rank branch: y += scale * (dropout(x) A^T) B^T.  On an embedding A is [R, V]
 * and B [D, R]: y += scale * A[:, id] B^T. */
typedef struct nib_lora {
    nib_param *a, *b;    /* A [R, in], B [out, R] */
    float scale;
    float dropout;       /* of its input while training */
    uint32_t key;        /* random key of its dropout: a hash of the module's name */
} nib_lora;

typedef struct nib_linear {
    char *name;          /* module path: "model.layers.0.self_attn.q_proj" */
    nib_weight *weight;  /* [out, in]; over full->value when a full copy is trained */
    bool owns_weight;    /* false: tied to another module's */
    bool transposed;     /* dense files hold it as [in, out] */
    nib_weight *frozen;  /* the model's own weight while an adapter's copy stands in `weight` */
    float *bias;         /* [out] or NULL; bias_param's value when it is trained */
    float *frozen_bias;  /* likewise the model's own bias */
    nib_param *bias_param;
    nib_param *full;     /* modules_to_save */
    nib_lora slots[NIB_MAX_SLOTS];
    bool trains;         /* slot 0, the bias or the full copy is being trained */
} nib_linear;

typedef struct nib_embedding {
    char *name;
    nib_weight *weight;  /* [V, D] */
    bool owns_weight;
    nib_weight *frozen;
    nib_param *full;
    nib_lora slots[NIB_MAX_SLOTS];
    bool trains;
} nib_embedding;

/* Weight (and bias) of a norm. */
typedef struct nib_norm {
    char *name;
    size_t width;
    float *weight, *bias; /* bias NULL for RMS norms; the parameters' values when trained */
    float *frozen_weight, *frozen_bias;
    nib_param *weight_param, *bias_param;
    bool trains;
} nib_norm;

/* A learned vector that is neither a bias nor a norm's: the sinks of an attention. */
typedef struct nib_vector {
    char *name;
    size_t width;
    float *value;        /* the parameter's value when it is trained */
    float *frozen;       /* the model's own while an adapter's copy stands in `value` */
    nib_param *param;
    bool trains;
} nib_vector;

#endif
