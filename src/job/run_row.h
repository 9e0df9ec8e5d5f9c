/* run_row.h - one training run as a JSON object, read from its output directory. */
#ifndef NIB_JOB_RUN_ROW_H
#define NIB_JOB_RUN_ROW_H

#include <jansson.h>

#include "train/trainer_state.h"

/* Is it the output directory of a run? */
bool nib_is_run(nib_ctx *ctx, const char *dir);
/* { "run": dir, "state", "step", "steps", "epoch", "loss", "train_loss", "eval_loss" and the other
 *   scores of the last evaluation, "seconds", "peak_memory_bytes", "settings": { key: text } }
 *
 * Of a run that is not finished all is that of its newest checkpoint; what is not known is left
 * out.  *out is the caller's.  NIB_E_FORMAT, NIB_E_IO, NIB_E_NOMEM. */
nib_status nib_run_row(nib_ctx *ctx, const char *dir, json_t **out, nib_error *err);
/* What it logged, up to the same step; empty where nothing is known yet.  *out is the caller's:
 * nib_trainer_state_free().  The same errors. */
nib_status nib_run_history(nib_ctx *ctx, const char *dir, nib_trainer_state *out, nib_error *err);

#endif
