/* experts.h - what the families with experts have in common: keys, and the layer of them. */
#ifndef NIB_MODEL_EXPERTS_H
#define NIB_MODEL_EXPERTS_H

#include "graph/build_experts.h"
#include "model/arch_llama.h"

typedef struct nib_moe {
    nib_llama m;          /* first: its functions are given it */
    const bool *sparse;   /* [layers] has experts; NULL: all have */
    nib_route_desc route;
    size_t inner;         /* of an expert */
    size_t shared;        /* of the expert that every token goes to; 0: none */
} nib_moe;

/* num_experts_per_tok and the number of experts, under whichever of its names it is there:
 * num_experts, num_local_experts, n_routed_experts (formats.md 10.30).  Notes that the auxiliary
 * loss is not trained with, where the config asks for it. */
void nib_read_route(nib_reader *r, nib_route_desc *route, size_t experts, size_t top);
/* Qwen's mlp_only_layers and decoder_sparse_step. */
void nib_read_sparse_layers(nib_reader *r, nib_moe *m);

/* x through the experts that `e` says, each a gate_proj, an up_proj and a down_proj, or the names
 * given in this order, under M.0, M.1, ...; `experts` makes M of the layer's number. */
nib_value nib_apply_gated_experts(nib_build *b, const nib_moe *m, nib_experts e, int i, nib_value x,
                                  const char *experts, const char *const names[3]);
/* The same where gate and up, in this order, are the rows of one tensor of all experts
 * [experts, 2 inner, width], and down another: their names in M, and in another version of the
 * reference, or NULL.  apart: gate, up and down of each expert in files that have them so, or
 * NULL. */
typedef struct nib_stack_names {
    const char *gate_up, *down, *gate_up_also, *down_also;
    const char *const *apart;
} nib_stack_names;
nib_value nib_apply_stacked_experts(nib_build *b, const nib_moe *m, nib_experts e, int i,
                                    nib_value x, const char *of, nib_stack_names names);
extern const nib_stack_names nib_expert_stacks; /* gate_up_proj, down_proj */
/* The expert that every token goes to, of width m->shared, under the module that `of` makes. */
nib_value nib_apply_shared_expert(nib_build *b, const nib_moe *m, int i, nib_value x,
                                  const char *of);
extern const char *const nib_expert_names[3]; /* gate_proj, up_proj, down_proj */

#endif
