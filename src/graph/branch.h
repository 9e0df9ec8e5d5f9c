/* branch.h - low-rank branches of a module, by adapter slot.
 *
 *     linear      y += scale * (dropout(x) A^T) B^T     A [R, in]   B [out, R]
 *     embedding   y += scale * A[:, id] B^T             A [R, V]    B [D, R]
 *
 * With magnitudes (DoRA, graph/magnitude.h) what comes out is multiplied by a gain, channel by
 * channel.
 *
 * A module has a branch for each slot in use and a small table of them, which ends with the last
 * one.  Source: Hu et al. 2021, arXiv:2106.09685, eq. 3. */
#ifndef NIB_GRAPH_BRANCH_H
#define NIB_GRAPH_BRANCH_H

#include "graph/param.h"

enum { NIB_MAX_SLOTS = 64 };

typedef struct nib_branch {
    nib_param *a, *b;
    float scale;
    float dropout; /* of its input while training */
    uint32_t key;  /* random key of its dropout: a hash of the module's name */
    nib_param *magnitude; /* [channels] of what comes out, or NULL: plain LoRA */
    float *norms;         /* with magnitudes [3, channels]: of the columns or rows of W + scale B A,
                             gains, gains - 1; as nib_magnitude_measure() left them */
} nib_branch;

/* The gains of a branch with magnitudes, and what they are more than 1. */
static inline const float *nib_branch_gains(const nib_branch *b)
{
    return b->norms + nib_param_count(b->magnitude);
}
static inline const float *nib_branch_excess(const nib_branch *b)
{
    return b->norms + 2 * nib_param_count(b->magnitude);
}

typedef struct nib_branches {
    nib_branch **slots; /* [count], NULL where a slot has none here */
    unsigned count;
} nib_branches;

/* The branch of a slot, or NULL; any number will do as a slot, NIB_NO_SLOT too. */
static inline nib_branch *nib_branch_at(const nib_branches *table, unsigned slot)
{
    return slot < table->count ? table->slots[slot] : NULL;
}

/* Makes an empty branch for a slot below NIB_MAX_SLOTS that has none; it belongs to the table.
 * NULL: no memory. */
nib_branch *nib_branch_add(nib_ctx *ctx, nib_branches *table, unsigned slot);
/* Ends the branch of a slot; a slot without one is fine.  The last one takes the table along. */
void nib_branch_remove(nib_ctx *ctx, nib_branches *table, unsigned slot);

size_t nib_branches_rank(const nib_branches *table); /* the greatest; 0 without branches */
bool nib_branches_train(const nib_branches *table);  /* does any of them want gradients? */
bool nib_branches_drop(const nib_branches *table);   /* has any of them dropout? */
bool nib_branches_measure(const nib_branches *table); /* has any of them magnitudes? */

#endif
