/* gguf_family.c - a config.json in the making, a key at a time: see gguf_family.h. */
#include "model/gguf_family.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/gguf_writer.h"
#include "graph/graph.h"

void nib_gguf_fail(nib_gguf_config *c, nib_status status, const char *format, ...)
{
    char text[sizeof c->error.message];
    va_list args;

    if (c->status) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->status = nib_fail(&c->error, status, "%s: %s", c->where, text);
}

void nib_gguf_set(nib_gguf_config *c, const char *key, json_t *value)
{
    if (c->status) json_decref(value);
    else if (!value || json_object_set_new(c->json, key, value))
        nib_gguf_fail(c, NIB_E_NOMEM, "out of memory");
}

bool nib_gguf_is_of_experts(const nib_gguf_name *n)
{
    const char *mark = strstr(n->module, "%d");

    return mark && strstr(mark + 2, "%d");
}

bool nib_gguf_has(const nib_gguf_config *c, const char *tensor)
{
    return nib_tensors_find(c->tensors, tensor) != NULL;
}

const nib_gguf_value *nib_gguf_key_value(const nib_gguf_config *c, const char *key)
{
    char name[200];
    const nib_gguf_value *v;

    snprintf(name, sizeof name, "%s.%s", c->architecture, key);
    v = nib_gguf_find(c->keys, name);
    if (v) c->asked[v - c->keys->values] = true;
    return v;
}

/* One number, or the same for every layer. */
static bool one_number(nib_gguf_config *c, const nib_gguf_value *v, double *out)
{
    double other;

    if (!nib_gguf_number(v, 0, out)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "%s is not a number", v->key);
        return false;
    }
    for (uint64_t i = 1; i < v->count; i++)
        if (!nib_gguf_number(v, i, &other) || other != *out) {
            nib_gguf_fail(c, NIB_E_UNSUPPORTED,
                          "%s is %g in layer 0 and %g in layer %" PRIu64
                          "; one value for all layers is known",
                          v->key, *out, other, i);
            return false;
        }
    return true;
}

double nib_gguf_get(nib_gguf_config *c, const char *key, double fallback)
{
    const nib_gguf_value *v = nib_gguf_key_value(c, key);
    double out = fallback;

    if (!c->status && v && !one_number(c, v, &out)) return fallback;
    return out;
}

double nib_gguf_shortest(float value)
{
    char text[40];

    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) return strtod(text, NULL);
    }
    return (double)value;
}

static json_t *json_of(const nib_gguf_value *v, double number)
{
    if (v->entry == NIB_GGUF_BOOL) return json_boolean(number != 0);
    if (v->entry == NIB_GGUF_F32) return json_real(nib_gguf_shortest((float)number));
    if (v->entry == NIB_GGUF_F64) return json_real(number);
    return json_integer((json_int_t)number);
}

void nib_gguf_copy(nib_gguf_config *c, const nib_gguf_value *v, const char *to)
{
    double number = 0;

    nib_gguf_text text;

    if (!v || c->status) return;
    if (nib_gguf_one_text(v, &text)) {
        json_t *value = json_stringn(text.at, text.bytes);
        if (value) nib_gguf_set(c, to, value);
        else nib_gguf_fail(c, NIB_E_FORMAT, "%s is no text in UTF-8", v->key);
        return;
    }
    if (!one_number(c, v, &number)) return;
    if (!isfinite(number)) nib_gguf_fail(c, NIB_E_FORMAT, "%s is no finite number", v->key);
    else if (fabs(number) > 0x1p53) nib_gguf_fail(c, NIB_E_FORMAT, "%s is %g", v->key, number);
    else nib_gguf_set(c, to, json_of(v, number));
}

