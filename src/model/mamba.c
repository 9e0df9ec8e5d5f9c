/* mamba.c - see mamba.h. */
#include "model/mamba.h"

#include <math.h>

/* --- keys --- */

/* A number, or transformers 5's spelling of one that JSON lacks. */
static float read_limit(nib_reader *r, const json_t *item)
{
    const char *word = json_string_value(json_object_get(item, "__float__"));

    if (word && strcmp(word, "Infinity") == 0) return INFINITY;
    if (!json_is_number(item) || !(json_number_value(item) >= 0))
        nib_read_fail(r, NIB_E_FORMAT, "time_step_limit: expected two numbers from 0 on, the last "
                                       "of them may be {\"__float__\": \"Infinity\"}");
    return (float)json_number_value(item);
}

static void read_limits(nib_reader *r, nib_scan_spec *scan)
{
    const json_t *limits = nib_read_any(r, "time_step_limit");

    scan->most = INFINITY;
    if (!limits) return;
    scan->least = read_limit(r, json_array_get(limits, 0));
    scan->most = read_limit(r, json_array_get(limits, 1));
    if (!r->status && (json_array_size(limits) != 2 || scan->least > scan->most))
        nib_read_fail(r, NIB_E_FORMAT, "time_step_limit: expected a least and a greatest step");
}

/* "auto", the default, is what makes the heads `inner` wide together. */
static size_t read_head_width(nib_reader *r, size_t inner, size_t heads)
{
    const json_t *width = nib_read_any(r, "mamba_d_head");
    const char *word = json_string_value(width);
    size_t d = !width || (word && strcmp(word, "auto") == 0) ? inner / nib_max(heads, 1)
                                                             : nib_read_size(r, "mamba_d_head");

    if (!r->status && d * heads != inner)
        nib_read_fail(r, NIB_E_FORMAT, "mamba_n_heads is %zu and mamba_d_head %zu, expected %zu "
                      "channels together", heads, d, inner);
    return d;
}

void nib_mamba_read(nib_reader *r, nib_mamba *m, size_t width, size_t inner)
{
    nib_scan_spec *s = &m->scan;

    m->width = width;
    s->heads = nib_read_size_or(r, "mamba_n_heads", 128);
    s->key_heads = nib_read_size_or(r, "mamba_n_groups", 1);
    s->rows = nib_read_size_or(r, "mamba_d_state", 256);
    s->columns = read_head_width(r, inner, s->heads);
    m->taps = nib_read_size_or(r, "mamba_d_conv", 4);
    m->conv_bias = nib_read_bool(r, "mamba_conv_bias", true);
    m->in_bias = m->out_bias = nib_read_bool(r, "mamba_proj_bias", false);
    nib_read_check_heads(r, s->heads, s->key_heads, nib_max(s->rows, s->columns));
    read_limits(r, s);
    nib_read_size_or(r, "mamba_chunk_size", 256); /* in it the reference computes; not here */
    if (nib_read_activation(r, "hidden_act", "silu") != NIB_ACT_SILU)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "hidden_act of a convolution: known is silu");
}

/* --- the layer --- */

nib_value nib_apply_mamba(nib_build *b, const nib_mamba *m, int i, nib_value h)
{
    static const char of[] = "model.layers.%d.mamba";
    const nib_scan_spec *s = &m->scan;
    size_t inner = s->heads * s->columns, group = s->key_heads * s->rows;
    nib_conv_spec conv = { .taps = m->taps, .channels = inner + 2 * group, .bias = m->conv_bias,
                           .silu = true };

    nib_value all = nib_apply_linear(b, h, inner + conv.channels + s->heads, m->in_bias,
                                     "model.layers.%d.mamba.in_proj", i);
    nib_value z = nib_columns_of(b, all, 0, inner);
    nib_value x = nib_columns_of(b, all, inner, conv.channels);
    nib_value steps = nib_columns_of(b, all, inner + conv.channels, s->heads);
    x = nib_convolve(b, x, &conv, "model.layers.%d.mamba.conv1d", i);
    nib_value writes = nib_columns_of(b, x, inner, group);
    nib_value reads = nib_columns_of(b, x, inner + group, group);
    x = nib_apply_state_space(b, reads, writes, nib_columns_of(b, x, 0, inner), steps, s, of, i);
    x = nib_gate(b, z, x, NIB_ACT_SILU);
    x = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.mamba.norm", i);
    return nib_apply_linear(b, x, m->width, m->out_bias, "model.layers.%d.mamba.out_proj", i);
}
