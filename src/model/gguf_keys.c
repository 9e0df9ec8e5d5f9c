/* gguf_keys.c - see gguf_keys.h.
 *
 * Sizes come from the graph, which knows the defaults of every family; what has a key of its own in
 * the family's table comes from config.json. */
#include "model/gguf_keys.h"

#include <math.h>
#include <stdio.h>

#include "model/gguf_keys_parts.h"
#include "model/gguf_listed.h"

typedef nib_gguf_keys keys;

static void put_count(const keys *k, const char *key, size_t value)
{
    nib_gguf_put_key(k, key, NIB_GGUF_U32, (double)value);
}

static bool has_key(const keys *k, const char *key)
{
    for (const nib_gguf_key *f = k->n->family->keys; f->gguf; f++)
        if (strcmp(f->gguf, key) == 0) return true;
    return false;
}

/* --- config.json --- */

/* transformers 5 keeps the ropes of kinds of layers apart. */
static void find_ropes(keys *k)
{
    const json_t *rope = json_object_get(k->config, "rope_parameters"), *full;

    if (!json_is_object(rope)) rope = json_object_get(k->config, "rope_scaling");
    full = json_object_get(rope, "full_attention");
    if (json_is_object(full)) {
        k->local = json_object_get(rope, "sliding_attention");
        rope = full;
    }
    k->rope = json_is_object(rope) ? rope : NULL;
}

/* Of a key of the family's table; NULL: absent or null. */
static const json_t *value_of(const keys *k, const nib_gguf_key *key)
{
    const json_t *v = json_object_get(k->config, key->config);

    if (!v && strcmp(key->gguf, "rope.freq_base") == 0) {
        v = json_object_get(k->rope, "rope_theta");
        if (!v) v = json_object_get(k->config, "rope_theta");
    }
    if (!v && strcmp(key->gguf, "rope.freq_base_swa") == 0)
        v = json_object_get(k->local, "rope_theta");
    return json_is_null(v) ? NULL : v;
}

/* --- sizes --- */

/* The base that the model has where config.json names none: another one than llama.cpp's 10000 in
 * some families.  windows: of the layers that have them.  0: no such layer. */
static double theta_of(const nib_graph *g, bool windows)
{
    const nib_rope *last = NULL;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->rope) last = n->rope;
        if (n->attention.heads && last && (n->attention.window != 0) == windows) return last->theta;
    }
    return windows || !last ? 0 : last->theta;
}

static bool is_up(const char *name, size_t layer)
{
    char dense[NIB_GGUF_NAME_ROOM], experts[NIB_GGUF_NAME_ROOM];

    snprintf(dense, sizeof dense, "blk.%zu.ffn_up.weight", layer);
    snprintf(experts, sizeof experts, "blk.%zu.ffn_up_exps.weight", layer);
    return strcmp(name, dense) == 0 || strcmp(name, experts) == 0;
}

/* Width of a layer's feed-forward part: rows of the matrix up. */
static size_t inner_of(const keys *k, size_t layer)
{
    for (size_t i = 0; i < k->m->linear_count; i++) {
        const nib_linear *l = k->m->linears[i];
        nib_gguf_tensor_name name;
        if (!nib_gguf_weight_of(k->n, l, &name)) continue;
        if (is_up(name.name, layer)) return l->weight->out;
        if (is_up(name.rest, layer)) return l->weight->out / 2;
    }
    return 0;
}

/* A norm's epsilon, under the name that the family's table has for it. */
static double epsilon_of(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].norm) return (double)g->nodes[i].eps;
    return 0;
}

size_t nib_gguf_first_position(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].row_offset && g->nodes[i].embedding) return g->nodes[i].row_offset;
    return 0;
}

