/* merge_verify.h - a merged model against the base with the adapter, on records. */
#ifndef NIB_JOB_MERGE_VERIFY_H
#define NIB_JOB_MERGE_VERIFY_H

#include "job/merge_records.h"
#include "job/survival.h"

typedef struct nib_merge_sides {
    nib_model *adapter; /* the base, with the adapter in slot 0 */
    nib_model *base;    /* alone; NULL: `adapter` without that slot */
    nib_model *merged;
    void (*on_progress)(void *user, const char *what, double share); /* or NULL */
    void *user;
} nib_merge_sides;

/* Computes all three on all records; what the survivors' matrices read of the first
 * NIB_MERGE_TAPPED tokens is in their sums (survivors of `adapter`).  NIB_E_NUMERIC: a loss that is
 * not finite; NIB_E_INTERRUPTED. */
enum { NIB_MERGE_TAPPED = 2048 };
nib_status nib_merge_verify(nib_ctx *ctx, const nib_merge_sides *sides,
                            const nib_merge_records *records, nib_survivors *survivors,
                            nib_merge_losses *out, nib_error *err);

#endif
