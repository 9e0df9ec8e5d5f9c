/* gguf_rope.c - a model's rope as keys of GGUF, and the divisors of its angles, which are
 * tensors. */
#include <math.h>

#include "model/gguf_keys_parts.h"

const nib_rope *nib_gguf_rope_of(const nib_graph *g)
{
    const nib_rope *first = NULL, *last = NULL;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->rope) last = n->rope;
        if (!first) first = last;
        if (n->attention.heads && !n->attention.window && last) return last;
    }
    return first;
}

static double rope_number(const nib_gguf_keys *k, const char *key, double fallback)
{
    const json_t *v = json_object_get(k->rope, key);

    return json_is_number(v) ? json_number_value(v) : fallback;
}

static nib_status add_divisors(nib_gguf_keys *k, const char *name, size_t count,
                               float **values, nib_error *err)
{
    float *made = nib_new_array(k->m->ctx, count, sizeof *made);

    if (!made) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    k->out->divisors[k->out->divisor_count++] = (nib_gguf_divisors){ name, made, count };
    *values = made;
    return NIB_OK;
}

/* Divisors of each frequency: 1 for the fast ones, `factor` for the slow ones, between them a
 * mixture; in float, as the converter computes them. */
static nib_status put_llama3(nib_gguf_keys *k, const nib_rope *rope, nib_error *err)
{
    float factor = (float)rope_number(k, "factor", 8), low = (float)rope_number(k,
                                                                              "low_freq_factor", 1);
    float high = (float)rope_number(k, "high_freq_factor", 4), *d = NULL;
    float original = (float)rope_number(k, "original_max_position_embeddings", 8192);
    nib_status status = add_divisors(k, "rope_freqs.weight", rope->rot / 2, &d, err);

    for (size_t i = 0; !status && i < rope->rot / 2; i++) {
        float inv = 1 / powf((float)rope->theta, (float)(2 * i) / (float)rope->rot);
        float length = 6.283185307179586f / inv, smooth;
        smooth = (original / length - low) / (high - low);
        d[i] = length < original / high ? 1
               : length > original / low ? factor
                                         : 1 / ((1 - smooth) / factor + smooth);
    }
    return status;
}

/* Of a rope that turns some channels: of the others so great a one that they stand still. */
static nib_status put_still(nib_gguf_keys *k, const nib_rope *rope, nib_error *err)
{
    float *d = NULL;
    nib_status status = add_divisors(k, "rope_freqs.weight", rope->rot / 2, &d, err);

    for (size_t i = 0; !status && i < rope->rot / 2; i++) d[i] = rope->inv[i] != 0 ? 1 : 1e30f;
    return status;
}

static nib_status copy_divisors(nib_gguf_keys *k, const char *name, const char *key,
                                const nib_rope *rope, nib_error *err)
{
    const json_t *list = json_object_get(k->rope, key);
    float *values = NULL;
    nib_status status;

    if (json_array_size(list) != rope->rot / 2)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s has %zu entries, expected %zu", k->m->dir, key,
                        json_array_size(list), rope->rot / 2);
    status = add_divisors(k, name, rope->rot / 2, &values, err);
    for (size_t i = 0; !status && i < rope->rot / 2; i++)
        values[i] = (float)json_number_value(json_array_get(list, i));
    return status;
}

static nib_status put_longrope(nib_gguf_keys *k, const nib_rope *rope, nib_error *err)
{
    const json_t *original = json_object_get(k->rope, "original_max_position_embeddings");
    bool alike = json_equal(json_object_get(k->rope, "short_factor"),
                            json_object_get(k->rope, "long_factor"));
    nib_status status;

    if (alike && rope->attention_factor == 1) /* llama 3's, read back from a GGUF */
        return copy_divisors(k, "rope_freqs.weight", "long_factor", rope, err);
    if (strcmp(k->n->family->architecture, "phi3") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: rope_type longrope has a form in GGUF for "
                        "phi3 alone", k->m->dir);
    if (!original) original = json_object_get(k->config, "original_max_position_embeddings");
    if (!json_is_integer(original))
        return nib_fail(err, NIB_E_FORMAT, "%s: original_max_position_embeddings is missing",
                        k->m->dir);
    nib_gguf_put_key(k, "rope.scaling.original_context_length", NIB_GGUF_U32,
                     (double)json_integer_value(original));
    nib_gguf_put_key(k, "rope.scaling.attn_factor", NIB_GGUF_F32, (double)rope->attention_factor);
    status = copy_divisors(k, "rope_factors_long.weight", "long_factor", rope, err);
    return status ? status
                  : copy_divisors(k, "rope_factors_short.weight", "short_factor", rope, err);
}

