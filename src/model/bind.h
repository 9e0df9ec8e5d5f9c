/* bind.h - from module paths to weights: what the graph's builder asks for. */
#ifndef NIB_MODEL_BIND_H
#define NIB_MODEL_BIND_H

#include "model/held.h"
#include "model/model.h"
#include "model/unused.h"

typedef struct nib_bind {
    nib_model *model;
    nib_held asked;              /* what dense linears of the layers are encoded in */
    nib_held experts;            /* and experts of one tensor; its rules are not its own */
    nib_model_progress progress;
    size_t expected;             /* linears in all, for the progress line */
    nib_claims *claims;          /* takes the tensors that were asked for */
    const nib_model_options *options; /* num_labels and head_seed; may be NULL */
    bool blank;                  /* without tensors (model/blank.h): */
    nib_dtype blank_dtype;       /* of what is not quantized */
} nib_bind;

/* Refuses tensors named M.weight.something that are no known pieces of a weight in the format that
 * config.json names: NIB_E_UNSUPPORTED with their names.  Before binding. */
nib_status nib_bind_check(const nib_bind *bind, nib_error *err);

nib_binder nib_bind_make(nib_bind *bind);

/* Tells the map how the bound weights will be read, once all are. */
void nib_bind_advise(const nib_bind *bind);

#endif
