/* merge.h - W0 + s B A into a dense model directory, one matrix at a time. */
#ifndef NIBBLE_MERGE_H
#define NIBBLE_MERGE_H

#include "nibble/context.h"
#include "nibble/model.h"

typedef struct nib_merge_options {
    const char *model, *adapter, *out;
    const char *dtype;       /* "bfloat16", "float32", or NULL: the model's */
    bool overwrite;
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_merge_options;

nib_status nib_merge(nib_ctx *ctx, const nib_merge_options *options, nib_error *err);

#endif