double nib_gguf_yarn_length(double factor) { return factor > 1 ? 0.1 * log(factor) + 1 : 1; }

/* llama.cpp multiplies that by attn_factor. */
static void put_length(const nib_gguf_keys *k, const nib_rope *rope, double factor)
{
    double usual = nib_gguf_yarn_length(factor), length = (double)rope->attention_factor;

    if (!k->n->family->mscales && fabs(length - usual) > 1e-6 * usual)
        nib_gguf_put_key(k, "rope.scaling.attn_factor", NIB_GGUF_F32, length / usual);
}

/* Which channels yarn stretches: other numbers than 32 and 1 llama.cpp reads of one
 * architecture. */
static void check_betas(const nib_gguf_keys *k)
{
    const char *architecture = k->n->family->architecture;
    double fast = rope_number(k, "beta_fast", 32), slow = rope_number(k, "beta_slow", 1);

    if ((fast != 32 || slow != 1) && strcmp(architecture, "mistral3") != 0)
        nib_warn_code(k->m->ctx, "gguf-rope", "%s: beta_fast %g and beta_slow %g of the rope are "
                      "written, but llama.cpp takes 32 and 1 in its %s, which turns otherwise",
                      k->m->dir, fast, slow, architecture);
}

static void put_yarn(const nib_gguf_keys *k)
{
    static const struct { const char *config, *gguf; } pairs[] = {
        { "beta_fast", "rope.scaling.yarn_beta_fast" },
        { "beta_slow", "rope.scaling.yarn_beta_slow" },
        { "attention_factor", "rope.scaling.yarn_attn_factor" },
    };
    double original = rope_number(k, "original_max_position_embeddings",
                                  (double)k->m->graph->positions);

    nib_gguf_put_key(k, "rope.scaling.original_context_length", NIB_GGUF_U32, original);
    for (size_t i = 0; i < NIB_COUNT(pairs); i++)
        if (json_is_number(json_object_get(k->rope, pairs[i].config)))
            nib_gguf_put_key(k, pairs[i].gguf, NIB_GGUF_F32, rope_number(k, pairs[i].config, 0));
}

nib_status nib_gguf_put_rope(nib_gguf_keys *k, nib_error *err)
{
    const nib_rope *rope = nib_gguf_rope_of(k->m->graph);
    const json_t *type = json_object_get(k->rope, "rope_type");
    const char *name;
    char room[NIB_GGUF_KEY_ROOM];

    if (rope && k->n->family->by_kind) return put_still(k, rope, err);
    if (!json_is_string(type)) type = json_object_get(k->rope, "type");
    name = json_is_string(type) ? json_string_value(type) : "default";
    if (!rope || !k->rope || strcmp(name, "default") == 0) return NIB_OK;
    if (strcmp(name, "llama3") == 0)
        return put_llama3(k, rope, err);
    if (strcmp(name, "longrope") == 0 || strcmp(name, "su") == 0) return put_longrope(k, rope, err);
    if (strcmp(name, "linear") != 0 && strcmp(name, "yarn") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: rope_type %s has no form in GGUF; those that "
                        "have are default, linear, yarn, llama3 and phi3's longrope", k->m->dir,
                        name);
    nib_gguf_put_text(k->w, nib_gguf_full_key(k, "rope.scaling.type", room), name, strlen(name));
    nib_gguf_put_key(k, "rope.scaling.factor", NIB_GGUF_F32, rope_number(k, "factor", 1));
    if (strcmp(name, "yarn") != 0) return NIB_OK;
    check_betas(k);
    put_yarn(k);
    put_length(k, rope, rope_number(k, "factor", 1));
    return NIB_OK;
}
