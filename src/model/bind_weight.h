/* bind_weight.h - from a module path to its weight, whatever holds it: the file, or nothing yet. */
#ifndef NIB_MODEL_BIND_WEIGHT_H
#define NIB_MODEL_BIND_WEIGHT_H

#include "model/bind_stored.h"

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
