/* plan.h - from a graph to a list of steps with fixed places in one arena.
 *
 * The plan writes down the whole training step: forward of each node, backward of each
 * node in reverse, and forward again where a value is cheaper to compute than to keep.
 * Each value then lives from the step that makes it to the step that last reads it, and
 * values that never live at the same time share memory.
 *
 * Recomputing gives the same bits as keeping. */
#ifndef NIB_GRAPH_PLAN_H
#define NIB_GRAPH_PLAN_H

#include "graph/graph.h"

typedef enum nib_plan_kind {
    NIB_PLAN_INFERENCE,   /* forward only */
    NIB_PLAN_KEEP,        /* training; products are kept, norms and gates computed again */
    NIB_PLAN_CHECKPOINT   /* training; only segment boundaries are kept */
} nib_plan_kind;

enum { NIB_NOWHERE = -1 };

/* One step: what to do with a node and where everything lies, as bytes into the arena. */
typedef struct nib_plan_step {
    int node;
    bool backward;
    int64_t in[NIB_MAX_INPUTS], out, side, d_out, d_in[NIB_MAX_INPUTS];
    bool accumulate[NIB_MAX_INPUTS];
} nib_plan_step;

typedef struct nib_plan {
    nib_plan_kind kind;
    size_t rows[NIB_MAX_AXES];    /* the most a batch may have */
    nib_plan_step *steps;
    size_t count, capacity;
    size_t first_backward;          /* count when there is none */
    size_t arena_bytes;
    size_t scratch_bytes;         /* but for nib_op.longest_scratch: nib_run_bytes() has all */
    int64_t hidden;                 /* where the final hidden rows lie after forward; of training
                                       where no head reads them */
    size_t logit_chunk;             /* rows of logits at a time */
} nib_plan;

/* rows: the most that a batch may have on each axis of the graph; routed ones are counted. */
nib_status nib_plan_create_rows(nib_graph *g, nib_plan_kind kind, const size_t rows[NIB_MAX_AXES],
                                nib_plan **out, nib_error *err);
/* The same for at most `tokens` tokens, `logit_rows` of which get logits.  Other axes have room for
 * as many rows as there are tokens. */
nib_status nib_plan_create(nib_graph *g, nib_plan_kind kind, size_t tokens, size_t logit_rows,
                           nib_plan **out, nib_error *err);
/* Sets the rows that follow from others: routed ones from those they are chosen for, those of a
 * table of distances from the tokens. */
void nib_plan_count_others(const nib_graph *g, size_t rows[NIB_MAX_AXES]);
void nib_plan_destroy(nib_ctx *ctx, nib_plan *plan);

#endif
