/* merge_measure.h - what a merge kept: survival in each matrix, losses, answers. */
#ifndef NIB_JOB_MERGE_MEASURE_H
#define NIB_JOB_MERGE_MEASURE_H

#include "job/merge_adapters.h"
#include "job/merge_answers.h"
#include "job/merge_verify.h"

typedef struct nib_merge_measured {
    nib_ctx *ctx;
    nib_model *base;           /* with the adapters; `own` where it was opened here */
    nib_model *own, *bare;     /* bare: without adapters, where these change modules themselves */
    nib_merge_adapters own_adapters;
    nib_model *merged;
    bool encodes;              /* the base is dense, and the adapter was trained on another form */
    nib_survivors survivors;
    nib_survival all;
    nib_merge_records records;
    bool verified;
    nib_merge_losses losses;
    nib_merge_answer answers[NIB_MERGE_ANSWERS];
    size_t answer_count;
} nib_merge_measured;

typedef struct nib_merge_measuring {
    nib_model *model;                 /* with the adapters in slot 0 */
    const nib_model_options *opened;  /* how it was opened */
    const nib_merge_adapter *list;
    const nib_merge_adapters *adapters;
    const nib_labels *labels;
    nib_held trained;                 /* what a dense model's linears were in training; or dense */
    const char *trained_on;           /* another directory that holds them so; or NULL */
    const char *merged;               /* the directory that was written */
    const char *verify;               /* or NULL */
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_merge_measuring;

/* Where a dense model's adapter was trained on a low-bit form, it is measured on that form: encoded
 * matrix by matrix, or with records loaded in it.  *out is freed after a failure too. */
nib_status nib_merge_measure(const nib_merge_measuring *m, nib_merge_measured *out, nib_error *err);
void nib_merge_measured_free(nib_merge_measured *m); /* a zeroed one is fine */

#endif
