/* reader.c - config.json's keys, one call a key. */
#include "model/reader.h"

#include <inttypes.h>
#include <stdio.h>

/* Far above any model there is; products of two stay below 2^63. */
enum { LARGEST = 1 << 30, MOST_LAYERS = 10000, MOST_HEADS = 1 << 16, MOST_CHANNELS = 1 << 24 };

void nib_read_fail(nib_reader *r, nib_status status, const char *format, ...)
{
    char text[sizeof r->error.message];
    va_list args;

    if (r->status) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->status = nib_fail(&r->error, status, "%s: %s", r->where, text);
}

const json_t *nib_read_any(nib_reader *r, const char *key)
{
    bool noted = false;

    for (size_t i = 0; i < r->asked_count; i++) noted |= strcmp(r->asked[i], key) == 0;
    if (!noted && r->asked_count < NIB_READER_KEYS) r->asked[r->asked_count++] = key;
    return json_object_get(r->json, key);
}

bool nib_read_has(nib_reader *r, const char *key) { return nib_read_any(r, key) != NULL; }

const char *nib_read_either(nib_reader *r, const char *name, const char *other)
{
    return !nib_read_has(r, name) && nib_read_has(r, other) ? other : name;
}

/* Absent or null: false, with *value set or an error kept; `if_null` < 0 has no meaning. */
static bool is_given(nib_reader *r, const char *key, int64_t fallback, int64_t if_null,
                     int64_t *value)
{
    const json_t *j = nib_read_any(r, key);

    if (r->status) return false;
    if (j && !json_is_null(j)) return true;
    *value = j ? if_null : fallback;
    if (*value < 0)
        nib_read_fail(r, NIB_E_FORMAT, "%s is %s", key,
                      j ? "null, expected a positive integer" : "missing");
    return false;
}

static size_t read_size(nib_reader *r, const char *key, int64_t most, int64_t fallback,
                        int64_t if_null)
{
    int64_t value = 0;

    if (is_given(r, key, fallback, if_null, &value))
        r->status = nib_json_get_int(r->json, r->where, key, 1, most, &value, &r->error);
    return r->status ? 0 : (size_t)value;
}

size_t nib_read_size(nib_reader *r, const char *key) { return read_size(r, key, LARGEST, -1, -1); }

size_t nib_read_size_or(nib_reader *r, const char *key, size_t fallback)
{
    return read_size(r, key, LARGEST, (int64_t)fallback, -1);
}

size_t nib_read_size_or_null(nib_reader *r, const char *key, size_t fallback, size_t if_null)
{
    return read_size(r, key, LARGEST, (int64_t)fallback, (int64_t)if_null);
}

static size_t check_layers(nib_reader *r, const char *key, size_t layers)
{
    if (layers > MOST_LAYERS)
        nib_read_fail(r, NIB_E_FORMAT, "absurd sizes: %s is %zu, at most %d are read", key, layers,
                      MOST_LAYERS);
    return layers;
}

size_t nib_read_layers(nib_reader *r, const char *key)
{
    return check_layers(r, key, nib_read_size(r, key));
}

size_t nib_read_layers_or(nib_reader *r, const char *key, size_t fallback)
{
    return check_layers(r, key, nib_read_size_or(r, key, fallback));
}

int64_t nib_read_int_or(nib_reader *r, const char *key, int64_t lo, int64_t hi, int64_t fallback)
{
    const json_t *j = nib_read_any(r, key);
    int64_t value = fallback;

    if (r->status || !j) return value;
    if (json_is_null(j)) nib_read_fail(r, NIB_E_FORMAT, "%s is null, expected an integer", key);
    else r->status = nib_json_get_int(r->json, r->where, key, lo, hi, &value, &r->error);
    return r->status ? fallback : value;
}

double nib_read_float_or_null(nib_reader *r, const char *key, double fallback, double if_null)
{
    const json_t *j = nib_read_any(r, key);
    double value = fallback;

    if (r->status || !j) return value;
    if (json_is_null(j)) return if_null;
    r->status = nib_json_get_float(r->json, r->where, key, &value, &r->error);
    return r->status ? fallback : value;
}

double nib_read_float_or(nib_reader *r, const char *key, double fallback)
{
    if (json_is_null(nib_read_any(r, key)))
        nib_read_fail(r, NIB_E_FORMAT, "%s is null, expected a number", key);
    return nib_read_float_or_null(r, key, fallback, fallback);
}

float nib_read_dropout(nib_reader *r, const char *key, double fallback, bool null_means)
{
    double p = null_means ? nib_read_float_or_null(r, key, fallback, fallback)
                          : nib_read_float_or(r, key, fallback);

    if (!r->status && !(p >= 0 && p < 1))
        nib_read_fail(r, NIB_E_FORMAT, "%s is %g, expected a probability from 0 to less than 1",
                      key, p);
    return (float)p;
}

float nib_read_eps(nib_reader *r, const char *key, float fallback)
{
    double value = nib_read_float_or(r, key, (double)fallback);

    if (!(value >= 0 && value <= 1))
        nib_read_fail(r, NIB_E_FORMAT, "%s is %g, expected 0 to 1", key, value);
    return (float)value;
}

bool nib_read_bool(nib_reader *r, const char *key, bool fallback)
{
    const json_t *j = nib_read_any(r, key);
    bool value = fallback;

    if (r->status || !j) return value;
    if (json_is_null(j)) return false;
    r->status = nib_json_get_bool(r->json, r->where, key, &value, &r->error);
    return value;
}

