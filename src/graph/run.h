/* run.h - executing a plan on a batch. */
#ifndef NIB_GRAPH_RUN_H
#define NIB_GRAPH_RUN_H

#include "base/arena.h"
#include "graph/graph.h"
#include "graph/plan.h"

struct nib_run {
    nib_ctx *ctx;
    const nib_graph *graph;
    const nib_kernels *k;
    const nib_plan *plan;
    nib_arena arena;         /* values and gradients, at the plan's offsets */
    nib_arena scratch;       /* of the operation that runs */
    nib_arena tables;        /* cosines and sines, [positions][rot / 2] twice */
    nib_arena state;         /* keys and values while generating */
    const nib_rope *rope;    /* that `tables` is of */
    size_t positions;
    size_t state_capacity, state_tokens; /* tokens the state has room for, and holds */
    uint64_t dropout_seed;   /* with training */
    bool training;
    bool (*abandon)(void *user); /* asked between the operations of a step; NULL: never */
    void *abandon_user;
    /* told after each operation; NULL: nobody */
    void (*watch)(void *user, const nib_node *node, bool backward);
    void *watch_user;
    bool abandoned;          /* the last step was given up: gradients and loss mean nothing */
    const nib_batch *batch;
    double loss_sum;         /* over the batch's targets, after a training step or a loss */
    char bad_name[64];       /* what it returned, where the node has no module */
    int bad_node; /* first node whose output was not finite, found by nib_run_find_bad() */
};

/* Fails with NIB_E_UNSUPPORTED when sequences of `positions` tokens are longer than the model takes. */
nib_status nib_graph_check_length(const nib_graph *g, size_t positions, nib_error *err);
/* Makes buffers for the plan and tables for its greatest position.  A state for `capacity`
 * tokens when generating (0: none). */
nib_status nib_run_create(nib_ctx *ctx, const nib_graph *g, const nib_plan *plan, size_t positions,
                          size_t state_capacity, nib_run **out, nib_error *err);
void nib_run_destroy(nib_run *run);
/* What nib_run_create() will take for scratch and tables, besides the plan's arena. */
size_t nib_run_bytes(const nib_graph *g, const nib_plan *plan, size_t positions,
                     size_t state_capacity);

/* Forward and backward: adds the gradients of the summed loss to the parameters' gradients
 * and sets loss_sum.  Allocates nothing. */
void nib_run_step(nib_run *run, const nib_batch *batch);
/* Forward; afterwards nib_run_logits() and nib_run_loss() may be called. */
void nib_run_forward(nib_run *run, const nib_batch *batch);
/* logits [r1 - r0, V] float of logit rows r0..r1 (at most the plan's logit chunk at a time). */
void nib_run_logits(nib_run *run, size_t r0, size_t r1, float *logits);
/* The head's input of a logit row, of the compute type. */
const void *nib_run_hidden(const nib_run *run, size_t row);
/* logits [count] float of one logit row: those of the words `ids`, with the bits that
 * nib_run_logits() gives a single row.  Only where the head has no adapter in the row's slot. */
void nib_run_some_logits(nib_run *run, size_t row, const uint32_t *ids, size_t count,
                         float *logits);
void nib_run_loss(nib_run *run); /* sets loss_sum */
/* Runs forward again, looking for the first value that is not finite; its module or operation's
 * name. */
const char *nib_run_find_bad(nib_run *run, const nib_batch *batch);
void nib_run_reset_state(nib_run *run);

static inline size_t nib_run_rows(const nib_run *run, nib_axis axis)
{
    bool one_each = run->graph->axes[axis].kind == NIB_AXIS_SEQUENCES;
    return one_each ? run->batch->sequences : run->batch->axes[axis].count;
}
const float *nib_run_cos(const nib_run *run, uint32_t position);
const float *nib_run_sin(const nib_run *run, uint32_t position);

#endif
