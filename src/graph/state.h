/* state.h - what one sequence carries from token to token while generating: the keys and values of
 * each attention, and whatever other operations keep.
 *
 * A batch names a state for each sequence (nib_batch.states): its tokens come after those that the
 * state holds, and are held by it afterwards.  Sequences of one batch have states of their own, so
 * one is dropped, reset or added without touching another. */
#ifndef NIB_GRAPH_STATE_H
#define NIB_GRAPH_STATE_H

#include "base/arena.h"
#include "graph/graph.h"

#define NIB_UNMARKED SIZE_MAX

enum {
    NIB_STATE_ROWS = 512, /* the most rows of a sequence with a state in a batch */
    NIB_TAKEN_BACK = 64   /* tokens that can be forgotten where a window's older keys are dropped */
};

struct nib_state {
    nib_ctx *ctx;
    const nib_graph *graph;
    size_t capacity, tokens; /* room, and what is held */
    size_t reach;            /* the sequence is known to become at least so long; 0: nothing is */
    nib_arena memory;
    size_t *pieces;          /* [graph->state_count] where each operation's piece begins, */
    size_t *marks;           /* and where the copy of one that cannot be cut does (nib_op.folds) */
    size_t mark;             /* tokens at the mark; NIB_UNMARKED: there is none */
};

/* What a state for `capacity` tokens takes. */
size_t nib_state_bytes(const nib_graph *g, size_t capacity);
/* An empty one; the graph outlives it.  NIB_E_UNSUPPORTED: the graph cannot generate;
 * NIB_E_NOMEM. */
nib_status nib_state_create(nib_ctx *ctx, const nib_graph *g, size_t capacity, nib_state **out,
                            nib_error *err);
void nib_state_destroy(nib_state *s); /* NULL is fine */

/* Forgets everything.  What depends on the length of the sequence (longrope) follows `reach` where
 * that is more than the tokens so far; who reads a prompt in pieces sets it before the first. */
void nib_state_reset(nib_state *s);
/* Marks the tokens held now as those that nib_state_truncate() can go back to. */
void nib_state_mark(nib_state *s);
/* Forgets what came after the first `tokens` tokens, and where a recurrence cannot be cut there
 * what came after the mark, or everything; everything too where a window would need keys that were
 * dropped (never for the last NIB_TAKEN_BACK tokens).  The tokens held then: whoever wants the
 * others runs them again. */
size_t nib_state_truncate(nib_state *s, size_t tokens);
/* Makes `to` hold what `from` holds; both are of one graph, and `to` has room for it. */
void nib_state_copy(nib_state *to, const nib_state *from);

/* Whether an attention's state has the keys that the token after the first `tokens` sees. */
bool nib_attention_holds(const nib_state *s, const nib_node *n, size_t tokens);

/* The piece of a node whose operation has a state. */
static inline void *nib_state_piece(const nib_state *s, const nib_node *n)
{
    return s->memory.base + s->pieces[n->state_index];
}

/* The state of a sequence, or NULL. */
static inline nib_state *nib_batch_state(const nib_batch *b, size_t sequence)
{
    return b->states ? b->states[sequence] : NULL;
}

#endif
