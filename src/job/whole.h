/* whole.h - training a model's own parameters: all of them (full), or those of its head alone.
 *
 * They are an adapter's full copies without low-rank matrices, so checkpoints, resuming and
 * optimizers are those of adapters; what is written in the end is a model directory. */
#ifndef NIB_JOB_WHOLE_H
#define NIB_JOB_WHOLE_H

#include "adapter/adapter.h"
#include "train/labels.h"

/* The adapter's config; a head that is the embedding is trained with it, as one matrix.
 * NIB_E_UNSUPPORTED names what cannot be trained whole: packed weights, weights that lie otherwise
 * in the file. */
nib_status nib_whole_config(nib_ctx *ctx, const nib_model *m, bool full, nib_peft_config *config,
                            nib_error *err);
/* DIR/model.safetensors, every weight in float32 as it now is, those of parts that are not computed
 * (arch.h) as they were, and DIR/config.json.  prompt: how its prompts were made
 * (adapter/prompt_note.h), or NULL. */
nib_status nib_whole_save(const nib_model *m, const nib_labels *labels, const char *prompt,
                          const char *dir, nib_error *err);

#endif
