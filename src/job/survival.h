/* survival.h - what of an adapter survived in the matrices of a merged model. */
#ifndef NIB_JOB_SURVIVAL_H
#define NIB_JOB_SURVIVAL_H

#include "graph/run.h"
#include "job/survival_sums.h"
#include "model/model.h"

/* A matrix that the adapter changes. */
typedef struct nib_survivor {
    const char *name;          /* of its module; borrowed from the model */
    const nib_linear *linear;  /* whose it is in the base, or */
    const nib_embedding *embedding;
    nib_change change;
    nib_survival_sums sums;
} nib_survivor;

typedef struct nib_survivors {
    nib_ctx *ctx;
    nib_survivor *items;
    size_t count;
    const nib_form *trained;   /* encode the base in it, matrix by matrix; NULL: it is the base */
    const nib_model *base;
    const nib_run *run;        /* that is tapped */
    nib_status status;         /* of what a tap could not do */
    nib_error err;
    float *x;                  /* rows as floats, where they are not */
    size_t x_room;
} nib_survivors;

/* The matrices that the adapter in slot 0 of `base` changes, and what they are in `merged`, which
 * is the same model after a merge; both must outlive them.  Heads that `base` has not are none.
 * trained: the form that the linears of a dense `base` had while the adapter was trained, or NULL.
 * NIB_E_MISMATCH: a matrix that `merged` lacks or that has another shape. */
nib_status nib_survivors_list(const nib_model *base, const nib_model *merged,
                              const nib_form *trained, nib_survivors *out, nib_error *err);
void nib_survivors_free(nib_survivors *s); /* a zeroed one is fine */

/* Sums over single inputs, without samples. */
nib_status nib_survivors_of_weights(nib_survivors *s, nib_error *err);
/* Taps a run of `base`: after each forward pass and the call of nib_survivors_end_batch(), what the
 * matrices read is in the sums. */
void nib_survivors_tap(nib_survivors *s, nib_run *run);
nib_status nib_survivors_end_batch(nib_survivors *s, const nib_run *run, nib_error *err);

nib_survival nib_survivors_all(const nib_survivors *s);

#endif
