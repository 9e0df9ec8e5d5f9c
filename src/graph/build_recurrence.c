/* build_recurrence.c - adding the operations that carry something from token to token besides
 * attention: convolutions and recurrences. */
#include <stdarg.h>
#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

static nib_vector *bind_vector(nib_build *b, const char *module, const char *part,
                               nib_vector_spec spec)
{
    char name[NIB_NAME_ROOM + 32];
    nib_vector *v = NULL;
    nib_status status;

    if (b->status) return NULL;
    snprintf(name, sizeof name, "%s%s", module, part);
    status = b->binder.vector(b->binder.self, name, &spec, &v, &b->error);
    if (status) b->status = status;
    return b->status ? NULL : v;
}

/* Rows that carry something must be those of whole sequences. */
static bool is_of_tokens(nib_build *b, nib_value x, const char *what)
{
    nib_axis axis;

    if (b->status) return false;
    axis = b->graph->values[x.id].axis;
    if (axis == NIB_TOKENS) return true;
    nib_build_fail(b, NIB_E_UNSUPPORTED, "%s of %s, expected tokens", what,
                   b->graph->axes[axis].name);
    return false;
}

static nib_value add_conv(nib_build *b, nib_value x, const nib_conv_desc *d)
{
    return nib_build_node(b, (nib_node){ .op = &nib_op_conv, .conv = *d, .inputs = { x.id },
                                         .input_count = 1,
                                         .state_index = b->graph->state_count++ },
                          NIB_TOKENS, b->graph->values[x.id].width, 0);
}

nib_value nib_convolve(nib_build *b, nib_value x, const nib_conv_spec *spec, const char *format,
                       ...)
{
    char name[NIB_NAME_ROOM];
    nib_conv_desc d = { .taps = spec->taps, .channels = spec->channels, .offset = spec->offset,
                        .silu = spec->silu };
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    if (!named || !is_of_tokens(b, x, name)) return nothing;
    if (spec->taps < 1 || spec->taps > NIB_MOST_TAPS)
        nib_build_fail(b, NIB_E_UNSUPPORTED, "%s: %zu taps, expected 1 to %d", name, spec->taps,
                       NIB_MOST_TAPS);
    if (b->graph->values[x.id].width + spec->offset > spec->channels)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: channels %zu to %zu of %zu", name, spec->offset,
                       spec->offset + b->graph->values[x.id].width, spec->channels);
    d.weight = bind_vector(b, name, ".weight",
                           (nib_vector_spec){ .form = NIB_VECTOR_TAPS, .rank = 3,
                                              .shape = { spec->channels, 1, spec->taps } });
    if (spec->bias)
        d.bias = bind_vector(b, name, ".bias",
                             (nib_vector_spec){ .rank = 1, .shape = { spec->channels } });
    return b->status ? nothing : add_conv(b, x, &d);
}

nib_value nib_mix_before(nib_build *b, nib_value x, const char *format, ...)
{
    char name[NIB_NAME_ROOM];
    nib_conv_desc d = { .taps = 2 };
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    if (!named || !is_of_tokens(b, x, name)) return nothing;
    d.channels = b->graph->values[x.id].width;
    d.weight = bind_vector(b, name, "",
                           (nib_vector_spec){ .form = NIB_VECTOR_MIX, .rank = 3,
                                              .shape = { 1, 1, d.channels } });
    return b->status ? nothing : add_conv(b, x, &d);
}

/* --- the delta rule and state spaces --- */

static nib_value add_scan(nib_build *b, const nib_value in[5], int inputs, nib_scan_desc d,
                          const char *name)
{
    nib_vector_spec each = { .rank = 1, .shape = { d.heads } };
    nib_node node = { .op = &nib_op_scan, .input_count = inputs };

    for (int i = 0; i < inputs; i++) {
        if (!is_of_tokens(b, in[i], name)) return nothing;
        node.inputs[i] = in[i].id;
    }
    if (!d.heads || !d.key_heads || d.heads % d.key_heads)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: %zu heads for %zu of keys", name, d.heads,
                       d.key_heads);
    if (!nib_build_has_heads(b, in[0], d.key_heads, d.rows, name) ||
        !nib_build_has_heads(b, in[1], d.key_heads, d.rows, name) ||
        !nib_build_has_heads(b, in[2], d.heads, d.columns, name))
        return nothing;
    for (int i = 3; i < inputs; i++)
        if (!nib_build_has_heads(b, in[i], d.heads, 1, name)) return nothing;
    d.log_decay = bind_vector(b, name, ".A_log", each);
    d.dt_bias = bind_vector(b, name, ".dt_bias", each);
    if (!d.delta) d.skip = bind_vector(b, name, ".D", each);
    if (b->status) return nothing;
    node.scan = d;
    node.state_index = b->graph->state_count++;
    return nib_build_node(b, node, NIB_TOKENS, d.heads * d.columns, 0);
}

nib_value nib_apply_delta_rule(nib_build *b, nib_value q, nib_value k, nib_value v, nib_value beta,
                               nib_value a, const nib_scan_spec *spec, const char *format, ...)
{
    char name[NIB_NAME_ROOM];
    nib_scan_desc d = { .heads = spec->heads, .key_heads = spec->key_heads, .rows = spec->rows,
                        .columns = spec->columns, .delta = true };
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    return named ? add_scan(b, (nib_value[5]){ q, k, v, a, beta }, 5, d, name) : nothing;
}

