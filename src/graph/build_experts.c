/* build_experts.c - see build_experts.h. */
#include "graph/build_experts.h"

#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"
#include "graph/routes.h"

static const nib_value nothing = { NIB_NONE };

/* Matrices of experts in a graph, far above any model's: each costs memory before a tensor is
 * looked at. */
enum { MOST_MATRICES = 1 << 20 };

static const nib_axis_info *axis_of(const nib_build *b, nib_value v)
{
    return &b->graph->axes[nib_info_of(b, v)->axis];
}

/* --- axes --- */

static nib_axis find_routed(const nib_graph *g, nib_axis parent, size_t times)
{
    for (size_t a = 0; a < g->axis_count; a++)
        if (g->axes[a].kind == NIB_AXIS_ROUTED && g->axes[a].parent == parent &&
            g->axes[a].times == times)
            return (nib_axis)a;
    return NIB_NONE;
}

/* The axis of the routed rows of tokens, and at once that of logit rows: picking may sink through
 * experts (sink.c). */
static nib_axis routed_axis(nib_build *b, size_t times)
{
    static const nib_axis parents[] = { NIB_LOGIT_ROWS, NIB_TOKENS };
    nib_graph *g = b->graph;

    for (size_t i = 0; i < NIB_COUNT(parents); i++) {
        if (find_routed(g, parents[i], times) != NIB_NONE) continue;
        if (g->axis_count == NIB_MAX_AXES) {
            nib_build_fail(b, NIB_E_UNSUPPORTED, "axis routed rows: a graph has at most %d axes",
                           NIB_MAX_AXES);
            return NIB_TOKENS;
        }
        g->axes[g->axis_count++] = (nib_axis_info){ .name = "routed rows",
                                                       .kind = NIB_AXIS_ROUTED,
                                                       .parent = parents[i], .times = times };
    }
    return find_routed(g, NIB_TOKENS, times);
}

/* --- routing --- */

static void check_route(nib_build *b, nib_value logits, const nib_route_desc *d)
{
    if (nib_info_of(b, logits)->width != d->experts)
        nib_build_fail(b, NIB_E_MISMATCH, "router: %zu logits for %zu experts",
                       nib_info_of(b, logits)->width, d->experts);
    if (nib_info_of(b, logits)->axis != NIB_TOKENS)
        nib_build_fail(b, NIB_E_UNSUPPORTED, "router of %s, expected tokens",
                       axis_of(b, logits)->name);
    if (d->top < 1 || d->top > d->experts)
        nib_build_fail(b, NIB_E_FORMAT, "router: %zu of %zu experts for each token", d->top,
                       d->experts);
    if (d->groups && (d->experts % d->groups || d->top_groups < 1 || d->top_groups > d->groups ||
                      d->top > d->top_groups * (d->experts / d->groups) ||
                      (d->group_pairs && d->experts / d->groups < 2)))
        nib_build_fail(b, NIB_E_FORMAT,
                       "router: %zu experts of the best %zu of %zu groups, of %zu experts in all",
                       d->top, d->top_groups, d->groups, d->experts);
    if (d->gains && d->gains->width != d->experts)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: [%zu], expected one for each of %zu experts",
                       d->gains->name, d->gains->width, d->experts);
    if (d->bias && d->bias->width != d->experts)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: [%zu], expected one for each of %zu experts",
                       d->bias->name, d->bias->width, d->experts);
}

nib_experts nib_route(nib_build *b, nib_value logits, const nib_route_desc *d)
{
    nib_experts e = { nothing, nothing, *d };
    nib_node node = { .op = &nib_op_choose, .route = *d, .inputs = { logits.id },
                      .input_count = 1 };

    if (!nib_build_is_plain(b, logits, "router")) return e;
    check_route(b, logits, d);
    e.choices = nib_build_node(b, node, NIB_TOKENS, NIB_ROUTE_WORDS * d->top, 0);
    if (b->status) return e;
    b->graph->values[e.choices.id].dtype = NIB_U32;
    node.op = &nib_op_weigh;
    node.inputs[1] = e.choices.id;
    node.input_count = 2;
    e.weights = nib_build_node(b, node, NIB_TOKENS, d->top, 0);
    return e;
}