void nib_gguf_set_mixed(nib_gguf_config *c, const char *attention, const char *other)
{
    const nib_gguf_value *v = nib_gguf_key_value(c, "attention.head_count_kv");
    double layers = nib_gguf_get(c, "block_count", 0), most = 0, heads;
    json_t *types = json_array();

    for (uint64_t i = 0; (double)i < layers && i < 10000; i++) {
        if (!v || !nib_gguf_number(v, v->kind == NIB_GGUF_ARRAY ? i : 0, &heads)) heads = 0;
        if (heads > most) most = heads;
        json_array_append_new(types, json_string(heads > 0 ? attention : other));
    }
    nib_gguf_set(c, "layer_types", types);
    if (!(most >= 1 && most <= 65536))
        nib_gguf_fail(c, NIB_E_FORMAT, "attention.head_count_kv is %g in each layer", most);
    else nib_gguf_set(c, "num_key_value_heads", json_integer((json_int_t)most));
}

void nib_gguf_set_bias(nib_gguf_config *c, const char *key, const char *tensor)
{
    nib_gguf_set(c, key, json_boolean(nib_gguf_has(c, tensor)));
}

void nib_gguf_set_inner(nib_gguf_config *c, const char *key)
{
    const nib_tensor *t = nib_tensors_find(c->tensors, "blk.0.ffn_up.weight");

    if (!t || t->rank != 2) nib_gguf_fail(c, NIB_E_MISMATCH, "blk.0.ffn_up.weight is missing");
    else nib_gguf_set(c, key, json_integer((json_int_t)t->shape[0]));
}

void nib_gguf_set_partial(nib_gguf_config *c, const char *key)
{
    double heads = nib_gguf_get(c, "attention.head_count", 1);
    double width = nib_gguf_get(c, "embedding_length", 1);
    double head = nib_gguf_get(c, "attention.key_length", width / heads);
    double rotated = nib_gguf_get(c, "rope.dimension_count", head);

    if (!(head >= 1 && head <= 65536 && rotated >= 1 && rotated <= head)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "rope.dimension_count is %g of heads of %g", rotated, head);
        return;
    }
    nib_gguf_set(c, key, json_real(rotated / head));
}

/* Of each layer, or one number: so many, of which the last sees all; 0: all slide. */
void nib_gguf_set_sliding(nib_gguf_config *c)
{
    const nib_gguf_value *v = nib_gguf_key_value(c, "attention.sliding_window_pattern");
    bool list = v && v->kind == NIB_GGUF_ARRAY;
    double layers = nib_gguf_get(c, "block_count", 0), every = 0, number;
    json_t *types;

    if (!v || c->status) return;
    if (!list && (!nib_gguf_number(v, 0, &every) || !(every >= 0 && every <= 10000))) {
        nib_gguf_fail(c, NIB_E_FORMAT, "%s is %g, expected 0 to 10000, or one of each layer",
                      v->key, every);
        return;
    }
    types = json_array();
    for (uint64_t i = 0; i <= 10000 && (list ? i < v->count : (double)i < layers); i++) {
        bool sliding = list ? nib_gguf_number(v, i, &number) && number != 0
                            : every == 0 || i % (uint64_t)every < (uint64_t)every - 1;
        json_array_append_new(types,
                              json_string(sliding ? "sliding_attention" : "full_attention"));
    }
    nib_gguf_set(c, "layer_types", types);
}

size_t nib_gguf_global_every(const nib_graph *g)
{
    size_t layer = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].attention.heads) continue;
        if (layer && !g->nodes[i].attention.window) return layer;
        layer++;
    }
    return nib_max(layer, 1);
}

size_t nib_gguf_experts(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].route.experts) return g->nodes[i].route.experts;
    return 0;
}

const nib_attention_desc *nib_gguf_attention(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].attention.heads) return &g->nodes[i].attention;
    return NULL;
}

void nib_gguf_put_own(const nib_gguf_put *p, const char *key, nib_gguf_kind kind, double value)
{
    char room[200];

    snprintf(room, sizeof room, "%s.%s", p->architecture, key);
    nib_gguf_put_number(p->w, room, kind, value);
}
