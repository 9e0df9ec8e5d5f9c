/* merge_calibrated.h - a merged model that quantize calibrates: a dense one on the way. */
#ifndef NIB_JOB_MERGE_CALIBRATED_H
#define NIB_JOB_MERGE_CALIBRATED_H

#include "base/base.h"
#include "nibble/merge.h"

typedef struct nib_merge_calibrated {
    const nib_merge_options *options;
    const nib_setting *settings; /* of the format, all of them */
    const char *kept;            /* finished layers lie in KEPT.unfinished, and stay */
    nib_ctx *ctx;
    const char *dir;             /* where the result comes */
    char *dense, *packed;        /* inside it, meanwhile; removed with it after a failure */
} nib_merge_calibrated;

/* Makes c->dense in `dir`, where the dense model is to be written. */
nib_status nib_merge_calibrated_begin(nib_ctx *ctx, const char *dir, nib_merge_calibrated *c,
                                      nib_error *err);
/* Quantizes it into `dir`, and removes it.  Errors are quantize's. */
nib_status nib_merge_calibrated_end(nib_merge_calibrated *c, nib_merge_result *result,
                                    nib_error *err);
void nib_merge_calibrated_free(nib_merge_calibrated *c);

#endif
