/* trainer.h - the loop: micro-batches, gradients, clipping, update, reports.
 *
 * Everything is allocated by nib_trainer_create(); a step allocates nothing.  The
 * gradients of a step's micro-batches are summed and divided once by the step's
 * supervised tokens, so 1 x 8 and 8 x 1 agree to rounding. */
#ifndef NIB_TRAIN_TRAINER_H
#define NIB_TRAIN_TRAINER_H

#include "graph/run.h"
#include "train/batch.h"
#include "train/epochs.h"
#include "train/optimizer.h"
#include "train/schedule.h"

typedef struct nib_trainer {
    nib_ctx *ctx;
    nib_graph *graph;
    nib_params *params;
    const nib_dataset *data;
    nib_train_options o;
    nib_epochs layout;
    uint64_t steps, epochs;     /* of the whole run; epochs begun */
    size_t longest;             /* record */
    nib_plan *plan;
    nib_run *run;
    nib_batch_maker maker;
    nib_embedder *embedder;     /* of texts that are compared, else NULL; borrowed */
    nib_optimizer optimizer;
    nib_schedule schedule;
    nib_plateau plateau; /* of reduce_lr_on_plateau, after the evaluations so far */
    nib_arena
        before; /* what was trained as it was before the last update: what a diverged run keeps */
    bool can_take_back;         /* `before` holds that, of an update made by this process */
    uint64_t step;              /* optimizer steps done */
    double loss_total;          /* of the steps' losses */
    uint64_t tokens_seen;       /* of the steps' batches */
    uint64_t records_seen;      /* by this process */
    double stop_seen;           /* when the wish to stop was first met within a step, or 0 */
    double last_loss;           /* of the step last done */
    bool loss_is_bad; /* after NIB_E_NUMERIC: the loss is not finite; else only the gradient */
    const char *bad_module;     /* where it became so */
} nib_trainer;

/* memory: bytes that the arenas may take; more with everything kept: whole layers are run
 * again (unless gradient_checkpointing forces either).  params may be empty of gradients.
 * page_dir: where a paged optimizer's file is made; NULL: such an optimizer is not made, nothing is
 * written, and only nib_trainer_trial() runs. */
nib_status nib_trainer_create(nib_ctx *ctx, nib_graph *graph, nib_params *params,
                              const nib_dataset *data, const nib_train_options *o, uint64_t memory,
                              const char *page_dir, nib_trainer **out, nib_error *err);
void nib_trainer_destroy(nib_trainer *t);

/* The two halves of it: all sizes, whether they fit `memory` or not; then the memory, without which
 * no step runs. */
nib_status nib_trainer_plan(nib_ctx *ctx, nib_graph *graph, nib_params *params,
                            const nib_dataset *data, const nib_train_options *o, uint64_t memory,
                            nib_trainer **out, nib_error *err);
/* The same of texts that are compared with each other; `embedder` is allocated by the trainer and
 * freed by who owns it.  distinct: no text twice in a micro-batch. */
nib_status nib_trainer_plan_compared(nib_ctx *ctx, nib_graph *graph, nib_params *params,
                                     nib_embedder *embedder, bool distinct,
                                     const nib_train_options *o, uint64_t memory,
                                     nib_trainer **out, nib_error *err);
uint64_t nib_trainer_bytes(const nib_trainer *t,
                           uint64_t *scratch); /* of activations; of scratch and tables */
nib_status nib_trainer_allocate(nib_trainer *t, const char *page_dir, nib_error *err);

/* Has the step last done ended an epoch? */
bool nib_trainer_epoch_ended(const nib_trainer *t);

/* Seconds of one micro-batch of the largest size, measured; changes nothing. */
double nib_trainer_trial(nib_trainer *t);

typedef struct nib_trainer_step {
    double loss, grad_norm, learning_rate, epoch;
    uint64_t tokens;
} nib_trainer_step;

/* One optimizer step.  NIB_E_INTERRUPTED: it took longer than 5 s after the wish to stop,
 * parameters are as before.  NIB_E_NUMERIC: the loss or a gradient is not finite, parameters are as
 * before. */
nib_status nib_trainer_run_step(nib_trainer *t, nib_trainer_step *out, nib_error *err);

/* An evaluation's metric: with reduce_lr_on_plateau it may lower the learning rates of the steps to
 * come; with another schedule nothing happens. */
void nib_trainer_judge(nib_trainer *t, double metric);

/* Parameters as they were before the last update, whose loss was finite, and `step` one less; the
 * optimizer's states stay.  false: nothing was changed, for the last update was not this process's
 * or is taken back already. */
bool nib_trainer_take_back(nib_trainer *t);

#endif
