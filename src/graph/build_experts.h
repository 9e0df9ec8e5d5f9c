/* build_experts.h - layers of experts: choose and weigh, dispatch, the experts' linears, combine.
 *
 *     nib_experts e = nib_route(b, logits, &route);
 *     nib_value h = nib_dispatch(b, x, e);
 *     nib_value gate = nib_apply_experts(b, h, e, (nib_expert_spec){ "gate_proj", I }, "...");
 *     ...
 *     x = nib_combine(b, down, e);
 *
 * Between dispatch and combine values live on an axis of routed rows, and everything that works row
 * by row may stand there. */
#ifndef NIB_GRAPH_BUILD_EXPERTS_H
#define NIB_GRAPH_BUILD_EXPERTS_H

#include "graph/build.h"

/* Which experts the rows chose, and with which weights [rows, top]. */
typedef struct nib_experts {
    nib_value choices, weights;
    nib_route_desc route;
} nib_experts;

/* logits [rows, experts] of a router. */
nib_experts nib_route(nib_build *b, nib_value logits, const nib_route_desc *d);
/* A router: a Linear of the reference, which all-linear nevertheless leaves out. */
nib_value nib_apply_router(nib_build *b, nib_value x, size_t experts, const char *format, ...)
    NIB_PRINTF(4, 5);
/* A router that is a bare parameter of the reference, with a bias or without. */
nib_value nib_apply_bare_router(nib_build *b, nib_value x, size_t experts, bool bias,
                                const char *format, ...) NIB_PRINTF(5, 6);
/* Logits of a linear that only a router reads, in float whatever the compute type; their gradient
 * has the compute type. */
nib_value nib_wide_logits(nib_build *b, nib_value logits);
/* x [rows, D] -> [rows * top, D], the rows of an expert one after another. */
nib_value nib_dispatch(nib_build *b, nib_value x, nib_experts e);

/* How the files hold the matrices of the experts. */
typedef enum nib_expert_form {
    NIB_EXPERT_MODULES,    /* M.0.part, M.1.part, ...: a Linear each */
    NIB_EXPERT_STACK,      /* one tensor [experts, out, in] of the name M.part */
    NIB_EXPERT_STACK_IN_OUT /* the same, [experts, in, out] */
} nib_expert_form;

typedef struct nib_expert_spec {
    const char *part;
    size_t out;
    nib_expert_form form;
    const char *bias; /* of a stack: M.bias [experts, out]; NULL: none */
    const char *also; /* of a stack: the part's name in another version of the reference, or NULL */
    const char *apart[2]; /* of a stack: the parts M.0.apart that hold its rows, one behind the
                             other, in files that have every expert apart; or NULL */
} nib_expert_spec;

/* The linear `part` of every expert; format makes M. */
nib_value nib_apply_experts(nib_build *b, nib_value x, nib_experts e, nib_expert_spec spec,
                            const char *format, ...) NIB_PRINTF(5, 6);
/* Rows times their weights, summed over the choices of each row: back to the axis of the logits. */
nib_value nib_combine(nib_build *b, nib_value y, nib_experts e);
/* sigmoid(z) x, z [rows, 1]: how much a shared expert counts. */
nib_value nib_gate_rows(nib_build *b, nib_value x, nib_value z);
/* gpt_oss's gate of x [rows, 2 I], gate and up neighbours, neither beyond the limit: [rows, I]. */
nib_value nib_gate_pairs(nib_build *b, nib_value x, float limit);

#endif
