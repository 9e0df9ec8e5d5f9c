/* merge_check.h - merging into a directory that is looked at before it has its name. */
#ifndef NIB_JOB_MERGE_CHECK_H
#define NIB_JOB_MERGE_CHECK_H

#include "model/model.h"
#include "nibble/merge.h"

typedef struct nib_merge_check {
    /* `dir` holds all files; a failure leaves nothing of them.  m: with its adapter.  NULL: none */
    nib_status (*made)(void *self, nib_model *m, const char *dir, nib_error *err);
    void *self;
    bool features; /* the model is opened without a head */
} nib_merge_check;

nib_status nib_merge_checked(nib_ctx *ctx, const nib_merge_options *options, nib_merge_check check,
                             nib_error *err);

#endif
