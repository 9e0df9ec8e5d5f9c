/* rope_tables.h - cosines and sines of all positions, for each rope of a graph. */
#ifndef NIB_GRAPH_ROPE_TABLES_H
#define NIB_GRAPH_ROPE_TABLES_H

#include "base/arena.h"
#include "graph/graph.h"

enum { NIB_MAX_ROPES = 8 };

typedef struct nib_tables {
    size_t positions, count;
    const nib_rope *ropes[NIB_MAX_ROPES]; /* no two of one content */
    const float *cosines[NIB_MAX_ROPES];  /* [positions, rot / 2], then sines; then both of
                                             long_inv */
    nib_arena memory;
} nib_tables;

/* One rope's part.  Row t of `half` = rot / 2 values is of position t. */
typedef struct nib_rope_table {
    size_t half, positions;
    const float *cosines, *sines;
    size_t to_long;              /* values from these to the tables of long sequences, or 0 */
} nib_rope_table;

size_t nib_tables_bytes(const nib_graph *g, size_t positions);
/* NIB_E_NOMEM; NIB_E_UNSUPPORTED: more than NIB_MAX_ROPES. */
nib_status nib_tables_create(nib_ctx *ctx, const nib_graph *g, size_t positions, nib_tables *out,
                             nib_error *err);
void nib_tables_destroy(nib_ctx *ctx, nib_tables *t); /* zeroed is fine */
/* Of a rope that a node of the graph has. */
nib_rope_table nib_tables_of(const nib_tables *t, const nib_rope *rope);
/* The angles of position 1, [rot / 2], in a sequence longer than rope->grows_from (dynamic scaling
 * by NTK: formats.md 10.3). */
void nib_tables_grown(const nib_rope *rope, size_t length, double *inv);

#endif
