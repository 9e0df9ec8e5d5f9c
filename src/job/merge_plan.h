/* merge_plan.h - what a merged directory holds: each tensor of the source, and what becomes of
 * it. */
#ifndef NIB_JOB_MERGE_PLAN_H
#define NIB_JOB_MERGE_PLAN_H

#include "adapter/adapter.h"

typedef enum nib_merge_kind {
    NIB_MERGE_COPY,   /* the source's values, converted */
    NIB_MERGE_WEIGHT, /* `weight` decoded, and `branch` added */
    NIB_MERGE_STACK,  /* `slices` of one tensor, each decoded and its branch added */
    NIB_MERGE_VECTOR, /* `values`: a bias or the weight of a norm that the adapter brings */
    NIB_MERGE_PACKED  /* as a weight, encoded: several tensors (merge_packed.h) */
} nib_merge_kind;

typedef struct nib_merge_item {
    nib_merge_kind kind;
    nib_tensor_plan plan;     /* name, type and shape in the new file */
    const nib_tensor *source; /* NULL: the source has none (a head that
                                 was tied, a new classifier) */
    const nib_linear *linear; /* whose tensor it is, also where that does not change; or NULL */
    const nib_weight *weight;
    const nib_branch *branch; /* or NULL */
    bool embedding;           /* the branch's A is [R, V], its B [D, R], the weight [V, D] */
    bool transposed;          /* the file holds the weight as [in, out] */
    const float *values;
    size_t first_row;         /* of the weight, in the tensor: it may hold a part of the rows */
    nib_linear *const *slices; /* plan.shape[0] linears; borrowed from the model */
} nib_merge_item;

/* Values of a row in the file. */
static inline size_t nib_merge_row_width(const nib_merge_item *item)
{
    return item->transposed ? item->weight->out : item->weight->in;
}

typedef struct nib_merge_plan {
    nib_merge_item *items;    /* in the order of the source */
    size_t count, capacity;
    char **names;             /* names that are not the source's */
    size_t name_count, name_capacity;
    bool untied;              /* head and embedding were one tensor and are two now */
    bool keeps_experts;       /* packed tensors of experts are copied: the adapter has none */
    nib_dtype dtype;          /* of the first linear: what config.json says */
    size_t widest;            /* columns of the widest weight */
} nib_merge_plan;

/* convert: every float tensor becomes `dtype`; else each keeps its own (a 4-bit one takes that of
 * its original).  Packed tensors of experts stay so unless they are converted or the adapter
 * changes one of them: then all become dense.
 * NIB_E_UNSUPPORTED: a tensor whose type cannot be written.  NIB_E_MISMATCH: a part
 * of a classifier that neither the files nor the adapter have.  Borrows from the model
 * and its adapter in slot 0. */
nib_status nib_merge_plan_make(nib_model *m, bool convert, nib_dtype dtype, nib_merge_plan *out,
                               nib_error *err);
/* Are tensors of a head that this task has not left out?  So in transformers where the task has a
 * head of its own, and here where a head beside features is packed, which a dense model's is
 * not. */
bool nib_merge_drops_head(const nib_model *m);
void nib_merge_plan_free(nib_ctx *ctx, nib_merge_plan *plan); /* a zeroed one is fine */

#endif
