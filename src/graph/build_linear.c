/* build_linear.c - adding what has weights of its own: embeddings, linears, vectors, the head. */
#include <stdarg.h>
#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

/* Sizes whose product would not fit are absurd whatever the tensors say. */
static bool check_matrix(nib_build *b, const char *name, size_t rows, size_t width)
{
    uint64_t n;

    if (b->status) return false;
    if (rows && width && nib_mul_u64(rows, width, &n) && n <= (uint64_t)1 << 44) return true;
    nib_build_fail(b, NIB_E_FORMAT, "absurd sizes: %s is a matrix of %zu x %zu", name, rows, width);
    return false;
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
    nib_build_keep(b, b->binder.embedding(b->binder.self, module, rows, width, &e, &b->error));
    if (b->status) return nothing;
    if (ids == NIB_POSITIONS) nib_build_limit(b, rows - offset);
    return nib_build_node(b, (nib_node){ .op = &nib_op_embedding, .embedding = e, .row_input = ids,
                                         .row_offset = (uint32_t)offset },
                          b->graph->inputs[ids].axis, width, 0);
}

nib_value nib_embed_span(nib_build *b, const nib_span *span, size_t width, const char *module)
{
    nib_embedding *e = NULL;
    nib_axis axis;

    if (!check_matrix(b, module, 2 * span->half, width)) return nothing;
    nib_build_keep(b, b->binder.embedding(b->binder.self, module, 2 * span->half, width, &e,
                                          &b->error));
    axis = nib_build_span_axis(b, span);
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_embedding, .embedding = e,
                                         .row_input = NIB_NONE },
                          axis, width, 0);
}

nib_linear *nib_build_bind(nib_build *b, const char *name, nib_linear_spec spec)
{
    nib_linear *l = NULL;

    if (!check_matrix(b, name, spec.out, spec.in)) return NULL;
    nib_build_keep(b, b->binder.linear(b->binder.self, name, &spec, &l, &b->error));
    return b->status ? NULL : l;
}

nib_linear *nib_bind_linear(nib_build *b, size_t out, size_t in, bool bias, const char *format,
                            ...)
{
    char name[NIB_NAME_ROOM];
    va_list args;
    bool good;

    va_start(args, format);
    good = nib_build_name(b, name, format, args);
    va_end(args);
    return good ? nib_build_bind(b, name, (nib_linear_spec){ .out = out, .in = in, .bias = bias })
                : NULL;
}

/* The side value holds the inner values of the low-rank branch; its width is set by mark. */
static nib_value add_bound(nib_build *b, nib_value x, nib_linear *l, size_t out, uint32_t use)
{
    return nib_build_node(b, (nib_node){ .op = &nib_op_linear, .linear = l, .use = use,
                                         .inputs = { x.id }, .input_count = 1 },
                          nib_info_of(b, x)->axis, out, 1);
}

nib_value nib_apply_bound_linear(nib_build *b, nib_value x, nib_linear *l)
{
    uint32_t use = 0;

    if (b->status || !nib_build_is_plain(b, x, "linear")) return nothing;
    if (nib_info_of(b, x)->width != l->weight->in) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s takes %zu channels, there are %zu",
                       l->name ? l->name : "a linear", l->weight->in, nib_info_of(b, x)->width);
        return nothing;
    }
    for (size_t i = 0; i < b->graph->node_count; i++) use += b->graph->nodes[i].linear == l;
    return add_bound(b, x, l, l->weight->out, use);
}

nib_value nib_build_linear(nib_build *b, nib_value x, nib_linear_spec spec, const char *name)
{
    nib_linear *l;

    if (!nib_build_is_plain(b, x, "linear")) return nothing;
    spec.in = nib_info_of(b, x)->width;
    l = nib_build_bind(b, name, spec);
    return l ? add_bound(b, x, l, spec.out, 0) : nothing;
}

/* The name of the module is made of format and args. */
static nib_value add_linear(nib_build *b, nib_value x, nib_linear_spec spec, const char *format,
                            va_list args)
{
    char name[NIB_NAME_ROOM];

    return nib_build_name(b, name, format, args) ? nib_build_linear(b, x, spec, name) : nothing;
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

    return nib_build_linear(b, x, spec, module);
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
    char name[NIB_NAME_ROOM];

    snprintf(name, sizeof name, bias_name, layer);
    return add_named_linear(b, x, (nib_linear_spec){ .out = out, .bias = true, .bias_name = name },
                            format, layer);
}

static const nib_vector *bind_named(nib_build *b, nib_vector_spec spec, const char *format,
                                    va_list args)
{
    char name[NIB_NAME_ROOM];
    nib_vector *v = NULL;

    if (nib_build_name(b, name, format, args))
        nib_build_keep(b, b->binder.vector(b->binder.self, name, &spec, &v, &b->error));
    return b->status ? NULL : v;
}

const nib_vector *nib_bind_vector(nib_build *b, size_t width, const char *format, ...)
{
    va_list args;
    const nib_vector *v;

    va_start(args, format);
    v = bind_named(b, (nib_vector_spec){ .rank = 1, .shape = { width } }, format, args);
    va_end(args);
    return v;
}

const nib_vector *nib_bind_row(nib_build *b, size_t width, const char *format, ...)
{
    va_list args;
    const nib_vector *v;

    va_start(args, format);
    v = bind_named(b, (nib_vector_spec){ .rank = 2, .shape = { 1, width } }, format, args);
    va_end(args);
    return v;
}

const nib_vector *nib_bind_table(nib_build *b, size_t rows, size_t width, const char *tensor)
{
    nib_vector_spec spec = { .rank = 2, .shape = { rows, width } };
    nib_vector *v = NULL;

    if (!b->status)
        nib_build_keep(b, b->binder.vector(b->binder.self, tensor, &spec, &v, &b->error));
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

void nib_set_head(nib_build *b, nib_value hidden, nib_head_spec spec, const char *module)
{
    nib_linear *l;

    if (!nib_build_is_plain(b, hidden, "head")) return;
    l = nib_build_bind(b, module, (nib_linear_spec){ .out = spec.rows,
                                                  .in = nib_info_of(b, hidden)->width,
                                                  .bias = spec.bias, .head = true,
                                                  .may_be_new = spec.may_be_new,
                                                  .tied_to = spec.tied_to,
                                                  .bias_name = spec.bias_name });
    if (!l) return;
    nib_build_check_views(b);
    if (b->status) return;
    b->graph->head = l;
    b->graph->hidden = hidden.id;
    nib_build_node(b, (nib_node){ .op = &nib_op_loss, .linear = l, .loss = spec.loss,
                                  .inputs = { hidden.id }, .input_count = 1 },
                   nib_info_of(b, hidden)->axis, 1, 0);
}

void nib_class_head(nib_build *b, nib_value x, bool bias, const char *module)
{
    nib_set_head(b, x, (nib_head_spec){ .rows = b->labels, .bias = bias, .loss = b->loss,
                                        .may_be_new = true }, module);
}

void nib_head(nib_build *b, nib_value x, nib_head_spec spec, const char *module)
{
    if (b->features) nib_give_rows(b, x);
    else nib_set_head(b, nib_to_logit_rows(b, x), spec, module);
}
