/* merge_adapters.h - one adapter or the weighted sum of several, in slot 0 of a model. */
#ifndef NIB_JOB_MERGE_ADAPTERS_H
#define NIB_JOB_MERGE_ADAPTERS_H

#include "adapter/adapter.h"
#include "nibble/merge.h"

typedef struct nib_merge_adapters {
    nib_model *model;
    nib_adapter **items;
    size_t count;
    struct nib_joined *joined; /* where several, or a weight, made a branch anew */
    size_t joined_count, joined_capacity;
    nib_params params;         /* of these */
} nib_merge_adapters;

/* The adapters of the options, in order.  NIB_E_INVALID: more than there are
 * slots, both fields of them, or a weight that is 0 or not finite. */
nib_status nib_merge_adapters_listed(const nib_merge_options *o, nib_merge_adapter *only,
                                     const nib_merge_adapter **list, size_t *count,
                                     nib_error *err);
/* Opens them (merged: of a model that holds them, to take them out); what they are together then is
 * slot 0's branches: A and B of all, one behind the other, each A times its weight and scale.
 * NIB_E_UNSUPPORTED: biases or whole modules in another than the first, or with a weight. */
nib_status nib_merge_adapters_open(nib_model *m, const nib_merge_adapter *list, size_t count,
                                   bool merged, nib_merge_adapters *out, nib_error *err);
void nib_merge_adapters_close(nib_merge_adapters *a); /* a zeroed one is fine */

#endif
