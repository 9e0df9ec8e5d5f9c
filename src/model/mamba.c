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

typedef struct parts { nib_value z, x, writes, reads, steps; } parts;

static const char conv_name[] = "model.layers.%d.mamba.conv1d";

/* x, B and C through one convolution. */
static parts convolve(nib_build *b, const nib_mamba *m, nib_conv_spec conv, int i, nib_value all)
{
    size_t inner = m->scan.heads * m->scan.columns, group = m->scan.key_heads * m->scan.rows;
    parts p = { .z = nib_columns_of(b, all, 0, inner) };
    nib_value x = nib_columns_of(b, all, inner, conv.channels);

    p.steps = nib_columns_of(b, all, inner + conv.channels, m->scan.heads);
    x = nib_convolve(b, x, &conv, conv_name, i);
    p.x = nib_columns_of(b, x, 0, inner);
    p.writes = nib_columns_of(b, x, inner, group);
    p.reads = nib_columns_of(b, x, inner + group, group);
    return p;
}

/* Each through its channels of it, because each has its factor. */
static parts convolve_scaled(nib_build *b, const nib_mamba *m, nib_conv_spec conv, int i,
                             nib_value all)
{
    size_t inner = m->scan.heads * m->scan.columns, group = m->scan.key_heads * m->scan.rows;
    const size_t widths[5] = { inner, inner, group, group, m->scan.heads };
    nib_value v[5];

    for (size_t j = 0, at = 0; j < 5; at += widths[j++]) {
        v[j] = nib_scale(b, nib_columns_of(b, all, at, widths[j]), m->factors[j]);
        if (j == 0 || j == 4) continue;
        conv.offset = at - inner;
        v[j] = nib_convolve(b, v[j], &conv, conv_name, i);
    }
    return (parts){ .z = v[0], .x = v[1], .writes = v[2], .reads = v[3], .steps = v[4] };
}

static nib_value norm(nib_build *b, const nib_mamba *m, int i, nib_value x)
{
    return nib_apply_rms_norm_groups(b, x, m->scan.key_heads, m->eps,
                                     "model.layers.%d.mamba.norm", i);
}

nib_value nib_apply_mamba(nib_build *b, const nib_mamba *m, int i, nib_value h)
{
    static const char out[] = "model.layers.%d.mamba.out_proj";
    const nib_scan_spec *s = &m->scan;
    size_t inner = s->heads * s->columns;
    nib_conv_spec conv = { .taps = m->taps, .channels = inner + 2 * s->key_heads * s->rows,
                           .bias = m->conv_bias, .silu = true };

    nib_value all = nib_apply_linear(b, h, inner + conv.channels + s->heads, m->in_bias,
                                     "model.layers.%d.mamba.in_proj", i);
    parts p = m->scaled ? convolve_scaled(b, m, conv, i, all) : convolve(b, m, conv, i, all);
    nib_value x = nib_apply_state_space(b, p.reads, p.writes, p.x, p.steps, s,
                                        "model.layers.%d.mamba", i);
    if (m->norm == NIB_MAMBA_NORM_GATE) x = norm(b, m, i, x);
    x = nib_gate(b, p.z, x, NIB_ACT_SILU);
    if (m->norm == NIB_MAMBA_GATE_NORM) x = norm(b, m, i, x);
    return m->bypassed ? nib_apply_bypassed_linear(b, x, m->width, m->out_bias, out, i)
                       : nib_apply_linear(b, x, m->width, m->out_bias, out, i);
}
