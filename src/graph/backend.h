/* backend.h - who computes a graph's operations.
 *
 * The graph, its plan and its states are made from descriptions alone (operations.h); a run
 * computes with the functions of one backend.  There is one, the processor's. */
#ifndef NIB_GRAPH_BACKEND_H
#define NIB_GRAPH_BACKEND_H

#include "graph/operations.h"

struct nib_backend {
    const char *name;
    const nib_op_functions *operations[NIB_OP_COUNT]; /* by nib_op.id */
};

extern const nib_backend nib_backend_cpu;

#endif
