/* build.c - adding operations: shapes are checked here, once. */
#include "graph/build.h"

#include <stdio.h>

#include "graph/operations.h"

enum { NAME_ROOM = 512 };
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

static nib_value add_value(nib_build *b, nib_value_info info)
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

static const nib_value_info *info_of(const nib_build *b, nib_value v)
{
    return &b->graph->values[v.id];
}

/* Adds a node whose output has `width` channels on `axis`; side_width 0: no side value. */
static nib_value add_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                          size_t side_width)
{
    nib_graph *g = b->graph;
    nib_value out, side = nothing;

    if (b->status) return nothing;
    out = add_value(b, (nib_value_info){ .axis = axis, .width = width, .dtype = g->type,
                                         .node = (int)g->node_count, .view_of = NIB_NONE,
                                         .layout = nib_plain_heads(1, width) });
    if (side_width)
        side = add_value(b, (nib_value_info){ .axis = axis, .width = side_width, .dtype = NIB_F32,
                                              .node = (int)g->node_count, .view_of = NIB_NONE });
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

/* A value handed on by an architecture must exist, and not be a view where a plain one is due. */
static bool is_plain(nib_build *b, nib_value x, const char *what)
{
    if (b->status) return false;
    assert(x.id >= 0);
    if (info_of(b, x)->view_of == NIB_NONE) return true;
    nib_build_fail(b, NIB_E_UNSUPPORTED, "%s of a view of fused heads", what);
    return false;
}

static bool make_name(nib_build *b, char *name, const char *format, va_list args)
{
    if (b->status) return false;
    if (vsnprintf(name, NAME_ROOM, format, args) < NAME_ROOM) return true;
    nib_build_fail(b, NIB_E_INVALID, "module name longer than %d: %.60s...", NAME_ROOM, name);
    return false;
}

static void keep_status(nib_build *b, nib_status status)
{
    if (status && !b->status) b->status = status;
}

void nib_segment(nib_build *b) { b->segment++; }

void nib_set_positions(nib_build *b, size_t positions) { b->graph->positions = positions; }

/* Sizes whose product would not fit are absurd whatever the tensors say. */
static bool check_matrix(nib_build *b, const char *name, size_t rows, size_t width)
{
    uint64_t n;

    if (b->status) return false;
    if (rows && width && nib_mul_u64(rows, width, &n) && n <= (uint64_t)1 << 44) return true;
    nib_build_fail(b, NIB_E_FORMAT, "absurd sizes: %s is a matrix of %zu x %zu", name, rows, width);
    return false;
}

static void limit_positions(nib_build *b, size_t limit)
{
    nib_graph *g = b->graph;

    if (limit && (!g->position_limit || limit < g->position_limit)) g->position_limit = limit;
}

nib_value nib_embed(nib_build *b, nib_input ids, size_t rows, size_t width, const char *module)
{
    nib_embedding *e = NULL;

    if (!check_matrix(b, module, rows, width)) return nothing;
    keep_status(b, b->binder.embedding(b->binder.self, module, rows, width, &e, &b->error));
    if (b->status) return nothing;
    if (ids == NIB_POSITIONS) limit_positions(b, rows);
    return add_node(b, (nib_node){ .op = &nib_op_embedding, .embedding = e, .row_input = ids },
                    b->graph->inputs[ids].axis, width, 0);
}

static nib_linear *bind_linear(nib_build *b, const char *name, nib_linear_spec spec)
{
    nib_linear *l = NULL;

    if (!check_matrix(b, name, spec.out, spec.in)) return NULL;
    keep_status(b, b->binder.linear(b->binder.self, name, &spec, &l, &b->error));
    return b->status ? NULL : l;
}

static nib_value add_linear(nib_build *b, nib_value x, nib_linear_spec spec, const char *name)
{
    nib_linear *l;

    if (!is_plain(b, x, "linear")) return nothing;
    spec.in = info_of(b, x)->width;
    l = bind_linear(b, name, spec);
    if (!l) return nothing;
    /* The side value holds the inner values of the low-rank branch; its width is set by mark. */
    return add_node(b, (nib_node){ .op = &nib_op_linear, .linear = l, .inputs = { x.id }, .input_count = 1 },
                    info_of(b, x)->axis, spec.out, 1);
}

nib_value nib_apply_linear(nib_build *b, nib_value x, size_t out, bool bias, const char *format,
                           ...)
{
    char name[NAME_ROOM];
    va_list args;
    bool named;

    va_start(args, format);
    named = make_name(b, name, format, args);
    va_end(args);
    return named ? add_linear(b, x, (nib_linear_spec){ .out = out, .bias = bias }, name) : nothing;
}

nib_value nib_apply_conv1d(nib_build *b, nib_value x, size_t out, const char *format, ...)
{
    char name[NAME_ROOM];
    va_list args;
    bool named;

    va_start(args, format);
    named = make_name(b, name, format, args);
    va_end(args);
    return named ? add_linear(b, x,
                              (nib_linear_spec){ .out = out, .bias = true, .transposed = true },
                              name)
                 : nothing;
}

static nib_value add_norm(nib_build *b, nib_value x, float eps, bool layer, const char *name)
{
    nib_norm_spec spec = { .bias = layer };
    nib_norm *norm = NULL;

    if (!is_plain(b, x, "norm")) return nothing;
    spec.width = info_of(b, x)->width;
    keep_status(b, b->binder.norm(b->binder.self, name, &spec, &norm, &b->error));
    if (b->status) return nothing;
    return add_node(b, (nib_node){ .op = layer ? &nib_op_layer_norm : &nib_op_rms_norm, .norm = norm,
                                   .eps = eps, .inputs = { x.id }, .input_count = 1 },
                    info_of(b, x)->axis, norm->width, layer ? 2 : 1);
}

nib_value nib_apply_rms_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
{
    char name[NAME_ROOM];
    va_list args;
    bool named;

    va_start(args, format);
    named = make_name(b, name, format, args);
    va_end(args);
    return named ? add_norm(b, x, eps, false, name) : nothing;
}

nib_value nib_apply_layer_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
{
    char name[NAME_ROOM];
    va_list args;
    bool named;

    va_start(args, format);
    named = make_name(b, name, format, args);
    va_end(args);
    return named ? add_norm(b, x, eps, true, name) : nothing;
}

nib_value nib_activate(nib_build *b, nib_value x, nib_activation activation)
{
    if (!is_plain(b, x, "activation")) return nothing;
    return add_node(b, (nib_node){ .op = &nib_op_activate, .activation = activation,
                                   .inputs = { x.id }, .input_count = 1 },
                    info_of(b, x)->axis, info_of(b, x)->width, 0);
}

static const char *axis_name(const nib_build *b, nib_value x)
{
    return b->graph->axes[b->graph->values[x.id].axis].name;
}

static nib_value add_pair(nib_build *b, nib_node node, nib_value x, nib_value y)
{
    if (!is_plain(b, x, node.op->name) || !is_plain(b, y, node.op->name)) return nothing;
    if (info_of(b, x)->width != info_of(b, y)->width ||
        info_of(b, x)->axis != info_of(b, y)->axis) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s of %zu channels of %s and %zu of %s", node.op->name,
                       info_of(b, x)->width, axis_name(b, x), info_of(b, y)->width,
                       axis_name(b, y));
        return nothing;
    }
    node.inputs[0] = x.id;
    node.inputs[1] = y.id;
    node.input_count = 2;
    return add_node(b, node, info_of(b, x)->axis, info_of(b, x)->width, 0);
}

