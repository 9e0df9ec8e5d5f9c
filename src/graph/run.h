/* run.h - executing a plan on a batch. */
#ifndef NIB_GRAPH_RUN_H
#define NIB_GRAPH_RUN_H

#include "base/arena.h"
#include "graph/graph.h"
#include "graph/plan.h"
#include "graph/rope_tables.h"

struct nib_run {
    nib_ctx *ctx;
    const nib_graph *graph;
    const nib_kernels *k;
    const nib_backend *backend; /* computes the operations */
    const nib_plan *plan;
    nib_arena arena;         /* values and gradients, at the plan's offsets */
    nib_arena scratch;       /* of the operation that runs */
    nib_tables tables;       /* cosines and sines */
    size_t positions;        /* the most tokens of a sequence, those that its state holds among
                                them */
    uint64_t dropout_seed;   /* with training; of the noise too */
    double label_smoothing;  /* of the loss: the part of a target that goes to all tokens */
    double noise;            /* NEFTune's alpha: uniform noise on the embedding's output while
                              * training; 0: none */
    const float *given;      /* of a graph without a head: the gradient of its hidden states, [rows,
                                width], which a backward pass begins with */
    bool training;
    bool (*abandon)(void *user); /* asked between the operations of a step; NULL: never */
    void *abandon_user;
    /* Called after each operation, on the thread that runs, with what it read and made: of a
     * forward one io->in, [rows of the input's axis, width] of the compute type, or a view of such
     * rows, and io->out.  It must not touch the run; NULL: nobody. */
    void (*tap)(void *user, const nib_node *node, const nib_io *io, bool backward);
    void *tap_user;
    bool abandoned;          /* the last step was given up: gradients and loss mean nothing */
    const nib_batch *batch;
    double loss_sum;         /* over the batch's targets, after a training step or a loss */
    double loss_weight;      /* what its mean divides that by: the weights of the rows, times the
                                head's rows where each has an answer of its own */
    char bad_name[64];       /* what it returned, where the node has no module */
    int bad_node; /* first node whose output was not finite, found by nib_run_find_bad() */
};

/* Makes buffers for the plan, for sequences of at most `positions` tokens; NIB_E_UNSUPPORTED: the
 * model takes fewer. */
nib_status nib_run_create(nib_ctx *ctx, const nib_graph *g, const nib_plan *plan, size_t positions,
                          nib_run **out, nib_error *err);
void nib_run_destroy(nib_run *run);
/* What nib_run_create() will take for scratch and tables, besides the plan's arena. */
size_t nib_run_bytes(const nib_graph *g, const nib_plan *plan, size_t positions);

/* Forward and backward: adds the gradients of the summed loss to the parameters' gradients
 * and sets loss_sum and loss_weight.  Allocates nothing. */
void nib_run_step(nib_run *run, const nib_batch *batch);
/* Forward; afterwards the head may be read (readout.h), and the sequences' states
 * hold the batch's tokens too. */
void nib_run_forward(nib_run *run, const nib_batch *batch);
/* The backward half of a training step after nib_run_forward() with a plan for training, of which
 * nothing was touched since; begins with run->given.  nib_run_step() is both halves. */
void nib_run_backward(nib_run *run);
/* The segments [first, last) of an inference plan's forward pass.  What crosses the boundary before
 * `first` comes from `in`, what crosses the one before `last` goes to `out`, so that layers can be
 * run one at a time, as often as one likes, with the batch's values waiting elsewhere.  Nothing
 * crosses the graph's ends: NULL.  `out` may be `in`, or NULL: what crosses is not kept.  After the
 * last segment all is as after nib_run_forward(). */
void nib_run_range(nib_run *run, const nib_batch *batch, int first, int last, const void *in,
                   void *out);
/* The same from segment `first` up to `node`, which is not run: the tap sees what it reads, its
 * outputs hold nothing yet.  What it reads is in its place until the next run. */
void nib_run_until(nib_run *run, const nib_batch *batch, int first, const nib_node *node,
                   const void *in);
/* What crosses the boundary before `segment`: values made before it and read in it or later, in the
 * order in which they are made, each [rows of its axis, width] of its type without gaps. */
size_t nib_boundary_bytes(const nib_graph *g, const nib_batch *batch, int segment);
/* Runs forward again, looking for the first value that is not finite; its module or operation's
 * name. */
const char *nib_run_find_bad(nib_run *run, const nib_batch *batch);

/* Tokens of the longest sequence that a batch may have. */
static inline size_t nib_run_longest(const nib_run *run)
{
    return nib_min(run->plan->rows[NIB_TOKENS], run->positions);
}

static inline size_t nib_run_rows(const nib_run *run, nib_axis axis)
{
    return nib_batch_rows(run->graph, run->batch, axis);
}

#endif
