/* bind_weight.h - from a module path to its weight, whatever holds it: the file, or nothing yet. */
#ifndef NIB_MODEL_BIND_WEIGHT_H
#define NIB_MODEL_BIND_WEIGHT_H

#include "model/bind.h"

/* The part of a head's own tensor in a norm of NIB_NORM_APART. */
#define NIB_NORM_APART_PART ".norms.%zu.weight"

enum { NIB_BIND_NAME_ROOM = NIB_MODULE_NAME_ROOM };

/* The tensor module + part ("model.norm" ".weight"), whose whole name comes back in `name`; NULL:
 * absent, as all are without tensors. */
const nib_tensor *nib_bind_find(const nib_bind *b, const char *module, const char *part,
                                char name[NIB_BIND_NAME_ROOM]);

/* What is asked of a weight: its shape, and whether it is encoded while loading. */
typedef struct nib_bind_spec {
    size_t out, in;   /* of one that is not there; one that is has the file's, which the caller
                         checks */
    bool transposed;  /* a dense one lies in the file as [in, out] */
    bool quantizable; /* a format may hold it packed */
    bool stays_dense; /* though it is quantizable, it is not encoded here */
    const char *stack; /* the tensor of which it is slice `slice` of `slices`, or NULL */
    size_t slice, slices;
    bool head, embedding; /* what it is of */
} nib_bind_spec;

/* The weight of `module`, the caller's to destroy.  Counts it in the model's sums.
 * NIB_E_MISMATCH, NIB_E_UNSUPPORTED and NIB_E_FORMAT naming the tensor; NIB_E_INTERRUPTED. */
nib_status nib_bind_weight(nib_bind *b, const char *module, nib_bind_spec spec, nib_weight **w,
                           nib_error *err);
/* The weight of a linear as the file holds it, of one that was quantized while loading; the
 * caller's.  NIB_E_MISMATCH: no tensor is it (an expert's, which is a slice). */
nib_status nib_bind_original(nib_model *m, const nib_linear *l, nib_weight **w, nib_error *err);
/* Gives the pages of its tensor back to the map, where it has one. */
void nib_bind_release(const nib_model *m, const nib_linear *l);
/* Whether `module` has no weight of its own in the file, or one that decodes to the same values as
 * `w`: what a tied head must be. */
nib_status nib_bind_same(nib_bind *b, const char *module, const nib_weight *w, bool *same,
                         nib_error *err);

#endif
