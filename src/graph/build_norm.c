/* build_norm.c - adding norms: of rows, heads and groups, in the forms of the reference. */
#include <stdarg.h>

#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

/* The name of the module is made of format and args. */
static nib_value add_norm_of(nib_build *b, nib_value x, size_t heads, nib_node node,
                             nib_norm_spec spec, const char *format, va_list args)
{
    bool layer = node.op == &nib_op_layer_norm;
    char name[NIB_NAME_ROOM];

    if (!nib_build_name(b, name, format, args)) return nothing;
    spec.one_plus = node.rms_form == NIB_RMS_ONE_PLUS;
    spec.width = nib_info_of(b, x)->width / heads;
    if (!nib_build_has_heads(b, x, heads, spec.width, name)) return nothing;
    if (spec.weights == NIB_NORM_ROWS || spec.weights == NIB_NORM_APART ||
        spec.weights == NIB_NORM_GROUPS)
        spec.rows = heads, spec.width *= heads;
    nib_build_keep(b, b->binder.norm(b->binder.self, name, &spec, &node.norm, &b->error));
    if (b->status) return nothing;
    node.inputs[0] = x.id;
    node.input_count = 1;
    return nib_build_node(b, node, nib_info_of(b, x)->axis, nib_info_of(b, x)->width,
                          (layer ? 2 : 1) * heads);
}

nib_norm *nib_bind_layer_norm(nib_build *b, size_t width, const char *format, ...)
{
    nib_norm_spec spec = { .width = width, .bias = true };
    char name[NIB_NAME_ROOM];
    nib_norm *n = NULL;
    va_list args;
    bool good;

    va_start(args, format);
    good = nib_build_name(b, name, format, args);
    va_end(args);
    if (good) nib_build_keep(b, b->binder.norm(b->binder.self, name, &spec, &n, &b->error));
    return b->status ? NULL : n;
}

nib_value nib_apply_bound_norm(nib_build *b, nib_value x, nib_norm *norm, float eps)
{
    if (b->status || !nib_build_is_plain(b, x, norm->name)) return nothing;
    if (nib_info_of(b, x)->width != norm->width) {
        nib_build_fail(b, NIB_E_MISMATCH, "%s: a norm of %zu numbers for %zu channels", norm->name,
                       norm->width, nib_info_of(b, x)->width);
        return nothing;
    }
    return nib_build_node(b, (nib_node){ .op = &nib_op_layer_norm, .norm = norm, .eps = eps,
                                         .inputs = { x.id }, .input_count = 1 },
                          nib_info_of(b, x)->axis, norm->width, 2);
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

nib_value nib_apply_layer_norm_one_plus(nib_build *b, nib_value x, float eps, const char *format,
                                        ...)
{
    va_list args;
    nib_value y;

    va_start(args, format);
    y = add_norm(b, x, 1,
                 (nib_node){ .op = &nib_op_layer_norm, .rms_form = NIB_RMS_ONE_PLUS, .eps = eps },
                 true, format, args);
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