/* Keys that follow from the graph; true: it was one, and is put. */
static bool put_from_graph(const keys *k, const char *key)
{
    const nib_graph *g = k->m->graph;
    const nib_attention_desc *a = nib_gguf_attention(g);

    if (strcmp(key, "context_length") == 0) put_count(k, key, g->positions);
    else if (strcmp(key, "embedding_length") == 0) put_count(k, key, k->m->embedding->weight->in);
    else if (strcmp(key, "block_count") == 0) put_count(k, key, (size_t)g->segments - 2);
    else if (strcmp(key, "attention.head_count") == 0) put_count(k, key, a->heads);
    else if (strcmp(key, "attention.head_count_kv") == 0) put_count(k, key, a->kv_heads);
    else if (strcmp(key, "attention.key_length") == 0) put_count(k, key, a->head_dim);
    else if (strcmp(key, "attention.sliding_window_pattern") == 0)
        put_count(k, key, nib_gguf_global_every(g));
    else if (strstr(key, "epsilon")) nib_gguf_put_key(k, key, NIB_GGUF_F32, epsilon_of(g));
    else return false;
    return true;
}

static bool is_of_experts(const char *key)
{
    return strcmp(key, "expert_count") == 0 || strcmp(key, "expert_used_count") == 0;
}

/* true: it is the key of a base of angles, and the graph has such layers. */
static bool put_theta(const keys *k, const char *key)
{
    bool windows = strcmp(key, "rope.freq_base_swa") == 0;
    double theta = windows || strcmp(key, "rope.freq_base") == 0 ? theta_of(k->m->graph, windows)
                                                                  : 0;

    if (theta > 0) nib_gguf_put_key(k, key, NIB_GGUF_F32, theta);
    return theta > 0;
}

static size_t window_of(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_attention_desc *a = &g->nodes[i].attention;
        if (a->window) return a->full ? 2 * (a->window - 1) : a->window; /* both sides together */
    }
    return 0;
}

/* What a family has where config.json names nothing, as the graph says it; nothing where it has no
 * such layers. */
static void put_default(const keys *k, const char *key)
{
    const nib_graph *g = k->m->graph;
    const nib_route_desc *route = NULL;
    const nib_scan_desc *scan = NULL;
    const nib_conv_desc *conv = NULL;
    size_t value = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (!route && n->route.experts) route = &n->route;
        if (!scan && n->scan.heads) scan = &n->scan;
        if (!conv && n->conv.taps) conv = &n->conv;
    }
    if (strcmp(key, "attention.sliding_window") == 0) value = window_of(g);
    else if (route && strcmp(key, "expert_count") == 0) value = route->experts;
    else if (route && strcmp(key, "expert_used_count") == 0) value = route->top;
    else if (scan && conv && strcmp(key, "ssm.conv_kernel") == 0) value = conv->taps;
    else if (scan && strcmp(key, "ssm.state_size") == 0) value = scan->rows;
    else if (scan && strcmp(key, "ssm.group_count") == 0) value = scan->key_heads;
    else if (scan && strcmp(key, "ssm.time_step_rank") == 0) value = scan->heads;
    if (value) put_count(k, key, value);
}

static nib_status put_table(const keys *k, nib_error *err)
{
    static const char *const floats[] = { "scale", "freq_base", "softcapping" };

    for (const nib_gguf_key *f = k->n->family->keys; f->gguf; f++) {
        const json_t *v = value_of(k, f);
        if (v && is_of_experts(f->gguf) && !nib_gguf_experts(k->m->graph)) {
            put_count(k, f->gguf, 0); /* config.json may name some all the same */
            continue;
        }
        bool length = strcmp(f->gguf, "context_length") == 0 && v &&
                      !nib_gguf_first_position(k->m->graph), real = false;
        if ((!length && put_from_graph(k, f->gguf)) || (!v && put_theta(k, f->gguf))) continue;
        if (!v) {
            put_default(k, f->gguf);
            continue;
        }
        if (json_is_string(v) && strcmp(f->gguf, "hidden_activation") == 0) {
            char room[NIB_GGUF_KEY_ROOM];
            nib_gguf_put_text(k->w, nib_gguf_full_key(k, f->gguf, room), json_string_value(v),
                              json_string_length(v));
            continue;
        }
        for (size_t i = 0; i < NIB_COUNT(floats); i++) real |= strstr(f->gguf, floats[i]) != NULL;
        if (!json_is_number(v) && !json_is_boolean(v))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s in config.json is no number", k->m->dir,
                            f->config);
        if (json_is_boolean(v)) nib_gguf_put_key(k, f->gguf, NIB_GGUF_BOOL, json_is_true(v));
        else nib_gguf_put_key(k, f->gguf, real ? NIB_GGUF_F32 : NIB_GGUF_U32, json_number_value(v));
    }
    return NIB_OK;
}

