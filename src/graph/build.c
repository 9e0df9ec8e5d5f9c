/* build.c - adding operations: shapes are checked here, once. */
#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"

enum { NAME_ROOM = NIB_NAME_ROOM };
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

/* What an error calls a value: the module or the operation that makes it. */
static const char *value_name(const nib_build *b, int v)
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
                       info->width, value_name(b, v), info->offset);
    if (info->viewed)
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "%s is read whole, but %zu of its %zu channels are read through views",
                       value_name(b, v), info->viewed, info->width);
}

/* Adds a node whose output has `width` channels on `axis`; side_width 0: no side value. */
static nib_value add_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                          size_t side_width)
{
    nib_graph *g = b->graph;
    nib_value out, side = nothing;

    for (int i = 0; !b->status && i < node.input_count; i++) count_reader(b, node.inputs[i]);
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

nib_value nib_build_node(nib_build *b, nib_node node, nib_axis axis, size_t width,
                         size_t side_width)
{
    return add_node(b, node, axis, width, side_width);
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
    return nib_embed_offset(b, ids, 0, rows, width, module);
}

nib_value nib_embed_offset(nib_build *b, nib_input ids, size_t offset, size_t rows, size_t width,
                           const char *module)
{
    nib_embedding *e = NULL;

    if (!check_matrix(b, module, rows, width)) return nothing;
    keep_status(b, b->binder.embedding(b->binder.self, module, rows, width, &e, &b->error));
    if (b->status) return nothing;
    if (ids == NIB_POSITIONS) limit_positions(b, rows - offset);
    return add_node(b, (nib_node){ .op = &nib_op_embedding, .embedding = e, .row_input = ids,
                                   .row_offset = (uint32_t)offset },
                    b->graph->inputs[ids].axis, width, 0);
}

static nib_linear *bind_linear(nib_build *b, const char *name, nib_linear_spec spec)
{
    nib_linear *l = NULL;

    if (!check_matrix(b, name, spec.out, spec.in)) return NULL;
    keep_status(b, b->binder.linear(b->binder.self, name, &spec, &l, &b->error));
    return b->status ? NULL : l;
}

/* The side value holds the inner values of the low-rank branch; its width is set by mark. */
static nib_value add_bound(nib_build *b, nib_value x, nib_linear *l, size_t out)
{
    return add_node(b, (nib_node){ .op = &nib_op_linear, .linear = l, .inputs = { x.id },
                                   .input_count = 1 },
                    info_of(b, x)->axis, out, 1);
}

/* The name of the module is made of format and args. */
static nib_value add_linear(nib_build *b, nib_value x, nib_linear_spec spec, const char *format,
                            va_list args)
{
    char name[NAME_ROOM];
    nib_linear *l;

    if (!make_name(b, name, format, args) || !is_plain(b, x, "linear")) return nothing;
    spec.in = info_of(b, x)->width;
    l = bind_linear(b, name, spec);
    return l ? add_bound(b, x, l, spec.out) : nothing;
}

nib_value nib_apply_linear(nib_build *b, nib_value x, size_t out, bool bias, const char *format,
                           ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_linear(b, x, (nib_linear_spec){ .out = out, .bias = bias }, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_bypassed_linear(nib_build *b, nib_value x, size_t out, bool bias,
                                    const char *format, ...)
{
    nib_linear_spec spec = { .out = out, .bias = bias, .bypassed = true };
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_linear(b, x, spec, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_new_linear(nib_build *b, nib_value x, size_t out, const char *module)
{
    nib_linear_spec spec = { .out = out, .bias = true, .may_be_new = true };
    nib_linear *l;

    if (!is_plain(b, x, "linear")) return nothing;
    spec.in = info_of(b, x)->width;
    l = bind_linear(b, module, spec);
    return l ? add_bound(b, x, l, out) : nothing;
}

static nib_value add_named_linear(nib_build *b, nib_value x, nib_linear_spec spec,
                                  const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_linear(b, x, spec, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_linear_bias_of(nib_build *b, nib_value x, size_t out, const char *bias_name,
                                   const char *format, int layer)
{
    char name[NAME_ROOM];

    snprintf(name, sizeof name, bias_name, layer);
    return add_named_linear(b, x, (nib_linear_spec){ .out = out, .bias = true, .bias_name = name },
                            format, layer);
}

const nib_vector *nib_bind_vector(nib_build *b, size_t width, const char *format, ...)
{
    nib_vector_spec spec = { .rank = 1, .shape = { width } };
    char name[NAME_ROOM];
    nib_vector *v = NULL;
    va_list args;
    bool good;

    va_start(args, format);
    good = make_name(b, name, format, args);
    va_end(args);
    if (good) keep_status(b, b->binder.vector(b->binder.self, name, &spec, &v, &b->error));
    return b->status ? NULL : v;
}

const nib_vector *nib_bind_table(nib_build *b, size_t rows, size_t width, const char *tensor)
{
    nib_vector_spec spec = { .rank = 2, .shape = { rows, width } };
    nib_vector *v = NULL;

    if (!b->status)
        keep_status(b, b->binder.vector(b->binder.self, tensor, &spec, &v, &b->error));
    return b->status ? NULL : v;
}

nib_value nib_apply_conv1d(nib_build *b, nib_value x, size_t out, const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_linear(b, x, (nib_linear_spec){ .out = out, .bias = true, .transposed = true }, format,
                   args);
    va_end(args);
    return y;
}

static const char *axis_name(const nib_build *b, nib_value x)
{
    return b->graph->axes[b->graph->values[x.id].axis].name;
}

/* Checks that x can be read as heads: any plain value, a view of these heads, or columns. */
static bool has_heads(nib_build *b, nib_value x, size_t heads, size_t head_dim, const char *what)
{
    const nib_value_info *info;

    if (b->status) return false;
    info = info_of(b, x);
    if (info->width != heads * head_dim) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s: %zu channels of %s, expected %zu heads of %zu", what,
                       info->width, axis_name(b, x), heads, head_dim);
        return false;
    }
    if (info->view_of == NIB_NONE || info->heads == heads || info->heads == 1) return true;
    nib_build_fail(b, NIB_E_MISMATCH, "%s: a view of %zu heads of %zu, expected %zu of %zu", what,
                   info->heads, info->head_dim, heads, head_dim);
    return false;
}

/* The name of the module is made of format and args. */
static nib_value add_norm_of(nib_build *b, nib_value x, size_t heads, nib_node node,
                             nib_norm_spec spec, const char *format, va_list args)
{
    bool layer = node.op == &nib_op_layer_norm;
    char name[NAME_ROOM];

    if (!make_name(b, name, format, args)) return nothing;
    spec.one_plus = node.rms_form == NIB_RMS_ONE_PLUS;
    spec.width = info_of(b, x)->width / heads;
    if (!has_heads(b, x, heads, spec.width, name)) return nothing;
    if (spec.weights == NIB_NORM_ROWS || spec.weights == NIB_NORM_APART ||
        spec.weights == NIB_NORM_GROUPS)
        spec.rows = heads, spec.width *= heads;
    keep_status(b, b->binder.norm(b->binder.self, name, &spec, &node.norm, &b->error));
    if (b->status) return nothing;
    node.inputs[0] = x.id;
    node.input_count = 1;
    return add_node(b, node, info_of(b, x)->axis, info_of(b, x)->width, (layer ? 2 : 1) * heads);
}

static nib_value add_norm(nib_build *b, nib_value x, size_t heads, nib_node node, bool bias,
                          const char *format, va_list args)
{
    return add_norm_of(b, x, heads, node, (nib_norm_spec){ .bias = bias }, format, args);
}

nib_value nib_apply_rms_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm(b, x, 1, (nib_node){ .op = &nib_op_rms_norm, .eps = eps }, false, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_rms_norm_heads(nib_build *b, nib_value x, size_t heads, float eps,
                                   const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm(b, x, heads, (nib_node){ .op = &nib_op_rms_norm, .eps = eps }, false, format,
                 args);
    va_end(args);
    return y;
}

nib_value nib_apply_rms_norm_form(nib_build *b, nib_value x, size_t heads, nib_rms_form form,
                                  float eps, const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm(b, x, heads, (nib_node){ .op = &nib_op_rms_norm, .rms_form = form, .eps = eps },
                 false, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_rms_norm_groups(nib_build *b, nib_value x, size_t groups, float eps,
                                    const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm_of(b, x, groups, (nib_node){ .op = &nib_op_rms_norm, .eps = eps },
                    (nib_norm_spec){ .weights = groups > 1 ? NIB_NORM_GROUPS : NIB_NORM_SHARED },
                    format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_layer_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm(b, x, 1, (nib_node){ .op = &nib_op_layer_norm, .eps = eps }, true, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_layer_norm_plain(nib_build *b, nib_value x, float eps, const char *format,
                                     ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm(b, x, 1, (nib_node){ .op = &nib_op_layer_norm, .eps = eps }, false, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_layer_norm_heads(nib_build *b, nib_value x, size_t heads,
                                     nib_norm_weights weights, bool bias, float eps,
                                     const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm_of(b, x, heads, (nib_node){ .op = &nib_op_layer_norm, .eps = eps },
                    (nib_norm_spec){ .bias = bias, .weights = weights }, format, args);
    va_end(args);
    return y;
}

nib_value nib_rms_heads(nib_build *b, nib_value x, size_t heads, float eps, const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm_of(b, x, heads,
                    (nib_node){ .op = &nib_op_rms_norm, .rms_form = NIB_RMS_ROUND_LAST,
                                .eps = eps },
                    (nib_norm_spec){ .weights = NIB_NORM_BARE }, format, args);
    va_end(args);
    return y;
}

nib_value nib_apply_rms_norm_scale(nib_build *b, nib_value x, float eps, const char *format, ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm_of(b, x, 1,
                    (nib_node){ .op = &nib_op_rms_norm, .rms_form = NIB_RMS_ROUND_LAST,
                                .eps = eps },
                    (nib_norm_spec){ .weights = NIB_NORM_SCALE }, format, args);
    va_end(args);
    return y;
}

nib_value nib_activate(nib_build *b, nib_value x, nib_activation activation)
{
    if (b->status) return nothing;
    return add_node(b, (nib_node){ .op = &nib_op_activate, .activation = activation,
                                   .inputs = { x.id }, .input_count = 1 },
                    info_of(b, x)->axis, info_of(b, x)->width, 0);
}

nib_value nib_scale(nib_build *b, nib_value x, float c)
{
    if (b->status || c == 1) return b->status ? nothing : x;
    return add_node(b, (nib_node){ .op = &nib_op_scale, .scale = c, .inputs = { x.id },
                                   .input_count = 1 },
                    info_of(b, x)->axis, info_of(b, x)->width, 0);
}

/* Places are numbered whether they are there or not, so that a p of 0 moves no other's key. */
static nib_drop next_drop(nib_build *b, float p)
{
    static const uint32_t salt = 0x64726f70; /* apart from the keys of branches, which are hashes */

    return (nib_drop){ b->drops ? p : 0, salt ^ b->dropouts++ * 0x9e3779b9u };
}

nib_value nib_dropout(nib_build *b, nib_value x, float p)
{
    nib_drop drop = next_drop(b, p);

    if (drop.p == 0 || !is_plain(b, x, "dropout")) return b->status ? nothing : x;
    return add_node(b, (nib_node){ .op = &nib_op_dropout, .drop = drop, .inputs = { x.id },
                                   .input_count = 1 },
                    info_of(b, x)->axis, info_of(b, x)->width, 0);
}

nib_value nib_scale_by(nib_build *b, nib_value x, const nib_vector *c)
{
    if (b->status) return nothing;
    return add_node(b, (nib_node){ .op = &nib_op_scale, .scale_by = c, .inputs = { x.id },
                                   .input_count = 1 },
                    info_of(b, x)->axis, info_of(b, x)->width, 0);
}

float nib_rounded_factor(const nib_build *b, float c)
{
    return b->graph->type == NIB_BF16 ? nib_round_bf16(c) : c;
}

/* Two views go together when their heads do, or one is columns. */
static bool views_fit(nib_build *b, nib_value x, nib_value y, const char *what)
{
    const nib_value_info *p = info_of(b, x), *q = info_of(b, y);

    if (p->view_of == NIB_NONE || q->view_of == NIB_NONE || p->heads == q->heads ||
        p->heads == 1 || q->heads == 1)
        return true;
    nib_build_fail(b, NIB_E_MISMATCH, "%s of views of %zu heads of %zu and %zu of %zu", what,
                   p->heads, p->head_dim, q->heads, q->head_dim);
    return false;
}

static nib_value add_pair(nib_build *b, nib_node node, nib_value x, nib_value y)
{
    if (b->status || !views_fit(b, x, y, node.op->name)) return nothing;
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

static bool views_overlap(const nib_value_info *x, const nib_value_info *y)
{
    for (size_t h = 0; h < x->heads; h++)
        for (size_t i = 0; i < y->heads; i++) {
            size_t p = x->offset + nib_head_at(x->layout, 0, h),
                   q = y->offset + nib_head_at(y->layout, 0, i);
            if (p < q + y->head_dim && q < p + x->head_dim) return true;
        }
    return false;
}

/* A new view has its channels alone, and nothing reads the whole. */
static void check_view(nib_build *b, nib_value view)
{
    const nib_value_info *info;
    nib_value_info *base;

    if (b->status) return;
    info = info_of(b, view);
    base = &b->graph->values[info->view_of];
    for (int v = info->view_of + 1; v < view.id; v++)
        if (b->graph->values[v].view_of == info->view_of &&
            views_overlap(&b->graph->values[v], info))
            nib_build_fail(b, NIB_E_UNSUPPORTED,
                           "views of %s overlap: of %zu channels from channel %zu on, and of %zu "
                           "from %zu on",
                           value_name(b, view.id), b->graph->values[v].width,
                           b->graph->values[v].offset, info->width, info->offset);
    if (base->readers)
        nib_build_fail(b, NIB_E_UNSUPPORTED, "%s is read whole, but %zu channels of it are a view",
                       value_name(b, view.id), info->width);
    base->viewed += info->width;
}

/* Views cover what they are of, and each is read: else parts of its gradient would not be made. */
static void check_views(nib_build *b)
{
    for (int v = 0; !b->status && v < (int)b->graph->value_count; v++) {
        const nib_value_info *info = &b->graph->values[v];
        if (info->viewed && info->viewed != info->width)
            nib_build_fail(b, NIB_E_MISMATCH, "%s: views cover %zu of its %zu channels",
                           value_name(b, v), info->viewed, info->width);
        if (info->view_of != NIB_NONE && !info->readers)
            nib_build_fail(b, NIB_E_MISMATCH,
                           "a view of %zu channels of %s, from channel %zu on, is read by nothing",
                           info->width, value_name(b, v), info->offset);
    }
}

nib_value nib_heads_of(nib_build *b, nib_value x, size_t heads, size_t head_dim, size_t offset,
                       nib_heads layout)
{
    nib_value view;
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
    view = add_value(b, (nib_value_info){ .axis = info_of(b, x)->axis, .width = heads * head_dim,
                                          .dtype = b->graph->type, .node = NIB_NONE,
                                          .view_of = x.id, .offset = offset, .layout = layout,
                                          .heads = heads, .head_dim = head_dim });
    check_view(b, view);
    return view;
}

nib_value nib_columns_of(nib_build *b, nib_value x, size_t offset, size_t width)
{
    return nib_heads_of(b, x, 1, width, offset, nib_plain_heads(1, width));
}

nib_value nib_rotate(nib_build *b, nib_value x, size_t heads, size_t head_dim, const nib_rope *rope)
{
    nib_value y;

    if (!has_heads(b, x, heads, head_dim, "rotation")) return nothing;
    if (info_of(b, x)->axis != NIB_TOKENS) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "rotation of %s, expected tokens", axis_name(b, x));
        return nothing;
    }
    if (rope->rot > head_dim || rope->rot % 2) {
        nib_build_fail(b, NIB_E_FORMAT, "rotation of %zu channels in heads of %zu", rope->rot,
                       head_dim);
        return nothing;
    }
    limit_positions(b, rope->limit);
    if (rope->long_inv && !b->status) b->graph->length_switch = rope->long_from;
    if (rope->grows_from && !b->status) b->graph->length_grows = rope->grows_from;
    y = add_node(b, (nib_node){ .op = &nib_op_rotate, .rope = rope, .inputs = { x.id },
                                .input_count = 1 },
                 info_of(b, x)->axis, heads * head_dim, 0);
    if (!b->status) {
        b->graph->values[y.id].layout = nib_plain_heads(heads, head_dim);
        b->graph->values[y.id].heads = heads;
        b->graph->values[y.id].head_dim = head_dim;
    }
    return y;
}

nib_value nib_join_heads(nib_build *b, nib_value x, nib_value y, size_t heads, bool shared)
{
    size_t first, second;
    nib_value out;

    if (b->status) return nothing;
    first = info_of(b, x)->width / heads;
    second = info_of(b, y)->width / (shared ? 1 : heads);
    if (!has_heads(b, x, heads, first, "join of heads") ||
        !has_heads(b, y, shared ? 1 : heads, second, "join of heads"))
        return nothing;
    if (info_of(b, x)->axis != info_of(b, y)->axis) {
        nib_build_fail(b, NIB_E_MISMATCH, "join of heads of %s and of %s", axis_name(b, x),
                       axis_name(b, y));
        return nothing;
    }
    out = add_node(b, (nib_node){ .op = &nib_op_join, .inputs = { x.id, y.id },
                                  .input_count = 2 },
                   info_of(b, x)->axis, heads * (first + second), 0);
    if (b->status) return nothing;
    b->graph->values[out.id].layout = nib_plain_heads(heads, first + second);
    b->graph->values[out.id].heads = heads;
    b->graph->values[out.id].head_dim = first + second;
    return out;
}

nib_value nib_add_sinusoid(nib_build *b, nib_value x, size_t offset, const float *frequencies)
{
    if (!is_plain(b, x, "sinusoidal positions")) return nothing;
    if (info_of(b, x)->axis != NIB_TOKENS) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "sinusoidal positions of %s, expected tokens",
                       axis_name(b, x));
        return nothing;
    }
    return add_node(b, (nib_node){ .op = &nib_op_sinusoid, .frequencies = frequencies,
                                   .row_offset = (uint32_t)offset, .inputs = { x.id },
                                   .input_count = 1 },
                    NIB_TOKENS, info_of(b, x)->width, 0);
}

static void check_attention(nib_build *b, nib_value q, nib_value k, nib_value v,
                            const nib_attention_desc *d)
{
    nib_axis rows = info_of(b, q)->axis, seen = info_of(b, k)->axis;

    if (b->graph->axes[rows].kind != NIB_AXIS_GIVEN || b->graph->axes[seen].kind != NIB_AXIS_GIVEN)
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention from %s to %s, expected rows with offsets", axis_name(b, q),
                       axis_name(b, k));
    if (info_of(b, v)->axis != seen)
        nib_build_fail(b, NIB_E_MISMATCH, "attention: keys of %s, but values of %s",
                       axis_name(b, k), axis_name(b, v));
    if (rows != seen && (!d->full || d->window || d->chunk || d->alibi_slopes))
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention from %s to %s: expected one that sees all, without a window, "
                       "chunks or positions",
                       axis_name(b, q), axis_name(b, k));
    if (d->buckets && (rows != seen || !d->full || d->cap > 0 || d->alibi_slopes ||
                       d->bucket_count < 4 || d->bucket_count % 4 ||
                       d->bucket_reach <= d->bucket_count / 4 ||
                       d->buckets->width < d->bucket_count * d->heads))
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention: %zu buckets up to a distance of %zu, expected one that sees all "
                       "of its own axis, without a cap", d->bucket_count, d->bucket_reach);
    if (d->kv_heads == 0 || d->heads % d->kv_heads)
        nib_build_fail(b, NIB_E_MISMATCH, "attention: %zu heads of q for %zu of k and v", d->heads,
                       d->kv_heads);
    if (d->sinks && d->sinks->width != d->heads)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: [%zu], expected a sink for each of %zu heads",
                       d->sinks->name, d->sinks->width, d->heads);
}

nib_value nib_attend(nib_build *b, nib_value q, nib_value k, nib_value v,
                     const nib_attention_desc *d)
{
    size_t v_dim = d->v_dim ? d->v_dim : d->head_dim;
    nib_attention_desc own = *d;
    nib_value y;

    if (!has_heads(b, q, d->heads, d->head_dim, "attention: q") ||
        !has_heads(b, k, d->kv_heads, d->head_dim, "attention: k") ||
        !has_heads(b, v, d->kv_heads, v_dim, "attention: v"))
        return nothing;
    check_attention(b, q, k, v, d);
    own.drop = next_drop(b, d->drop.p);
    y = add_node(b, (nib_node){ .op = &nib_op_attention, .attention = own,
                                .inputs = { q.id, k.id, v.id }, .input_count = 3,
                                .state_index = b->graph->state_count },
                 info_of(b, q)->axis, d->heads * v_dim, d->heads);
    b->graph->state_count++;
    return y;
}

nib_value nib_to_logit_rows(nib_build *b, nib_value x)
{
    if (!is_plain(b, x, "gather")) return nothing;
    if (info_of(b, x)->axis == NIB_LOGIT_ROWS) return x;
    return add_node(b, (nib_node){ .op = &nib_op_gather, .inputs = { x.id }, .input_count = 1 },
                    NIB_LOGIT_ROWS, info_of(b, x)->width, 0);
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

nib_axis nib_add_axis(nib_build *b, const char *name)
{
    return add_axis(b, (nib_axis_info){ name, NIB_AXIS_GIVEN, NIB_NONE, 1 });
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
    return add_axis(b, (nib_axis_info){ "sequences", NIB_AXIS_SEQUENCES, NIB_NONE,
                                          1 });
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

void nib_set_head(nib_build *b, nib_value hidden, nib_head_spec spec, const char *module)
{
    nib_linear *l;

    if (!is_plain(b, hidden, "head")) return;
    l = bind_linear(b, module, (nib_linear_spec){ .out = spec.rows, .in = info_of(b, hidden)->width,
                                                  .bias = spec.bias, .head = true,
                                                  .may_be_new = spec.may_be_new,
                                                  .tied_to = spec.tied_to,
                                                  .bias_name = spec.bias_name });
    if (!l) return;
    check_views(b);
    if (b->status) return;
    b->graph->head = l;
    b->graph->hidden = hidden.id;
    add_node(b, (nib_node){ .op = &nib_op_loss, .linear = l, .loss = spec.loss,
                            .inputs = { hidden.id }, .input_count = 1 },
             info_of(b, hidden)->axis, 1, 0);
}

void nib_give_rows(nib_build *b, nib_value x)
{
    x = nib_to_logit_rows(b, x);
    if (!b->status) check_views(b);
    if (!b->status) b->graph->hidden = x.id;
}

void nib_class_head(nib_build *b, nib_value x, bool bias, const char *module)
{
    nib_set_head(b, x, (nib_head_spec){ .rows = b->labels, .bias = bias, .loss = b->loss,
                                        .may_be_new = true }, module);
}

void nib_head(nib_build *b, nib_value x, nib_head_spec spec, const char *module)
{
    nib_set_head(b, nib_to_logit_rows(b, x), spec, module);
}

/* --- for the builder's other files --- */

bool nib_build_name(nib_build *b, char name[NIB_NAME_ROOM], const char *format, va_list args)
{
    return make_name(b, name, format, args);
}

bool nib_build_has_heads(nib_build *b, nib_value x, size_t heads, size_t head_dim, const char *what)
{
    return has_heads(b, x, heads, head_dim, what);
}
