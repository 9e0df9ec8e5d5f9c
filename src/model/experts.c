/* experts.c - see experts.h. */
#include "model/experts.h"

#include <stdio.h>

const char *const nib_expert_names[3] = { "gate_proj", "up_proj", "down_proj" };
const nib_stack_names nib_expert_stacks = { .gate_up = "gate_up_proj", .down = "down_proj" };

static size_t read_experts(nib_reader *r, size_t fallback)
{
    static const char *const names[] = { "num_experts", "num_local_experts", "n_routed_experts" };
    size_t experts = 0;

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        size_t here = nib_read_has(r, names[i]) ? nib_read_size(r, names[i]) : 0;
        if (here && experts && here != experts)
            nib_read_fail(r, NIB_E_FORMAT, "%s is %zu, but another key says %zu experts", names[i],
                          here, experts);
        if (here) experts = here;
    }
    if (experts > 1 << 16)
        nib_read_fail(r, NIB_E_FORMAT, "%zu experts, expected at most %d", experts, 1 << 16);
    return experts ? experts : fallback;
}

void nib_read_route(nib_reader *r, nib_route_desc *route, size_t experts, size_t top)
{
    route->experts = read_experts(r, experts);
    route->top = nib_read_size_or(r, "num_experts_per_tok", top);
    if (!r->status && route->top > route->experts)
        nib_read_fail(r, NIB_E_FORMAT, "num_experts_per_tok is %zu of %zu experts", route->top,
                      route->experts);
    nib_read_has(r, "router_aux_loss_coef");
    if (nib_read_bool(r, "output_router_logits", false))
        nib_read_note(r, "output_router_logits asks for the routers' auxiliary loss, which is not "
                         "added to the loss of training");
}

void nib_read_sparse_layers(nib_reader *r, nib_moe *m)
{
    size_t step = nib_read_size_or(r, "decoder_sparse_step", 1), layers = m->m.layers, i;
    const json_t *dense = nib_read_any(r, "mlp_only_layers"), *item;
    bool *sparse;

    if (r->status) return;
    if (dense && !json_is_null(dense) && !json_is_array(dense)) {
        nib_read_fail(r, NIB_E_FORMAT, "mlp_only_layers is not a list");
        return;
    }
    m->sparse = sparse = nib_read_alloc(r, layers, sizeof *sparse);
    for (i = 0; sparse && i < layers; i++) sparse[i] = (i + 1) % step == 0;
    json_array_foreach(dense, i, item) {
        json_int_t layer = json_integer_value(item);
        if (!json_is_integer(item) || layer < 0 || layer >= (json_int_t)layers)
            nib_read_fail(r, NIB_E_FORMAT, "mlp_only_layers: expected layers below %zu", layers);
        else if (sparse) sparse[layer] = false;
    }
}

nib_value nib_apply_gated_experts(nib_build *b, const nib_moe *m, nib_experts e, int i, nib_value x,
                                  const char *experts, const char *const names[3])
{
    nib_expert_spec gate = { .part = names[0], .out = m->inner, .form = NIB_EXPERT_MODULES };
    nib_expert_spec up = { .part = names[1], .out = m->inner, .form = NIB_EXPERT_MODULES };
    nib_expert_spec down = { .part = names[2], .out = m->m.width, .form = NIB_EXPERT_MODULES };

    x = nib_dispatch(b, x, e);
    nib_value g = nib_apply_experts(b, x, e, gate, experts, i);
    nib_value u = nib_apply_experts(b, x, e, up, experts, i);
    x = nib_gate(b, g, u, m->m.activation);
    x = nib_apply_experts(b, x, e, down, experts, i);
    return nib_combine(b, x, e);
}

nib_value nib_apply_stacked_experts(nib_build *b, const nib_moe *m, nib_experts e, int i,
                                    nib_value x, const char *of, nib_stack_names names)
{
    nib_expert_spec both = { names.gate_up, 2 * m->inner, NIB_EXPERT_STACK,
                             .also = names.gate_up_also };
    nib_expert_spec back = { names.down, m->m.width, NIB_EXPERT_STACK, .also = names.down_also };

    if (names.apart) {
        both.apart[0] = names.apart[0];
        both.apart[1] = names.apart[1];
        back.apart[0] = names.apart[2];
    }
    x = nib_dispatch(b, x, e);
    x = nib_apply_experts(b, x, e, both, of, i);
    x = nib_gate(b, nib_columns_of(b, x, 0, m->inner), nib_columns_of(b, x, m->inner, m->inner),
                 m->m.activation);
    x = nib_apply_experts(b, x, e, back, of, i);
    return nib_combine(b, x, e);
}

nib_value nib_apply_shared_expert(nib_build *b, const nib_moe *m, int i, nib_value x,
                                  const char *of)
{
    char name[128];

    snprintf(name, sizeof name, of, i);
    nib_value gate = nib_apply_linear(b, x, m->shared, false, "%s.gate_proj", name);
    nib_value up = nib_apply_linear(b, x, m->shared, false, "%s.up_proj", name);
    x = nib_gate(b, gate, up, m->m.activation);
    return nib_apply_linear(b, x, m->m.width, false, "%s.down_proj", name);
}
