/* copy_directory.h - all of a model's directory but its weights and its config.json. */
#ifndef NIB_JOB_COPY_DIRECTORY_H
#define NIB_JOB_COPY_DIRECTORY_H

#include "base/base.h"

/* The files of `from`, the chat templates beside them, and folders with a config.json, as the
 * modules of sentence-transformers are.  Hidden files, weights (of other frameworks too, which do
 * not change with those that are written) and other folders stay behind; a note names folders and
 * other frameworks' weights. */
nib_status nib_copy_directory(nib_ctx *ctx, const char *from, const char *to, nib_error *err);

#endif
