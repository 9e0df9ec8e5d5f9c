/* build_recurrence.c - adding the operations that carry something from token to token besides
 * attention: convolutions. */
#include <stdarg.h>
#include <stdio.h>

#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

static nib_vector *bind_vector(nib_build *b, const char *module, const char *part,
                               nib_vector_spec spec)
{
    char name[NIB_NAME_ROOM + 16];
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