nib_value nib_gate(nib_build *b, nib_value gate, nib_value up, nib_activation activation)
{
    return add_pair(b, (nib_node){ .op = &nib_op_gate, .activation = activation }, gate, up);
}

nib_value nib_add(nib_build *b, nib_value x, nib_value y)
{
    return add_pair(b, (nib_node){ .op = &nib_op_add }, x, y);
}

nib_value nib_heads_of(nib_build *b, nib_value x, size_t heads, size_t head_dim, size_t offset,
                       nib_heads layout)
{
    size_t last;

    if (!is_plain(b, x, "view")) return nothing;
    layout.row_stride = info_of(b, x)->width;
    last = offset + (heads - 1) / layout.per_group * layout.group_stride +
           (heads - 1) % layout.per_group * layout.head_stride + head_dim;
    if (last > info_of(b, x)->width) {
        nib_build_fail(b, NIB_E_MISMATCH, "%zu heads of %zu channels reach channel %zu of %zu",
                       heads, head_dim, last, info_of(b, x)->width);
        return nothing;
    }
    return add_value(b, (nib_value_info){ .axis = info_of(b, x)->axis, .width = heads * head_dim,
                                          .dtype = b->graph->type, .node = NIB_NONE, .view_of = x.id,
                                          .offset = offset, .layout = layout, .heads = heads,
                                          .head_dim = head_dim });
}

