/* build_node.c - see build_node.h: values and nodes, and the checks that all operations make. */
#include <stdarg.h>
#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

void nib_build_fail(nib_build *b, nib_status status, const char *format, ...)
{
    va_list args;

    if (b->status) return;
    b->status = b->error.status = status;
    va_start(args, format);
    vsnprintf(b->error.message, sizeof b->error.message, format, args);
    va_end(args);
}

nib_value nib_build_value(nib_build *b, nib_value_info info)
{
    nib_graph *g = b->graph;

    if (b->status) return nothing;
    if (!nib_grow(g->ctx, &g->values, &g->value_capacity, g->value_count + 1, sizeof *g->values)) {
        nib_build_fail(b, NIB_E_NOMEM, "graph: out of memory");
        return nothing;
    }
    g->values[g->value_count] = info;
    return (nib_value){ (int)g->value_count++ };
}

const nib_value_info *nib_info_of(const nib_build *b, nib_value v)
{
    return &b->graph->values[v.id];
}

const char *nib_build_value_name(const nib_build *b, int v)
{
    const nib_value_info *info = &b->graph->values[v];
    const nib_node *n = &b->graph->nodes[info->view_of == NIB_NONE
                                             ? info->node : b->graph->values[info->view_of].node];

    if (n->linear) return n->linear->name;
    if (n->experts) return n->experts[0]->name;
    if (n->norm) return n->norm->name;
    return n->embedding ? n->embedding->name : n->op->name;
}

/* Backward writes a view's part of a gradient once, and into nothing else: so a view has one
 * reader, and what has views no reader of its own. */
static void count_reader(nib_build *b, int v)
{
    nib_value_info *info = &b->graph->values[v];

    info->readers++;
    if (info->view_of != NIB_NONE && info->readers > 1)
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "a view of %zu channels of %s, from channel %zu on, is read twice; expected "
                       "one reader of each view",
                       info->width, nib_build_value_name(b, v), info->offset);
    if (info->viewed)
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "%s is read whole, but %zu of its %zu channels are read through views",
                       nib_build_value_name(b, v), info->viewed, info->width);
}

nib_value nib_build_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                          size_t side_width)
{
    nib_graph *g = b->graph;
    nib_value out, side = nothing;

    for (int i = 0; !b->status && i < node.input_count; i++) count_reader(b, node.inputs[i]);
    if (b->status) return nothing;
    out = nib_build_value(b, (nib_value_info){ .axis = axis, .width = width, .dtype = g->type,
                                         .node = (int)g->node_count, .view_of = NIB_NONE,
                                         .layout = nib_plain_heads(1, width) });
    if (side_width)
        side = nib_build_value(b, (nib_value_info){ .axis = axis,
                                                    .width = side_width,
                                                    .dtype = NIB_F32,
                                                    .node = (int)g->node_count,
                                                    .view_of = NIB_NONE });
    if (!nib_grow(g->ctx, &g->nodes, &g->node_capacity, g->node_count + 1, sizeof *g->nodes))
        nib_build_fail(b, NIB_E_NOMEM, "graph: out of memory");
    if (b->status) return nothing;
    node.output = out.id;
    node.side = side.id;
    node.segment = b->segment;
    g->nodes[g->node_count++] = node;
    if (g->segments <= b->segment) g->segments = b->segment + 1;
    return out;
}

/* A value handed on by an architecture must exist, and be no view where a plain one is needed. */
bool nib_build_is_plain(nib_build *b, nib_value x, const char *what)
{
    if (b->status) return false;
    assert(x.id >= 0);
    if (nib_info_of(b, x)->view_of == NIB_NONE) return true;
    nib_build_fail(b, NIB_E_UNSUPPORTED, "%s of a view of fused heads", what);
    return false;
}

bool nib_build_name(nib_build *b, char name[NIB_NAME_ROOM], const char *format, va_list args)
{
    if (b->status) return false;
    if (vsnprintf(name, NIB_NAME_ROOM, format, args) < NIB_NAME_ROOM) return true;
    nib_build_fail(b, NIB_E_INVALID, "module name longer than %d: %.60s...", NIB_NAME_ROOM, name);
    return false;
}

void nib_build_keep(nib_build *b, nib_status status)
{
    if (status && !b->status) b->status = status;
}

const char *nib_build_axis(const nib_build *b, nib_value x)
{
    return b->graph->axes[b->graph->values[x.id].axis].name;
}

bool nib_build_has_heads(nib_build *b, nib_value x, size_t heads, size_t head_dim, const char *what)
{
    const nib_value_info *info;

    if (b->status) return false;
    info = nib_info_of(b, x);
    if (info->width != heads * head_dim) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s: %zu channels of %s, expected %zu heads of %zu", what,
                       info->width, nib_build_axis(b, x), heads, head_dim);
        return false;
    }
    if (info->view_of == NIB_NONE || info->heads == heads || info->heads == 1) return true;
    nib_build_fail(b, NIB_E_MISMATCH, "%s: a view of %zu heads of %zu, expected %zu of %zu", what,
                   info->heads, info->head_dim, heads, head_dim);
    return false;
}