/* Of each layer where they differ, or some have no attention, and then none of them. */
static void put_kv_heads(const keys *k, const nib_attention_desc *a)
{
    const nib_graph *g = k->m->graph;
    size_t layers = (size_t)g->segments - 2, at = 0, found = 0;
    bool alike = true;
    char room[NIB_GGUF_KEY_ROOM];

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_attention_desc *other = &g->nodes[i].attention;
        found += other->heads != 0;
        alike &= !other->heads || other->kv_heads == a->kv_heads;
    }
    if (found >= layers && alike) {
        if (a->kv_heads != a->heads || k->n->family->by_kind)
            put_count(k, "attention.head_count_kv", a->kv_heads);
        return;
    }
    nib_gguf_put_array(k->w, nib_gguf_full_key(k, "attention.head_count_kv", room),
                       NIB_GGUF_I32, layers);
    for (size_t layer = 0; layer < layers; layer++) {
        size_t heads = 0;
        for (; at < g->node_count && g->nodes[at].segment <= (int)layer + 1; at++)
            if (g->nodes[at].attention.heads) heads = g->nodes[at].attention.kv_heads;
        nib_gguf_entry_number(k->w, NIB_GGUF_I32, (double)heads);
    }
}

/* How many types of tokens there are, which stands among the tokenizer's keys. */
static void put_types(const keys *k)
{
    char name[NIB_GGUF_NAME_ROOM];

    for (size_t i = 0; i < k->m->embedding_count; i++) {
        const nib_embedding *e = k->m->embeddings[i];
        if (nib_gguf_name_of(k->n, e->name, name) && strcmp(name, "token_types") == 0)
            nib_gguf_put_number(k->w, "tokenizer.ggml.token_type_count", NIB_GGUF_U32,
                                (double)e->weight->out);
    }
}

/* Of layers that scan: their channels, and beside a state space's whether attention is rotated. */
static void put_scan(const keys *k, bool rotated)
{
    const nib_graph *g = k->m->graph;
    size_t attentions = 0;
    bool all; /* layers have attention beside the scan */

    for (size_t i = 0; i < g->node_count; i++) attentions += g->nodes[i].attention.heads != 0;
    all = attentions + 2 >= (size_t)g->segments;
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_scan_desc *s = &g->nodes[i].scan;
        if (!s->heads) continue;
        put_count(k, "ssm.inner_size", s->heads * s->columns);
        if (s->delta) return;
        if (!all) nib_gguf_put_key(k, "rope.scaling.finetuned", NIB_GGUF_BOOL, rotated);
        if (!rotated) put_count(k, "rope.dimension_count", nib_gguf_attention(g)->head_dim);
        return;
    }
}

/* One width, or one of each layer where they differ. */
static nib_status put_inner(const keys *k, nib_error *err)
{
    size_t layers = (size_t)k->m->graph->segments - 2, inner = inner_of(k, 0);
    bool alike = true;
    char room[NIB_GGUF_KEY_ROOM];

    if (!inner) return nib_fail(err, NIB_E_MISMATCH, "%s: layer 0 has no ffn_up", k->m->dir);
    for (size_t i = 1; k->n->family->by_kind && i < layers; i++) alike &= inner_of(k, i) == inner;
    if (alike) {
        put_count(k, "feed_forward_length", inner);
        return NIB_OK;
    }
    nib_gguf_put_array(k->w, nib_gguf_full_key(k, "feed_forward_length", room), NIB_GGUF_I32,
                       layers);
    for (size_t i = 0; i < layers; i++)
        nib_gguf_entry_number(k->w, NIB_GGUF_I32, (double)inner_of(k, i));
    return NIB_OK;
}