/* Gives a plain value its head layout, or checks that a view has these heads. */
static bool with_heads(nib_build *b, nib_value x, size_t heads, size_t head_dim, const char *what)
{
    nib_value_info *info;

    if (b->status) return false;
    info = &b->graph->values[x.id];
    if (info->width != heads * head_dim || info->axis != NIB_TOKENS) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s: %zu channels of %s, expected %zu heads of %zu of tokens",
                       what, info->width, axis_name(b, x), heads, head_dim);
        return false;
    }
    if (info->view_of == NIB_NONE) info->layout = nib_plain_heads(heads, head_dim);
    return true;
}

nib_value nib_rotate(nib_build *b, nib_value x, size_t heads, size_t head_dim, const nib_rope *rope)
{
    nib_value y;

    if (!with_heads(b, x, heads, head_dim, "rotation")) return nothing;
    if (rope->rot > head_dim || rope->rot % 2) {
        nib_build_fail(b, NIB_E_FORMAT, "rotation of %zu channels in heads of %zu", rope->rot,
                       head_dim);
        return nothing;
    }
    limit_positions(b, rope->limit);
    y = add_node(b, (nib_node){ .op = &nib_op_rotate, .rope = rope, .inputs = { x.id },
                                .input_count = 1 },
                 info_of(b, x)->axis, heads * head_dim, 0);
    with_heads(b, y, heads, head_dim, "rotation");
    if (!b->status) {
        b->graph->values[y.id].heads = heads;
        b->graph->values[y.id].head_dim = head_dim;
    }
    return y;
}

nib_value nib_attend(nib_build *b, nib_value q, nib_value k, nib_value v,
                     const nib_attention_desc *d)
{
    nib_value y;

    if (!with_heads(b, q, d->heads, d->head_dim, "attention: q") ||
        !with_heads(b, k, d->kv_heads, d->head_dim, "attention: k") ||
        !with_heads(b, v, d->kv_heads, d->head_dim, "attention: v"))
        return nothing;
    y = add_node(b, (nib_node){ .op = &nib_op_attention, .attention = *d,
                                .inputs = { q.id, k.id, v.id }, .input_count = 3,
                                .state_index = b->graph->attention_count },
                 NIB_TOKENS, d->heads * d->head_dim, d->heads);
    b->graph->attention_count++;
    return y;
}

nib_value nib_to_logit_rows(nib_build *b, nib_value x)
{
    if (!is_plain(b, x, "gather")) return nothing;
    if (info_of(b, x)->axis == NIB_LOGIT_ROWS) return x;
    return add_node(b, (nib_node){ .op = &nib_op_gather, .inputs = { x.id }, .input_count = 1 },
                    NIB_LOGIT_ROWS, info_of(b, x)->width, 0);
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

nib_axis nib_add_axis(nib_build *b, const char *name)
{
    return add_axis(b, (nib_axis_info){ name, NIB_AXIS_GIVEN, NIB_NONE });
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

static nib_axis sequence_axis(nib_build *b)
{
    for (size_t a = 0; a < b->graph->axis_count; a++)
        if (b->graph->axes[a].kind == NIB_AXIS_SEQUENCES) return (nib_axis)a;
    return add_axis(b, (nib_axis_info){ "sequences", NIB_AXIS_SEQUENCES, NIB_NONE });
}

nib_value nib_pool_rows(nib_build *b, nib_value x, nib_pooling pooling)
{
    nib_axis axis;

    if (!is_plain(b, x, "pool")) return nothing;
    axis = info_of(b, x)->axis;
    if (b->graph->axes[axis].kind != NIB_AXIS_GIVEN) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "pool of %s, expected rows with offsets",
                       axis_name(b, x));
        return nothing;
    }
    return add_node(b, (nib_node){ .op = &nib_op_pool, .pooling = pooling, .inputs = { x.id },
                                   .input_count = 1 },
                    sequence_axis(b), info_of(b, x)->width, 0);
}

void nib_set_head(nib_build *b, nib_value hidden, nib_head_spec spec, const char *module)
{
    nib_linear *l;

    if (!is_plain(b, hidden, "head")) return;
    l = bind_linear(b, module, (nib_linear_spec){ .out = spec.rows, .in = info_of(b, hidden)->width,
                                                  .bias = spec.bias, .head = true,
                                                  .tied_to = spec.tied_to });
    if (!l) return;
    b->graph->head = l;
    b->graph->hidden = hidden.id;
    add_node(b, (nib_node){ .op = &nib_op_loss, .linear = l, .inputs = { hidden.id }, .input_count = 1 },
             info_of(b, hidden)->axis, 1, 0);
}

void nib_head(nib_build *b, nib_value x, nib_head_spec spec, const char *module)
{
    nib_set_head(b, nib_to_logit_rows(b, x), spec, module);
}