nib_value nib_apply_router(nib_build *b, nib_value x, size_t experts, const char *format, ...)
{
    char name[NIB_NAME_ROOM];
    va_list args;
    bool good;

    va_start(args, format);
    good = nib_build_name(b, name, format, args);
    va_end(args);
    return good ? nib_build_linear(b, x, (nib_linear_spec){ .out = experts, .router = true }, name)
                : nothing;
}

nib_value nib_apply_bare_router(nib_build *b, nib_value x, size_t experts, bool bias,
                                const char *format, ...)
{
    nib_linear_spec spec = { .out = experts, .bias = bias, .router = true, .parameter = true };
    char name[NIB_NAME_ROOM];
    va_list args;
    bool good;

    va_start(args, format);
    good = nib_build_name(b, name, format, args);
    va_end(args);
    return good ? nib_build_linear(b, x, spec, name) : nothing;
}

nib_value nib_wide_logits(nib_build *b, nib_value logits)
{
    if (!b->status) b->graph->values[logits.id].dtype = NIB_F32;
    return logits;
}

/* --- on routed rows --- */

/* A value of the rows that chose is given to op, on the routed axis. */
static bool fits(nib_build *b, nib_value x, nib_experts e, bool routed, const char *what)
{
    nib_axis wanted;

    if (!nib_build_is_plain(b, x, what)) return false;
    wanted = routed ? find_routed(b->graph, nib_info_of(b, e.choices)->axis, e.route.top)
                    : nib_info_of(b, e.choices)->axis;
    if (nib_info_of(b, x)->axis == wanted) return true;
    nib_build_fail(b, NIB_E_MISMATCH, "%s of %s, expected %s", what, axis_of(b, x)->name,
                   routed ? "routed rows" : axis_of(b, e.choices)->name);
    return false;
}

nib_value nib_dispatch(nib_build *b, nib_value x, nib_experts e)
{
    nib_axis axis = b->status ? NIB_TOKENS : routed_axis(b, e.route.top);

    if (!fits(b, x, e, false, "dispatch")) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_dispatch, .route = e.route,
                                         .inputs = { x.id, e.choices.id }, .input_count = 2 },
                          axis, nib_info_of(b, x)->width, 0);
}

/* "of.i.part", the module of one expert; NULL: there is no such part. */
static const char *name_apart(char room[NIB_NAME_ROOM], const char *of, size_t i, const char *part)
{
    if (part) snprintf(room, NIB_NAME_ROOM, "%s.%zu.%s", of, i, part);
    return part ? room : NULL;
}

/* The linear of expert `i`, whose module path begins with `of`. */
static nib_linear *bind_expert(nib_build *b, const char *of, nib_expert_spec spec, size_t in,
                               size_t i, size_t count)
{
    nib_linear_spec linear = { .out = spec.out, .in = in, .slice = i, .slices = count };
    char name[NIB_NAME_ROOM], stack[NIB_NAME_ROOM], bias[NIB_NAME_ROOM], also[NIB_NAME_ROOM];
    char apart[2][NIB_NAME_ROOM];
    bool stacked = spec.form != NIB_EXPERT_MODULES;

    if (stacked) snprintf(name, sizeof name, "%s.%s.%zu", of, spec.part, i);
    else name_apart(name, of, i, spec.part);
    snprintf(stack, sizeof stack, "%s.%s", of, spec.part);
    snprintf(bias, sizeof bias, "%s.%s", of, spec.bias ? spec.bias : "");
    snprintf(also, sizeof also, "%s.%s", of, spec.also ? spec.also : "");
    if (stacked) {
        linear.stack = stack;
        linear.stack_also = spec.also ? also : NULL;
        linear.stack_bias = spec.bias ? bias : NULL;
        linear.bias = spec.bias != NULL;
        for (int k = 0; k < 2; k++) linear.apart[k] = name_apart(apart[k], of, i, spec.apart[k]);
        linear.parameter = true;
        linear.transposed = spec.form == NIB_EXPERT_STACK_IN_OUT;
    }
    return nib_build_bind(b, name, linear);
}

