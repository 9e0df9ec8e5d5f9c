/* build_values.c - adding what works value by value, and views. */
#include <stdarg.h>
#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

nib_value nib_activate(nib_build *b, nib_value x, nib_activation activation)
{
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_activate, .activation = activation,
                                         .inputs = { x.id }, .input_count = 1 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

static const nib_vector *bind_number(nib_build *b, const char *module, const char *part,
                                     unsigned rank)
{
    nib_vector_spec spec = { .rank = rank, .shape = { 1 } };
    char name[NIB_NAME_ROOM + 16];
    nib_vector *v = NULL;

    if (b->status) return NULL;
    snprintf(name, sizeof name, "%s.%s", module, part);
    nib_build_keep(b, b->binder.vector(b->binder.self, name, &spec, &v, &b->error));
    return v;
}

nib_value nib_apply_xielu(nib_build *b, nib_value x, const char *format, ...)
{
    char name[NIB_NAME_ROOM];
    nib_xielu_desc d;
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    if (!named) return nothing;
    d.alpha_p = bind_number(b, name, "alpha_p", 1);
    d.alpha_n = bind_number(b, name, "alpha_n", 1);
    d.beta = bind_number(b, name, "beta", 0);
    d.eps = bind_number(b, name, "eps", 0);
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_xielu, .xielu = d, .inputs = { x.id },
                                         .input_count = 1 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

nib_value nib_scale(nib_build *b, nib_value x, float c)
{
    if (b->status || c == 1) return b->status ? nothing : x;
    return nib_build_node(b, (nib_node){ .op = &nib_op_scale, .scale = c, .inputs = { x.id },
                                         .input_count = 1 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

/* Places are numbered whether they are there or not, so that a p of 0 moves no other's key. */
nib_drop nib_build_drop(nib_build *b, float p)
{
    static const uint32_t salt = 0x64726f70; /* apart from the keys of branches, which are hashes */

    return (nib_drop){ b->drops ? p : 0, salt ^ b->dropouts++ * 0x9e3779b9u };
}

nib_value nib_dropout(nib_build *b, nib_value x, float p)
{
    nib_drop drop = nib_build_drop(b, p);

    if (drop.p == 0 || !nib_build_is_plain(b, x, "dropout")) return b->status ? nothing : x;
    return nib_build_node(b, (nib_node){ .op = &nib_op_dropout, .drop = drop, .inputs = { x.id },
                                         .input_count = 1 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

nib_value nib_scale_by(nib_build *b, nib_value x, const nib_vector *c)
{
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_scale, .scale_by = c, .inputs = { x.id },
                                         .input_count = 1 },
                          nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

float nib_rounded_factor(const nib_build *b, float c)
{
    return b->graph->type == NIB_BF16 ? nib_round_bf16(c) : c;
}

/* Two views go together when their heads do, or one is columns. */
static bool views_fit(nib_build *b, nib_value x, nib_value y, const char *what)
{
    const nib_value_info *p = nib_info_of(b, x), *q = nib_info_of(b, y);

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
    if (nib_info_of(b, x)->width != nib_info_of(b, y)->width ||
        nib_info_of(b, x)->axis != nib_info_of(b, y)->axis) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s of %zu channels of %s and %zu of %s", node.op->name,
                       nib_info_of(b, x)->width, nib_build_axis(b, x), nib_info_of(b, y)->width,
                       nib_build_axis(b, y));
        return nothing;
    }
    node.inputs[0] = x.id;
    node.inputs[1] = y.id;
    node.input_count = 2;
    return nib_build_node(b, node, nib_info_of(b, x)->axis, nib_info_of(b, x)->width, 0);
}

nib_value nib_gate(nib_build *b, nib_value gate, nib_value up, nib_activation activation)
{
    return add_pair(b, (nib_node){ .op = &nib_op_gate, .activation = activation }, gate, up);
}

nib_value nib_add(nib_build *b, nib_value x, nib_value y)
{
    return add_pair(b, (nib_node){ .op = &nib_op_add }, x, y);
}

/* Marks the channels of a view; true: one of them was. */
static bool mark_channels(const nib_value_info *view, uint8_t *marks, uint8_t mark)
{
    bool any = false;

    for (size_t h = 0; h < view->heads; h++) {
        uint8_t *at = marks + view->offset + nib_head_at(view->layout, 0, h);
        for (size_t c = 0; c < view->head_dim; c++) {
            any = any || at[c];
            at[c] |= mark;
        }
    }
    return any;
}

/* A new view has its channels alone, and nothing reads the whole. */
static void check_view(nib_build *b, nib_value view)
{
    const nib_value_info *info;
    nib_value_info *base;
    uint8_t *marks;

    if (b->status) return;
    info = nib_info_of(b, view);
    base = &b->graph->values[info->view_of];
    marks = nib_new_array(b->graph->ctx, base->width, 1);
    if (!marks) {
        nib_build_fail(b, NIB_E_NOMEM, "graph: out of memory");
        return;
    }
    mark_channels(info, marks, 1);
    for (int v = info->view_of + 1; v < view.id; v++)
        if (b->graph->values[v].view_of == info->view_of &&
            mark_channels(&b->graph->values[v], marks, 0))
            nib_build_fail(b, NIB_E_UNSUPPORTED,
                           "views of %s overlap: of %zu channels from channel %zu on, and of %zu "
                           "from %zu on",
                           nib_build_value_name(b, view.id), b->graph->values[v].width,
                           b->graph->values[v].offset, info->width, info->offset);
    nib_free(b->graph->ctx, marks);
    if (base->readers)
        nib_build_fail(b, NIB_E_UNSUPPORTED, "%s is read whole, but %zu channels of it are a view",
                       nib_build_value_name(b, view.id), info->width);
    base->viewed += info->width;
}

/* Views cover what they are of, and each is read: else parts of its gradient would not be made. */
void nib_build_check_views(nib_build *b)
{
    for (int v = 0; !b->status && v < (int)b->graph->value_count; v++) {
        const nib_value_info *info = &b->graph->values[v];
        if (info->viewed && info->viewed != info->width)
            nib_build_fail(b, NIB_E_MISMATCH, "%s: views cover %zu of its %zu channels",
                           nib_build_value_name(b, v), info->viewed, info->width);
        if (info->view_of != NIB_NONE && !info->readers)
            nib_build_fail(b, NIB_E_MISMATCH,
                           "a view of %zu channels of %s, from channel %zu on, is read by nothing",
                           info->width, nib_build_value_name(b, v), info->offset);
    }
}

nib_value nib_heads_of(nib_build *b, nib_value x, size_t heads, size_t head_dim, size_t offset,
                       nib_heads layout)
{
    nib_value view;
    size_t last;

    if (!nib_build_is_plain(b, x, "view")) return nothing;
    layout.row_stride = nib_info_of(b, x)->width;
    last = offset + (heads - 1) / layout.per_group * layout.group_stride +
           (heads - 1) % layout.per_group * layout.head_stride + head_dim;
    if (last > nib_info_of(b, x)->width) {
        nib_build_fail(b, NIB_E_MISMATCH, "%zu heads of %zu channels reach channel %zu of %zu",
                       heads, head_dim, last, nib_info_of(b, x)->width);
        return nothing;
    }
    view = nib_build_value(b, (nib_value_info){ .axis = nib_info_of(b, x)->axis,
                                                .width = heads * head_dim,
                                                .dtype = b->graph->type,
                                                .node = NIB_NONE,
                                                .view_of = x.id,
                                                .offset = offset,
                                                .layout = layout,
                                                .heads = heads,
                                                .head_dim = head_dim });
    check_view(b, view);
    return view;
}

nib_value nib_columns_of(nib_build *b, nib_value x, size_t offset, size_t width)
{
    return nib_heads_of(b, x, 1, width, offset, nib_plain_heads(1, width));
}
