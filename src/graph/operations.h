/* operations.h - the operations, one op_*.c each: a description (nib_op), which the builder and the
 * plan read, and apart from it the two functions that compute it on this machine. */
#ifndef NIB_GRAPH_OPERATIONS_H
#define NIB_GRAPH_OPERATIONS_H

#include "graph/graph.h"

/* Every operation once: its id is NIB_OP_<ID>, its description nib_op_<name>, its functions
 * nib_cpu_<name>. */
#define NIB_OPERATIONS(OPERATION)                                                              \
    OPERATION(EMBEDDING, embedding)                                                            \
    OPERATION(LINEAR, linear)                                                                  \
    OPERATION(RMS_NORM, rms_norm)                                                              \
    OPERATION(LAYER_NORM, layer_norm)                                                          \
    OPERATION(ACTIVATE, activate)                                                              \
    OPERATION(XIELU, xielu)                                                                    \
    OPERATION(GATE, gate)                                                                      \
    OPERATION(ADD, add)                                                                        \
    OPERATION(SCALE, scale)                                                                    \
    OPERATION(ROTATE, rotate)                                                                  \
    OPERATION(SINUSOID, sinusoid)                                                              \
    OPERATION(MASK_WORDS, mask_words)                                                          \
    OPERATION(AVERAGE, average)                                                                \
    OPERATION(MIX_NEAR, mix_near)                                                              \
    OPERATION(AFFINE, affine)                                                                  \
    OPERATION(WEIGH_KEYS, weigh_keys)                                                          \
    OPERATION(DISENTANGLED, disentangled)                                                      \
    OPERATION(ATTENTION, attention)                                                            \
    OPERATION(CONV, conv)                                                                      \
    OPERATION(SCAN, scan)                                                                      \
    OPERATION(WKV, wkv)                                                                        \
    OPERATION(GATHER, gather)                                                                  \
    OPERATION(POOL, pool)                                                                      \
    OPERATION(CHOOSE, choose)                                                                  \
    OPERATION(WEIGH, weigh)                                                                    \
    OPERATION(DISPATCH, dispatch)                                                              \
    OPERATION(EXPERTS, experts)                                                                \
    OPERATION(COMBINE, combine)                                                                \
    OPERATION(GATE_ROWS, gate_rows)                                                            \
    OPERATION(GATE_PAIRS, gate_pairs)                                                          \
    OPERATION(JOIN, join)                                                                      \
    OPERATION(DROPOUT, dropout)                                                                \
    OPERATION(LOSS, loss)                                                                      \
    OPERATION(GIVEN, given)

#define NIB_OPERATION_ID(ID, name) NIB_OP_##ID,
typedef enum nib_op_id { NIB_OPERATIONS(NIB_OPERATION_ID) NIB_OP_COUNT } nib_op_id;
#undef NIB_OPERATION_ID

#define NIB_OPERATION_DECLARE(ID, name)                                                        \
    extern const nib_op nib_op_##name;                                                         \
    extern const nib_op_functions nib_cpu_##name;
NIB_OPERATIONS(NIB_OPERATION_DECLARE)
#undef NIB_OPERATION_DECLARE

#endif
