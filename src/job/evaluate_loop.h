/* evaluate_loop.h - the loss on held-out data in the course of a training run. */
#ifndef NIB_JOB_EVALUATE_LOOP_H
#define NIB_JOB_EVALUATE_LOOP_H

#include "graph/run.h"
#include "job/answered.h"
#include "job/compared.h"
#include "train/batch.h"

typedef struct nib_eval_loop {
    nib_ctx *ctx;
    const char *name;          /* of the data, for messages */
    nib_dataset *data;
    nib_graph *graph;
    nib_plan *plan;
    size_t tokens, targets, longest;
    nib_run *run;
    nib_batch_maker maker;
    uint32_t *order;
    nib_scorer scorer;         /* of records with labels */
    nib_answered answered;     /* of questions, in its place */
    float *logits;             /* [the plan's chunk, rows of the head] of these */
    size_t batch;
    bool grades;               /* numbers are a cross-encoder's, scored behind a sigmoid */
    nib_compared compared;     /* of texts that are compared, in place of all from graph on */
} nib_eval_loop;

/* Plans; takes `data` over, also on failure.  name is borrowed.  The buffers, beside those of
 * training, come with nib_eval_loop_allocate(), which does nothing for a zeroed one. */
nib_status nib_eval_loop_open(nib_ctx *ctx, nib_graph *graph, const char *name, nib_dataset *data,
                              size_t batch, nib_eval_loop *out, nib_error *err);
/* The same of texts that are compared (compared.h); corpus may be NULL. */
nib_status nib_eval_loop_open_compared(nib_ctx *ctx, nib_graph *graph, const nib_embedder *from,
                                       const char *name, nib_dataset *data, nib_dataset *corpus,
                                       size_t batch, nib_eval_loop *out, nib_error *err);
nib_status nib_eval_loop_allocate(nib_eval_loop *e, nib_error *err);
void nib_eval_loop_close(nib_eval_loop *e); /* zeroed is fine */
uint64_t nib_eval_loop_bytes(const nib_eval_loop *e); /* of its arenas */

/* *loss: the sum of the cross-entropies over the predicted tokens, divided by their number; batches
 * in the file's order, so that the sum has one order.  Changes no parameter.  NIB_E_INTERRUPTED,
 * NIB_E_NUMERIC (with the records and the module). */
nib_status nib_eval_loop_run(nib_eval_loop *e, double *loss, nib_error *err);
/* Seconds that a run takes, by its first batch.  0 for a zeroed one. */
double nib_eval_loop_trial(nib_eval_loop *e);
/* What else the last run measured; false: nothing, for the data has no answers but words.  scores
 * NULL: only asks. */
bool nib_eval_loop_scores(nib_eval_loop *e, nib_scores *scores);
size_t nib_eval_loop_records(const nib_eval_loop *e);
size_t nib_eval_loop_batches(const nib_eval_loop *e);

#endif