/* What llama.cpp asks for, or takes another default for, and the family's table does not have. */
static nib_status put_others(const keys *k, nib_error *err)
{
    const nib_attention_desc *a = nib_gguf_attention(k->m->graph);
    const nib_rope *rope = nib_gguf_rope_of(k->m->graph);
    nib_status status = NIB_OK;

    if (!has_key(k, "feed_forward_length")) status = put_inner(k, err);
    if (!has_key(k, "attention.head_count_kv")) put_kv_heads(k, a);
    if (has_key(k, "attention.key_length")) put_count(k, "attention.value_length", a->head_dim);
    if (rope) put_count(k, "rope.dimension_count", rope->rot);
    put_scan(k, rope != NULL);
    if (a->full) nib_gguf_put_key(k, "attention.causal", NIB_GGUF_BOOL, 0);
    put_types(k);
    return status;
}

/* Which layers slide, where only some do, or the family lists it always. */
static void put_windows(const keys *k)
{
    const nib_graph *g = k->m->graph;
    char room[NIB_GGUF_KEY_ROOM];
    size_t layers = 0, sliding = 0;
    bool some;

    for (size_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].attention.heads) continue;
        layers++;
        sliding += g->nodes[i].attention.window != 0;
    }
    some = (sliding && sliding != layers) || k->n->family->by_kind;
    if (!has_key(k, "attention.sliding_window") || !some ||
        has_key(k, "attention.sliding_window_pattern"))
        return;
    nib_gguf_put_array(k->w, nib_gguf_full_key(k, "attention.sliding_window_pattern", room),
                       NIB_GGUF_BOOL, layers);
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].attention.heads)
            nib_gguf_entry_number(k->w, NIB_GGUF_BOOL, g->nodes[i].attention.window != 0);
}

/* --- the whole --- */

nib_status nib_gguf_put_model(const nib_model *m, const nib_gguf_naming *n, unsigned file_type,
                              nib_gguf_writer *w, nib_gguf_keys_out *out, nib_error *err)
{
    keys k = { .m = m, .n = n, .w = w, .out = out, .config = m->json };
    const char *architecture = n->family->architecture;
    const json_t *text = json_object_get(m->json, "text_config");
    const char *unsaid = NULL;
    nib_status status;

    if (m->config->wrapper && json_is_object(text)) k.config = text;
    if (!nib_gguf_attention(m->graph))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a model without attention", m->dir);
    find_ropes(&k);
    nib_gguf_put_text(w, "general.architecture", architecture, strlen(architecture));
    nib_gguf_put_text(w, "general.type", "model", 5);
    if (file_type != NIB_GGUF_FILE_TYPE_LATER)
        nib_gguf_put_number(w, NIB_GGUF_FILE_TYPE, NIB_GGUF_U32, file_type);
    nib_gguf_put_number(w, "general.quantization_version", NIB_GGUF_U32, 2);
    status = put_table(&k, err);
    if (!status) status = put_others(&k, err);
    if (n->family->put)
        n->family->put(&(nib_gguf_put){ m->graph, k.config, architecture, w, &unsaid });
    if (!status && unsaid)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: llama.cpp's %s %s", m->dir, architecture,
                          unsaid);
    put_windows(&k);
    nib_gguf_listed_put(m, n->family, w);
    if (!status) status = nib_gguf_put_rope(&k, err);
    if (status) nib_gguf_keys_out_free(m->ctx, out);
    return status;
}

void nib_gguf_put_no_tokenizer(const nib_model *m, const nib_gguf_naming *n, nib_gguf_writer *w)
{
    const keys k = { .m = m, .n = n, .w = w };

    put_count(&k, "vocab_size", m->embedding->weight->out);
    nib_gguf_put_text(w, "tokenizer.ggml.model", "no_vocab", 8);
}

void nib_gguf_keys_out_free(nib_ctx *ctx, nib_gguf_keys_out *out)
{
    for (size_t i = 0; i < out->divisor_count; i++) nib_free(ctx, out->divisors[i].values);
    *out = (nib_gguf_keys_out){ 0 };
}
