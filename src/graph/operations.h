/* operations.h - the operations, one op_*.c each. */
#ifndef NIB_GRAPH_OPERATIONS_H
#define NIB_GRAPH_OPERATIONS_H

#include "graph/graph.h"

extern const nib_op nib_op_embedding, nib_op_linear, nib_op_rms_norm, nib_op_layer_norm,
    nib_op_activate, nib_op_gate, nib_op_add, nib_op_scale, nib_op_rotate, nib_op_attention,
    nib_op_gather, nib_op_pool, nib_op_loss;

#endif