nib_activation nib_read_activation(nib_reader *r, const char *key, const char *fallback)
{
    static const struct { const char *name; nib_activation activation; } known[] = {
        { "silu", NIB_ACT_SILU }, { "swish", NIB_ACT_SILU }, { "gelu", NIB_ACT_GELU },
        { "gelu_new", NIB_ACT_GELU_TANH }, { "gelu_fast", NIB_ACT_GELU_TANH },
        { "gelu_pytorch_tanh", NIB_ACT_GELU_TANH }, { "relu", NIB_ACT_RELU },
        { "quick_gelu", NIB_ACT_QUICK_GELU }, { "tanh", NIB_ACT_TANH },
        { "sigmoid", NIB_ACT_SIGMOID }, { "relu2", NIB_ACT_RELU2 },
    };
    const json_t *j = nib_read_any(r, key);
    const char *name = j ? json_string_value(j) : fallback;

    if (r->status) return NIB_ACT_SILU;
    for (size_t i = 0; name && i < NIB_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0) return known[i].activation;
    nib_read_fail(r, name ? NIB_E_UNSUPPORTED : NIB_E_FORMAT,
                  "%s is %s%s%s, known are silu, swish, gelu, gelu_new, gelu_fast, "
                  "gelu_pytorch_tanh, relu, quick_gelu, tanh, sigmoid, relu2",
                  key, name ? "'" : "not a text", name ? name : "", name ? "'" : "");
    return NIB_ACT_SILU;
}

void nib_read_must_be_off(nib_reader *r, const char *key, const char *why)
{
    const json_t *j = nib_read_any(r, key);

    if (!j || json_is_null(j) || json_is_false(j)) return;
    if (json_is_number(j) && json_number_value(j) == 0) return;
    nib_read_fail(r, NIB_E_UNSUPPORTED, "%s is set: %s", key, why);
}

void nib_read_check_heads(nib_reader *r, size_t heads, size_t kv_heads, size_t head_dim)
{
    if (r->status) return;
    if (heads % kv_heads)
        nib_read_fail(r, NIB_E_FORMAT, "%zu heads are not a multiple of %zu key/value heads", heads,
                      kv_heads);
    if (head_dim > MOST_CHANNELS || heads > MOST_HEADS || heads * head_dim > MOST_CHANNELS)
        nib_read_fail(r, NIB_E_FORMAT, "absurd sizes: %zu heads of %zu channels", heads, head_dim);
}

size_t nib_read_head_dim(nib_reader *r, size_t width, size_t heads)
{
    if (r->status) return 1;
    if (width % heads)
        nib_read_fail(r, NIB_E_FORMAT, "width %zu is not a multiple of %zu heads", width, heads);
    return nib_max(width / heads, 1);
}

size_t nib_read_own_head_dim(nib_reader *r, size_t width, size_t heads, bool null_means)
{
    const json_t *own = nib_read_any(r, "head_dim");

    return own && !(null_means && json_is_null(own)) ? nib_read_size(r, "head_dim")
                                                     : nib_read_head_dim(r, width, heads);
}

void *nib_read_alloc(nib_reader *r, size_t count, size_t size)
{
    void *block;

    if (r->status) return NULL;
    assert(r->config->block_count < NIB_CONFIG_BLOCKS);
    block = nib_new_array(r->ctx, count, size);
    if (!block) nib_read_fail(r, NIB_E_NOMEM, "out of memory");
    else r->config->blocks[r->config->block_count++] = block;
    return block;
}

bool *nib_read_sliding_layers(nib_reader *r, size_t layers)
{
    const json_t *list = nib_read_any(r, "layer_types");
    bool *sliding;

    if (r->status || !list || json_is_null(list)) return NULL;
    if (!json_is_array(list) || json_array_size(list) != layers) {
        nib_read_fail(r, NIB_E_FORMAT, "layer_types has %zu entries, expected a list of %zu",
                      json_array_size(list), layers);
        return NULL;
    }
    sliding = nib_read_alloc(r, layers, sizeof *sliding);
    for (size_t i = 0; sliding && i < layers; i++) {
        const char *type = json_string_value(json_array_get(list, i));
        sliding[i] = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding[i] && (!type || strcmp(type, "full_attention") != 0))
            nib_read_fail(r, NIB_E_UNSUPPORTED,
                          "layer_types[%zu] is '%s', known are full_attention, sliding_attention",
                          i, type ? type : "not a text");
    }
    return sliding;
}

void nib_read_check_window(nib_reader *r, size_t window, const bool *sliding, size_t layers)
{
    if (r->status || window || !sliding) return;
    for (size_t i = 0; i < layers; i++)
        if (sliding[i])
            nib_read_fail(r, NIB_E_FORMAT,
                          "layer %zu is of sliding_attention, and sliding_window is null or off; "
                          "give its size, or full_attention in layer_types", i);
}

bool *nib_read_sliding_pattern(nib_reader *r, size_t layers, size_t period)
{
    bool *sliding = nib_read_sliding_layers(r, layers);

    if (sliding) return sliding;
    sliding = nib_read_alloc(r, layers, sizeof *sliding);
    for (size_t i = 0; sliding && i < layers; i++) sliding[i] = (i + 1) % period != 0;
    return sliding;
}
