/* merge_unmerge.h - what rounding left of an adapter that was added and taken out again. */
#ifndef NIB_JOB_MERGE_UNMERGE_H
#define NIB_JOB_MERGE_UNMERGE_H

#include "base/base.h"
#include "nibble/merge.h"

/* Compares the linears of the model in `dir` with those of `original`, which may be low-bit: sets
 * result->equal_again and change_left, and notes them.  NIB_E_MISMATCH: other matrices. */
nib_status nib_unmerge_compare(nib_ctx *ctx, const char *original, const char *dir,
                               nib_merge_result *result, nib_error *err);

#endif
