/* routes.h - which experts the rows of an axis chose: the value that op_route.c's choice makes and
 * that everything on the routed axis reads.
 *
 * With R = rows * times routed rows it is three arrays of R 32-bit numbers, one after the other.
 * Routed rows are sorted by expert, and those of an expert by the row that chose it; a row's
 * choices by expert.  So the rows of an expert lie together, those of a sequence within them. */
#ifndef NIB_GRAPH_ROUTES_H
#define NIB_GRAPH_ROUTES_H

#include "graph/rows.h"

enum { NIB_ROUTE_WORDS = 3 };

typedef struct nib_routes {
    uint32_t *from;   /* [R] the row that a routed row was made of */
    uint32_t *expert; /* [R] the expert that takes it */
    uint32_t *place;  /* [rows, times] the routed row of each choice */
    size_t rows, times;
} nib_routes;

/* `choices`: what node n reads as input i, or makes as its output when i is NIB_NONE. */
static inline nib_routes nib_routes_of(const nib_run *run, const nib_node *n, int i,
                                       const void *choices)
{
    const nib_value_info *info = &run->graph->values[i == NIB_NONE ? n->output : n->inputs[i]];
    nib_routes r = { .rows = nib_run_rows(run, info->axis),
                     .times = info->width / NIB_ROUTE_WORDS };
    size_t all = r.rows * r.times;

    r.from = (uint32_t *)(uintptr_t)choices;
    r.expert = r.from + all;
    r.place = r.expert + all;
    return r;
}

#endif
