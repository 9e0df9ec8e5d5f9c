/* distances.h - what an attention adds to a scaled score by how far the key stands behind the
 * query: T5's buckets, a number for each distance (Mega's "simple"), or two vectors turned by the
 * places of query and key (Mega's "rotary"), whose product is one of their distance alone. */
#ifndef NIB_GRAPH_DISTANCES_H
#define NIB_GRAPH_DISTANCES_H

#include "graph/graph.h"

static inline bool nib_has_distances(const nib_attention_desc *d)
{
    return d->buckets || d->by_distance || d->turned;
}

/* The number of a head for a key `distance` behind the query (before it: below 0). */
float nib_distance_number(const nib_attention_desc *d, size_t head, int64_t distance);

/* The row, counted from the middle, of a distance from key to query (i - j); it may lie beyond the
 * table's ends. */
int64_t nib_span_bucket(const nib_span *span, int64_t distance);
/* Rows on each side of the middle that a sequence of `length` tokens reaches. */
size_t nib_span_reach(const nib_span *span, size_t length);

#endif