/* The same linear of all experts, in an array that will be the graph's; NULL after an error. */
static nib_linear **bind_experts(nib_build *b, const char *of, nib_expert_spec spec, size_t in,
                                 size_t count)
{
    nib_linear **experts;

    b->matrices += count;
    if (b->matrices > MOST_MATRICES) {
        nib_build_fail(b, NIB_E_FORMAT, "absurd sizes: more than %d matrices of experts",
                       MOST_MATRICES);
        return NULL;
    }
    experts = nib_new_array(b->graph->ctx, count, sizeof *experts);
    if (!experts) {
        nib_build_fail(b, NIB_E_NOMEM, "%s: out of memory", of);
        return NULL;
    }
    for (size_t i = 0; i < count && !b->status; i++)
        experts[i] = bind_expert(b, of, spec, in, i, count);
    if (!b->status) return experts;
    nib_free(b->graph->ctx, experts);
    return NULL;
}

nib_value nib_apply_experts(nib_build *b, nib_value x, nib_experts e, nib_expert_spec spec,
                            const char *format, ...)
{
    nib_node node = { .op = &nib_op_experts, .route = e.route, .inputs = { x.id, e.choices.id },
                      .input_count = 2 };
    char name[NIB_NAME_ROOM / 2]; /* room for what follows it */
    va_list args;
    nib_value y;

    if (!fits(b, x, e, true, "experts")) return nothing;
    va_start(args, format);
    if (vsnprintf(name, sizeof name, format, args) >= (int)sizeof name)
        nib_build_fail(b, NIB_E_INVALID, "module name longer than %zu: %.60s...", sizeof name,
                       name);
    va_end(args);
    if (!b->status)
        node.experts = bind_experts(b, name, spec, nib_info_of(b, x)->width, e.route.experts);
    if (b->status) return nothing;
    y = nib_build_node(b, node, nib_info_of(b, x)->axis, spec.out, 1);
    if (b->status) nib_free(b->graph->ctx, node.experts); /* no node has it */
    return y;
}

nib_value nib_combine(nib_build *b, nib_value y, nib_experts e)
{
    if (!fits(b, y, e, true, "combine")) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_combine, .route = e.route,
                                         .inputs = { y.id, e.weights.id, e.choices.id },
                                         .input_count = 3 },
                          nib_info_of(b, e.choices)->axis, nib_info_of(b, y)->width, 0);
}

nib_value nib_gate_rows(nib_build *b, nib_value x, nib_value z)
{
    if (!nib_build_is_plain(b, x, "gate of rows") || !nib_build_is_plain(b, z, "gate of rows"))
        return nothing;
    if (nib_info_of(b, z)->width != 1 || nib_info_of(b, z)->axis != nib_info_of(b, x)->axis) {
        nib_build_fail(b, NIB_E_MISMATCH, "gate of rows: %zu channels of %s for %s",
                       nib_info_of(b, z)->width, axis_of(b, z)->name, axis_of(b, x)->name);
        return nothing;
    }
    return nib_build_node(b, (nib_node){ .op = &nib_op_gate_rows, .inputs = { x.id, z.id },
                                         .input_count = 2 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

nib_value nib_gate_pairs(nib_build *b, nib_value x, float limit)
{
    if (!nib_build_is_plain(b, x, "gate of neighbours")) return nothing;
    if (nib_info_of(b, x)->width % 2) {
        nib_build_fail(b, NIB_E_MISMATCH, "gate of neighbours: %zu channels, expected pairs",
                       nib_info_of(b, x)->width);
        return nothing;
    }
    return nib_build_node(b, (nib_node){ .op = &nib_op_gate_pairs, .scale = limit,
                                         .inputs = { x.id }, .input_count = 1 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width / 2, 0);
}
