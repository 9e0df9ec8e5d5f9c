/* build.c - adding what belongs to the whole graph: segments, axes and the rows that move between
 * them, and how logits are made. */
#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

void nib_segment(nib_build *b) { b->segment++; }

void nib_set_positions(nib_build *b, size_t positions) { b->graph->positions = positions; }

void nib_set_position_padding(nib_build *b, size_t id)
{
    b->graph->position_padding = (int64_t)id;
}

void nib_build_limit(nib_build *b, size_t limit)
{
    nib_graph *g = b->graph;

    if (limit && (!g->position_limit || limit < g->position_limit)) g->position_limit = limit;
}

nib_value nib_to_logit_rows(nib_build *b, nib_value x)
{
    if (!nib_build_is_plain(b, x, "gather")) return nothing;
    if (nib_info_of(b, x)->axis == NIB_LOGIT_ROWS) return x;
    return nib_build_node(b,
                          (nib_node){ .op = &nib_op_gather, .inputs = { x.id }, .input_count = 1 },
                          NIB_LOGIT_ROWS, nib_info_of(b, x)->width, 0);
}

nib_value nib_to_one_row(nib_build *b, nib_value x, nib_rows_read which)
{
    b->graph->rows_read = which;
    return nib_to_logit_rows(b, x);
}

static nib_axis add_axis(nib_build *b, nib_axis_info info)
{
    nib_graph *g = b->graph;

    if (b->status) return NIB_TOKENS;
    if (g->axis_count == NIB_MAX_AXES) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "axis %s: a graph has at most %d axes", info.name,
                       NIB_MAX_AXES);
        return NIB_TOKENS;
    }
    if (info.parent == NIB_NONE) info.parent = (nib_axis)g->axis_count;
    g->axes[g->axis_count] = info;
    return (nib_axis)g->axis_count++;
}

nib_axis nib_build_span_axis(nib_build *b, const nib_span *span)
{
    if (!b->status && (span->half == 0 || (span->buckets && (span->buckets < 4 ||
                                                             span->most <= span->buckets / 2 + 1))))
        nib_build_fail(b, NIB_E_FORMAT,
                       "a table of %zu distances in %zu buckets up to a distance of %zu",
                       2 * span->half, span->buckets, span->most);
    return add_axis(b, (nib_axis_info){ .name = "distances", .kind = NIB_AXIS_SPAN,
                                         .parent = NIB_TOKENS, .times = 1, .span = *span });
}

nib_axis nib_add_axis(nib_build *b, const char *name)
{
    return add_axis(b, (nib_axis_info){ .name = name, .kind = NIB_AXIS_GIVEN, .parent = NIB_NONE,
                                         .times = 1 });
}

nib_input nib_add_input(nib_build *b, const char *name, nib_axis axis)
{
    nib_graph *g = b->graph;

    if (b->status) return NIB_IDS;
    if (g->input_count == NIB_MAX_ROW_INPUTS) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "input %s: a graph has at most %d inputs", name,
                       NIB_MAX_ROW_INPUTS);
        return NIB_IDS;
    }
    g->inputs[g->input_count] = (nib_input_info){ name, axis };
    return (nib_input)g->input_count++;
}

nib_input nib_add_boxes(nib_build *b, size_t limit)
{
    static const char *const names[NIB_BOX_INPUTS] = {
        "left edges", "upper edges", "right edges", "lower edges", "heights", "widths",
    };
    nib_input first = nib_add_input(b, names[0], NIB_TOKENS);

    for (size_t i = 1; i < NIB_BOX_INPUTS; i++) nib_add_input(b, names[i], NIB_TOKENS);
    if (b->status) return NIB_IDS;
    b->graph->boxes = first;
    b->graph->box_limit = limit;
    return first;
}

static nib_axis sequence_axis(nib_build *b)
{
    for (size_t a = 0; a < b->graph->axis_count; a++)
        if (b->graph->axes[a].kind == NIB_AXIS_SEQUENCES) return (nib_axis)a;
    return add_axis(b, (nib_axis_info){ .name = "sequences", .kind = NIB_AXIS_SEQUENCES,
                                         .parent = NIB_NONE, .times = 1 });
}

nib_value nib_pool_rows(nib_build *b, nib_value x, nib_pooling pooling)
{
    nib_axis axis;

    if (!nib_build_is_plain(b, x, "pool")) return nothing;
    axis = nib_info_of(b, x)->axis;
    if (b->graph->axes[axis].kind != NIB_AXIS_GIVEN) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "pool of %s, expected rows with offsets",
                       nib_build_axis(b, x));
        return nothing;
    }
    return nib_build_node(b, (nib_node){ .op = &nib_op_pool, .pooling = pooling, .inputs = { x.id },
                                         .input_count = 1 },
                          sequence_axis(b), nib_info_of(b, x)->width, 0);
}

void nib_set_noise_scale(nib_build *b, float scale)
{
    b->graph->noise_scale = scale;
}

void nib_set_logits(nib_build *b, float scale, float cap)
{
    if (!(scale > 0) || !(cap >= 0)) {
        nib_build_fail(b, NIB_E_FORMAT,
                       "logits: scale %g and cap %g, expected above 0 and at least 0",
                       (double)scale, (double)cap);
        return;
    }
    b->graph->logit_scale = scale;
    b->graph->logit_cap = cap;
}

void nib_give_rows(nib_build *b, nib_value x)
{
    x = nib_to_logit_rows(b, x);
    if (!b->status) nib_build_check_views(b);
    if (b->status) return;
    b->graph->hidden = x.id;
    nib_build_node(b, (nib_node){ .op = &nib_op_given, .inputs = { x.id }, .input_count = 1 },
                   nib_info_of(b, x)->axis, 1, 0);
}
