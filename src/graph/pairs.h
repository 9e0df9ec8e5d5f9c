/* pairs.h - where a factor of each channel can move between what makes a value and the linears that
 * read it, without a change of what the model computes (activation-aware quantization: Lin et al.
 * 2023, arXiv:2306.00978).
 *
 *     norm -> linears           y = x^ * w + b: w and b are divided, the columns multiplied
 *     v -> attention -> o       of as many heads of values as of queries: rows of v are divided
 *     up -> gated -> down       rows of up
 *     linear -> relu -> linear  rows of the first
 *
 * All that reads the value must be linears, or experts' linears behind a dispatch of it, so that a
 * router is among them where it reads the same; rows may have been picked on the way.  An
 * activation that is not homogeneous (GELU), an embedding and a sum have no place for a factor. */
#ifndef NIB_GRAPH_PAIRS_H
#define NIB_GRAPH_PAIRS_H

#include "graph/graph.h"

typedef struct nib_scale_pair {
    int value;              /* that is divided, before rows of it are picked or sent to experts */
    size_t width;           /* its channels */
    const nib_node *norm;   /* the node of the norm, or NULL: */
    const nib_node *before; /* the linear's, or the experts', expert by expert */
    size_t offset, heads, head_dim; /* channel h * head_dim + c of the value is its row */
    nib_heads layout;               /* offset + nib_head_at(layout, 0, h) + c */
} nib_scale_pair;

/* The value that a linear's node reads, before rows of it were picked or sent to experts. */
int nib_scale_value(const nib_graph *g, const nib_node *n);
/* Whether there is a place for factors of `value`. */
bool nib_scale_pair_find(const nib_graph *g, int value, nib_scale_pair *out);
static inline size_t nib_scale_pair_row(const nib_scale_pair *p, size_t channel)
{
    return p->offset + nib_head_at(p->layout, 0, channel / p->head_dim) + channel % p->head_dim;
}
/* Does what a linear's node makes become queries or keys, whose products are not linear in it? */
bool nib_makes_scores(const nib_graph *g, const nib_node *n);

#endif