nib_value nib_apply_state_space(nib_build *b, nib_value reads, nib_value writes, nib_value x,
                                nib_value steps, const nib_scan_spec *spec, const char *format,
                                ...)
{
    char name[NIB_NAME_ROOM];
    nib_scan_desc d = { .heads = spec->heads, .key_heads = spec->key_heads, .rows = spec->rows,
                        .columns = spec->columns, .least = spec->least, .most = spec->most };
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    return named ? add_scan(b, (nib_value[5]){ reads, writes, x, steps, nothing }, 4, d, name)
                 : nothing;
}

/* --- averages over time --- */

nib_value nib_average_before(nib_build *b, nib_value k, nib_value v, const char *format, ...)
{
    char name[NIB_NAME_ROOM];
    nib_vector_spec first = { .rank = 1 }, decay = { .rank = 1, .form = NIB_VECTOR_DECAY };
    nib_node node = { .op = &nib_op_wkv, .inputs = { k.id, v.id }, .input_count = 2 };
    const nib_value_info *values;
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    if (!named || !is_of_tokens(b, k, name) || !is_of_tokens(b, v, name)) return nothing;
    values = b->graph->values;
    if (values[k.id].view_of != NIB_NONE || values[v.id].view_of != NIB_NONE ||
        values[k.id].width != values[v.id].width)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: %zu channels of keys and %zu of values, expected "
                       "two plain values of one width", name, values[k.id].width,
                       values[v.id].width);
    if (b->status) return nothing;
    first.shape[0] = decay.shape[0] = values[k.id].width;
    node.wkv.decay = bind_vector(b, name, ".time_decay", decay);
    node.wkv.first = bind_vector(b, name, ".time_first", first);
    if (b->status) return nothing;
    node.state_index = b->graph->state_count++;
    return nib_build_node(b, node, NIB_TOKENS, first.shape[0], 0);
}

nib_value nib_average_around(nib_build *b, nib_value x, const nib_average_spec *spec,
                             const char *format, ...)
{
    char name[NIB_NAME_ROOM];
    nib_average_desc d = { .states = spec->states, .both = spec->both,
                           .truncation = spec->truncation };
    nib_vector_spec of_state = { .rank = 3 }, of_channel = { .rank = 1 };
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    if (!named || !nib_build_is_plain(b, x, name) || !is_of_tokens(b, x, name)) return nothing;
    of_channel.shape[0] = b->graph->values[x.id].width;
    of_state.shape[0] = of_channel.shape[0] * (spec->both ? 2 : 1);
    of_state.shape[1] = spec->states;
    of_state.shape[2] = 1;
    d.damping = bind_vector(b, name, ".damping_factor", of_state);
    d.decay = bind_vector(b, name, ".decay_factor", of_state);
    d.expansion = bind_vector(b, name, ".ema_expansion_matrix", of_state);
    of_state.rank = 2;
    d.projection = bind_vector(b, name, ".kernel_projection_matrix", of_state);
    d.residual = bind_vector(b, name, ".residual_weight", of_channel);
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_average, .average = d, .inputs = { x.id },
                                         .input_count = 1 },
                          NIB_TOKENS, of_channel.shape[0], 0);
}

nib_value nib_apply_affine(nib_build *b, nib_value x, size_t rows, size_t row, const char *format,
                           ...)
{
    char name[NIB_NAME_ROOM];
    nib_affine_desc d = { .row = row };
    nib_vector_spec spec = { .rank = rows ? 2 : 1 };
    va_list args;
    bool named;

    va_start(args, format);
    named = nib_build_name(b, name, format, args);
    va_end(args);
    if (!named || !nib_build_is_plain(b, x, name)) return nothing;
    spec.shape[0] = rows ? rows : b->graph->values[x.id].width;
    spec.shape[1] = b->graph->values[x.id].width;
    d.weight = bind_vector(b, name, rows ? "_weight" : ".weight", spec);
    if (rows) d.bias = bind_vector(b, name, "_bias", spec);
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_affine, .affine = d, .inputs = { x.id },
                                         .input_count = 1 },
                          b->graph->values[x.id].axis, spec.shape[rows ? 1 : 0], 0);
}

nib_value nib_mix_near(nib_build *b, nib_value x, size_t groups, size_t taps, const char *module)
{
    nib_near_desc d = { .groups = groups, .taps = taps };

    if (!nib_build_is_plain(b, x, module) || !is_of_tokens(b, x, module)) return nothing;
    d.width = b->graph->values[x.id].width;
    if (!groups || d.width % groups || taps % 2 == 0)
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "%s: %zu taps of %zu channels in %zu groups, expected an odd number and "
                       "groups of one size", module, taps, d.width, groups);
    if (b->status) return nothing;
    d.weight = bind_vector(b, module, ".weight",
                           (nib_vector_spec){ .rank = 3,
                                              .shape = { d.width, d.width / groups, taps } });
    d.bias = bind_vector(b, module, ".bias", (nib_vector_spec){ .rank = 1, .shape = { d.width } });
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_mix_near, .near = d, .inputs = { x.id },
                                         .input_count = 1 },
                          NIB_TOKENS, d.width, 0);
}
