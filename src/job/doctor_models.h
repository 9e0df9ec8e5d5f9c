/* doctor_models.h - which of the known small models fit this machine (known_models.h). */
#ifndef NIB_JOB_DOCTOR_MODELS_H
#define NIB_JOB_DOCTOR_MODELS_H

#include <jansson.h>

#include "base/base.h"

/* [{ "name", "parameters", "train_bytes", "train_fits", "train_hours", "answer_bytes",
 * "answer_fits", "answer_hours" }, ...]: hours for a million tokens, with weights in NF4 and their
 * scales quantized (training: LoRA of r 16 on all linears, records of NIB_DOCTOR_TOKENS tokens one
 * at a time; answering: texts as long).  The bytes are the plan's.  The hours are those of a trial
 * of the smallest model with random weights, in proportion to the work of training (layers that are
 * run again counted) and to the bytes that a token of an answer reads.  *out is the caller's.
 * NIB_E_IO: no room for a file in $TMPDIR; NIB_E_NOMEM; NIB_E_INTERRUPTED. */
enum { NIB_DOCTOR_TOKENS = 1024 };
nib_status nib_doctor_models(nib_ctx *ctx, json_t **out, nib_error *err);

#endif
