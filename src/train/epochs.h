/* epochs.h - which records make which micro-batch of which step: a function of the seed and the
 * step, so that a resumed run meets the records an uninterrupted one would have.
 *
 * A micro-batch is so many records, or with tokens_per_batch as many as have no more tokens
 * together (at least one).  The order of an epoch is the file's, torch's random one
 * (formats.md 14.4), or with group_by_length that of transformers' LengthGroupedSampler: a random
 * one, cut into pieces of 50 steps, each sorted by falling length, and the longest record of all
 * first.
 *
 * With `distinct` no two texts of a micro-batch are the same: records are taken in the epoch's
 * order, and one with a text that is there already waits for the next micro-batch, as in
 * sentence-transformers' NoDuplicatesBatchSampler. */
#ifndef NIB_TRAIN_EPOCHS_H
#define NIB_TRAIN_EPOCHS_H

#include "train/data.h"
#include "train/embedder.h"

typedef struct nib_epochs {
    nib_ctx *ctx;
    const nib_dataset *data;
    size_t batch, budget,
        accumulation; /* records of a micro-batch, or tokens; micro-batches of a step */
    bool shuffle, grouped;
    uint64_t seed;
    uint64_t steps, count;              /* of the run; epochs it begins */
    uint64_t *first_step; /* [count + 1], where epochs differ in their number of steps; else NULL */
    uint64_t per_epoch;                 /* steps of the first */
    size_t sequences, tokens, targets;  /* the most a micro-batch of the run has; of texts that are
                                           compared, a chunk of it (extent) */
    const nib_embedder *embedder;       /* of these, or NULL */
    nib_embedder_extent extent;
    bool distinct;
    uint32_t *next, *taken;             /* distinct: [epoch + 1] a list, [texts] micro-batches */
    uint32_t *order, *scratch;          /* [nib_dataset_epoch()] of the epoch at hand */
    uint32_t *starts;                   /* [micros + 1], of micro-batches in order */
    size_t micros;
    uint64_t at;                        /* the epoch at hand; UINT64_MAX: none */
} nib_epochs;

/* Lays out the whole run.  NIB_E_INVALID: no steps. */
nib_status nib_epochs_init(nib_ctx *ctx, const nib_dataset *data, const nib_train_options *o,
                           nib_epochs *out, nib_error *err);
/* The same of texts that are compared; `embedder` is not allocated yet and is borrowed. */
nib_status nib_epochs_init_compared(nib_ctx *ctx, const nib_embedder *embedder, bool distinct,
                                    const nib_train_options *o, nib_epochs *out, nib_error *err);
void nib_epochs_free(nib_epochs *e); /* zeroed is fine */

/* The epoch of a step (both from 0), and the epoch's first step; the run's last step + 1 begins
 * one. */
uint64_t nib_epochs_of(const nib_epochs *e, uint64_t step, uint64_t *first);
uint64_t nib_epochs_steps(const nib_epochs *e, uint64_t epoch); /* of an epoch of the run */
double nib_epochs_done(const nib_epochs *e, uint64_t steps); /* epochs, with the part of the last */

/* Records of micro-batch `micro` of a step: *order[0..returned); 0: the epoch's last step is
 * short. */
size_t nib_epochs_micro(nib_epochs *e, uint64_t step, uint64_t micro, const uint32_t **order);

#endif
