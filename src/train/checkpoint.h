/* checkpoint.h - what a run needs, besides the adapter, to resume as if it had never stopped.
 *
 *     checkpoint-N/nibble_state.json       step, sums since the last log line, identity of the run,
 *                                          length and CRC-32C of the files below (written last)
 *     checkpoint-N/optimizer.safetensors   the optimizer's states, named PARAMETER.STATE
 *     checkpoint-N/trainer_state.json      as the Trainer writes it (trainer_state.h)
 *     checkpoint-N/adapter_*, README.md, tokenizer files: the adapter in PEFT's form
 *
 * The position in the data and the random numbers are functions of seed and step, so the step is
 * all that is kept of them; the schedule is a function of the step as well. */
#ifndef NIB_TRAIN_CHECKPOINT_H
#define NIB_TRAIN_CHECKPOINT_H

#include <jansson.h>

#include "train/trainer.h"
#include "train/trainer_state.h"

/* Sums since the last log line. */
typedef struct nib_log_window { double loss; uint64_t tokens, steps; } nib_log_window;

typedef struct nib_checkpoint {
    uint64_t step;
    double loss_total;
    uint64_t tokens_seen;
    nib_log_window window;
    bool evaluate_pending; /* interrupted before the step's evaluation was done */
    int64_t started;      /* seconds since 1970 of the run's first start */
    char *logging_dir;    /* of event files, or NULL */
    char *version, *isa;  /* that wrote it: other ones round otherwise */
    json_t *identity;     /* key -> value of everything that changes numbers */
} nib_checkpoint;

void nib_checkpoint_free(nib_ctx *ctx, nib_checkpoint *c); /* zeroed is fine */

/* Writes the three files into `dir`, where the adapter's files lie already.  version and isa are
 * filled in here.  c: borrowed. */
nib_status nib_checkpoint_write(nib_ctx *ctx, const char *dir, const nib_checkpoint *c,
                                const nib_trainer *t, const nib_trainer_state *s, nib_error *err);

/* Reads DIR/nibble_state.json and holds the files to it.  NIB_E_FORMAT: torn, or not one of
 * nibble's; NIB_E_IO: cannot be read.  *out is the caller's. */
nib_status nib_checkpoint_read(nib_ctx *ctx, const char *dir, nib_checkpoint *out, nib_error *err);
nib_status
nib_checkpoint_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where, json_t **root,
                     nib_checkpoint *out,
                     nib_error *err); /* without looking at files; *root: json_decref() */

/* Puts DIR's optimizer states, step and history into a trainer and a state.  NIB_E_MISMATCH:
 * tensors missing or of another shape.  The parameters' values are the adapter's affair. */
nib_status nib_checkpoint_restore(nib_ctx *ctx, const char *dir, const nib_checkpoint *c,
                                  nib_trainer *t, nib_trainer_state *s, nib_error *err);

/* The optimizer's states as DIR/optimizer.safetensors, and back. */
nib_status nib_checkpoint_write_optimizer(nib_ctx *ctx, const char *dir, const nib_optimizer *o,
                                          nib_error *err);
nib_status nib_checkpoint_read_optimizer(nib_ctx *ctx, const char *dir, nib_optimizer *o,
                                         uint64_t step, nib_error *err);

/* --- the checkpoints of an output directory --- */

/* The N of every directory checkpoint-N in `dir` (links left out), rising.  *out is the
 * caller's. */
nib_status nib_checkpoint_list(nib_ctx *ctx, const char *dir, uint64_t **out, size_t *count,
                               nib_error *err);

/* Deletes the oldest until `limit` are left (0: none is), never `newest` nor `best` (0: none). */
nib_status nib_checkpoint_prune(nib_ctx *ctx, const char *dir, int limit, uint64_t newest,
                                uint64_t best, nib_error *err);

/* Deletes all that nibble wrote and leaves another program's alone.  NIB_E_INVALID, and nothing
 * deleted, when one of those has an N up to `most`, which may be needed. */
nib_status nib_checkpoint_delete_all(nib_ctx *ctx, const char *dir, uint64_t most, nib_error *err);

#endif
