/* readout.h - reading the head after a forward pass: logits of some rows, the loss, or what the
 * head reads.  No array of all logits exists. */
#ifndef NIB_GRAPH_READOUT_H
#define NIB_GRAPH_READOUT_H

#include "graph/run.h"

/* logits [r1 - r0, V] float of rows r0..r1 of the head's axis, at most the plan's logit_chunk at a
 * time.  Of sequences that have a state, logits are there to choose a token from: whether their
 * rows belong to a prompt or not, they are computed as those of generated tokens. */
void nib_run_logits(nib_run *run, size_t r0, size_t r1, float *logits);
/* logits [count] float of one row of a sequence with a state: those of the words `ids`, with the
 * bits that nib_run_logits() gives.  Only where the head has no branch in the row's slot. */
void nib_run_some_logits(nib_run *run, size_t row, const uint32_t *ids, size_t count,
                         float *logits);
/* The head's input of a row, or what a graph without one gives, of the compute type. */
const void *nib_run_hidden(const nib_run *run, size_t row);
/* Sets loss_sum and loss_weight, from the batch's targets. */
void nib_run_loss(nib_run *run);

#endif
