/* reader_rope.c - rotary embedding from config.json (formats.md 10.3, 10.30).
 *
 * Three forms: rope_theta beside rope_scaling (transformers 4), rope_parameters with everything in
 * one object, or rope_parameters with an entry for each layer type (transformers 5).  An object is
 * read by its known keys; another key is refused, for it may change the angles. */
#include <math.h>
#include <stdio.h>

#include "model/reader.h"

static const double two_pi = 2 * 3.14159265358979323846;

typedef struct rope_keys {
    const char *name;   /* of the object, for errors */
    const json_t *json; /* NULL: plain */
    json_t *made;       /* from spec->absent */
    const char *type;
    double theta, factor, low, high, original, beta_fast, beta_slow, attention, mscale, mscale_all;
    double partial;     /* partial_rotary_factor, where rope_parameters has it; else 0 */
    double growth;      /* llama_4_scaling_beta */
    double alpha;
    bool truncate;
} rope_keys;

/* --- finding the object --- */

static bool is_layer_type(const char *key)
{
    return strcmp(key, "full_attention") == 0 || strcmp(key, "sliding_attention") == 0;
}

/* Of a rope_parameters with entries for layer types: the entry of this rope. */
static const json_t *entry_of(nib_reader *r, const json_t *object, const nib_rope_spec *spec)
{
    const char *key, *wanted = spec->layer_type ? spec->layer_type : "full_attention";
    json_t *value;
    bool typed = false;

    json_object_foreach((json_t *)(uintptr_t)object, key, value) typed |= is_layer_type(key);
    if (!typed) return object;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
        if (!is_layer_type(key) || !json_is_object(value)) {
            nib_read_fail(r, NIB_E_UNSUPPORTED,
                          "rope_parameters: '%s' beside entries for layer types, known are "
                          "full_attention and sliding_attention, each an object", key);
            return NULL;
        }
    object = json_object_get(object, wanted);
    if (!object)
        nib_read_fail(r, NIB_E_FORMAT, "rope_parameters has no entry %s", wanted);
    return object;
}

static void find_object(nib_reader *r, const nib_rope_spec *spec, rope_keys *k)
{
    const json_t *parameters = nib_read_any(r, "rope_parameters");
    const json_t *scaling = nib_read_any(r, "rope_scaling");
    const json_t *object = parameters && !json_is_null(parameters) ? parameters : scaling;

    k->name = object == scaling ? "rope_scaling" : "rope_parameters";
    if (!object && spec->absent) {
        object = scaling = k->made = json_loads(spec->absent, 0, NULL);
        if (!object) nib_read_fail(r, NIB_E_NOMEM, "rope_scaling: out of memory");
    }
    if (!object || json_is_null(object) || (object == scaling && !spec->scaled)) return;
    if (!json_is_object(object))
        nib_read_fail(r, NIB_E_FORMAT, "%s is not an object", k->name);
    else k->json = object == scaling ? object : entry_of(r, object, spec);
}

/* --- its keys --- */

static void check_known(nib_reader *r, const nib_rope_spec *spec, const rope_keys *k)
{
    static const char *const known[] = {
        "type", "rope_type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor",
        "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "mscale",
        "mscale_all_dim", "truncate", "partial_rotary_factor", "short_factor", "long_factor",
        "finetuned",
    };
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)k->json, key, value) {
        bool found = false;
        for (size_t i = 0; i < NIB_COUNT(known); i++) found |= strcmp(key, known[i]) == 0;
        found |= spec->grows && (strcmp(key, "llama_4_scaling_beta") == 0 ||
                                 strcmp(key, "max_position_embeddings") == 0);
        found |= spec->axes && (strcmp(key, "mrope_section") == 0 ||
                                strcmp(key, "mrope_interleaved") == 0);
        found |= spec->alpha && strcmp(key, "alpha") == 0;
        if (!found)
            nib_read_fail(r, NIB_E_UNSUPPORTED,
                          "%s: '%s' is not a known key; known are type, rope_type, rope_theta, "
                          "factor, low_freq_factor, high_freq_factor, "
                          "original_max_position_embeddings, beta_fast, beta_slow, "
                          "attention_factor, mscale, mscale_all_dim, truncate, "
                          "partial_rotary_factor, short_factor, long_factor",
                          k->name, key);
    }
}

static void read_number(nib_reader *r, const rope_keys *k, const char *key, double *out)
{
    char where[600];

    if (r->status) return;
    snprintf(where, sizeof where, "%.500s: %s", r->where, k->name);
    r->status = nib_json_get_float(k->json, where, key, out, &r->error);
}

static void read_type(nib_reader *r, rope_keys *k)
{
    const json_t *type = json_object_get(k->json, "rope_type");
    bool parameters = strcmp(k->name, "rope_parameters") == 0;

    if (!type) type = json_object_get(k->json, "type");
    if (json_is_string(type)) k->type = json_string_value(type);
    else if (type || !parameters)
        nib_read_fail(r, NIB_E_FORMAT, "%s: rope_type is %s, expected a text", k->name,
                      !type ? "missing" : json_is_null(type) ? "null" : "not a text");
}

static void read_keys(nib_reader *r, const nib_rope_spec *spec, rope_keys *k)
{
    const char *theta_key = spec->theta_key ? spec->theta_key : "rope_theta";

    *k = (rope_keys){ .type = "default", .beta_fast = 32, .beta_slow = 1, .truncate = true,
                      .original = (double)(spec->original ? spec->original : spec->positions) };
    k->theta = spec->theta;
    if (spec->fixed) return;
    k->theta = nib_read_float_or(r, theta_key, spec->theta);
    find_object(r, spec, k);
    if (!k->json && spec->proportional > 0) {
        k->type = "proportional";
        k->partial = spec->proportional;
    }
    if (!k->json || r->status) return;
    check_known(r, spec, k);
    read_type(r, k);
    read_number(r, k, "rope_theta", &k->theta);
    read_number(r, k, "factor", &k->factor);
    read_number(r, k, "low_freq_factor", &k->low);
    read_number(r, k, "high_freq_factor", &k->high);
    read_number(r, k, "original_max_position_embeddings", &k->original);
    read_number(r, k, "beta_fast", &k->beta_fast);
    read_number(r, k, "beta_slow", &k->beta_slow);
    read_number(r, k, "attention_factor", &k->attention);
    read_number(r, k, "mscale", &k->mscale);
    read_number(r, k, "mscale_all_dim", &k->mscale_all);
    read_number(r, k, "partial_rotary_factor", &k->partial);
    if (spec->grows) read_number(r, k, "llama_4_scaling_beta", &k->growth);
    if (spec->alpha) read_number(r, k, "alpha", &k->alpha);
    if (json_is_null(json_object_get(k->json, "truncate"))) k->truncate = false; /* Python's */
    else if (!r->status)
        r->status = nib_json_get_bool(k->json, r->where, "truncate", &k->truncate, &r->error);
}

/* --- angles --- */

static void need_factor(nib_reader *r, const rope_keys *k)
{
    if (k->factor <= 0)
        nib_read_fail(r, NIB_E_FORMAT, "%s of type %s needs a factor above 0", k->name, k->type);
}

/* Llama 3.1: long wavelengths are stretched, short ones kept, between them a blend. */
static void llama3_angles(nib_reader *r, const nib_rope *rope, const rope_keys *k, float *inv)
{
    need_factor(r, k);
    if (!json_is_number(json_object_get(k->json, "original_max_position_embeddings")))
        nib_read_fail(r, NIB_E_FORMAT,
                      "%s of type llama3 needs original_max_position_embeddings, a number",
                      k->name);
    if (k->low <= 0 || k->high <= k->low)
        nib_read_fail(r, NIB_E_FORMAT, "%s: low_freq_factor %g and high_freq_factor %g", k->name,
                      k->low, k->high);
    for (size_t j = 0; !r->status && j < rope->rot / 2; j++) {
        double angle = (double)inv[j], wavelength = two_pi / angle;
        double blend = (k->original / wavelength - k->low) / (k->high - k->low);

        if (wavelength < k->original / k->high) continue;
        inv[j] = (float)(wavelength > k->original / k->low
                             ? angle / k->factor
                             : (1 - blend) * angle / k->factor + blend * angle);
    }
}

static double yarn_dim(const nib_rope *rope, const rope_keys *k, double rotations)
{
    return (double)rope->rot * log(k->original / (rotations * two_pi)) / (2 * log(k->theta));
}

/* Peng et al. 2023, arXiv:2309.00071. */
static void yarn_angles(nib_reader *r, nib_rope *rope, const rope_keys *k, float *inv)
{
    double lo, hi;

    need_factor(r, k);
    if (!(k->original > 0 && k->beta_fast > 0 && k->beta_slow > 0))
        nib_read_fail(r, NIB_E_FORMAT,
                      "%s: original_max_position_embeddings %g, beta_fast %g, beta_slow %g, "
                      "expected above 0",
                      k->name, k->original, k->beta_fast, k->beta_slow);
    if (r->status) return;
    lo = yarn_dim(rope, k, k->beta_fast);
    hi = yarn_dim(rope, k, k->beta_slow);
    if (k->truncate) lo = floor(lo), hi = ceil(hi);
    lo = fmax(lo, 0);
    hi = fmin(hi, (double)rope->rot - 1);
    if (hi == lo) hi += 0.001;
    for (size_t j = 0; j < rope->rot / 2; j++) {
        double ramp = fmin(fmax(((double)j - lo) / (hi - lo), 0), 1), angle = (double)inv[j];
        inv[j] = (float)(ramp * angle / k->factor + (1 - ramp) * angle);
    }
    if (k->attention > 0) rope->attention_factor = (float)k->attention;
    else if (k->mscale > 0 && k->mscale_all > 0)
        rope->attention_factor = (float)((0.1 * k->mscale * log(k->factor) + 1) /
                                         (0.1 * k->mscale_all * log(k->factor) + 1));
    else rope->attention_factor = (float)(0.1 * log(k->factor) + 1);
}

/* Divides each angle by its number of a list. */
static void divide_angles(nib_reader *r, const nib_rope *rope, const rope_keys *k, const char *key,
                          float *inv)
{
    const json_t *list = json_object_get(k->json, key);

    if (json_array_size(list) != rope->rot / 2) {
        nib_read_fail(r, NIB_E_FORMAT, "%s: %s has %zu numbers, expected %zu", k->name, key,
                      json_array_size(list), rope->rot / 2);
        return;
    }
    for (size_t j = 0; j < rope->rot / 2; j++) {
        double by = json_number_value(json_array_get(list, j));
        if (!(by > 0)) {
            nib_read_fail(r, NIB_E_FORMAT, "%s: %s[%zu] is %g, expected above 0", k->name, key, j,
                          by);
            return;
        }
        inv[j] = (float)((double)inv[j] / by);
    }
}

/* Ding et al. 2024, arXiv:2402.13753: one list of divisors for sequences of up to the original
 * length, another for longer ones. */
static void longrope_angles(nib_reader *r, nib_rope *rope, const nib_rope_spec *spec,
                            const rope_keys *k, float *inv)
{
    double original = (double)nib_read_size_or(r, "original_max_position_embeddings",
                                               (size_t)fmax(k->original, 1));
    double factor = original > 0 ? (double)spec->positions / original : 1;
    float *longer = nib_read_alloc(r, nib_max(rope->rot / 2, 1), sizeof *longer);

    if (!longer) return;
    memcpy(longer, inv, rope->rot / 2 * sizeof *inv);
    divide_angles(r, rope, k, "short_factor", inv);
    divide_angles(r, rope, k, "long_factor", longer);
    rope->long_inv = longer;
    rope->long_from = (size_t)original;
    if (k->attention > 0) rope->attention_factor = (float)k->attention;
    else if (factor > 1) rope->attention_factor = (float)sqrt(1 + log(factor) / log(original));
}

/* Angle 0 behind a fraction of the pairs, each of a channel and the one half a head on; the others'
 * angles are those of a rotation of the whole head. */
static void proportional_angles(nib_reader *r, const nib_rope *rope, const rope_keys *k, float *inv)
{
    double partial = k->partial > 0 ? k->partial : 1;
    size_t live = (size_t)(partial * (double)rope->rot / 2);

    if (partial > 1)
        nib_read_fail(r, NIB_E_FORMAT, "%s: partial_rotary_factor is %g, expected at most 1",
                      k->name, partial);
    for (size_t j = 0; j < rope->rot / 2; j++) {
        if (k->factor > 0) inv[j] /= (float)k->factor;
        if (j >= live) inv[j] = 0;
    }
}

/* Channels are counted by the architecture; what rope_parameters says must be what it counted. */
static void check_partial(nib_reader *r, const nib_rope *rope, const nib_rope_spec *spec,
                          const rope_keys *k)
{
    size_t head_dim = spec->head_dim ? spec->head_dim : rope->rot;

    if (!(k->partial > 0) || strcmp(k->type, "proportional") == 0) return;
    if ((size_t)((double)head_dim * k->partial) != rope->rot)
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "%s: partial_rotary_factor %g of %zu channels, %zu are rotated in this model",
                      k->name, k->partial, head_dim, rope->rot);
}

/* A theta near 0, a factor of 1e300 or an original length of 0 are numbers, but no rotation. */
static void check_angles(nib_reader *r, const nib_rope *rope, const rope_keys *k)
{
    bool good = isfinite(rope->attention_factor) && rope->attention_factor > 0;

    for (size_t j = 0; j < rope->rot / 2; j++) good &= isfinite(rope->inv[j]) && rope->inv[j] >= 0;
    if (!good)
        nib_read_fail(r, NIB_E_FORMAT, "rope_theta and %s give angles that are no numbers",
                      k->name);
}

/* Plain up to the model's length; beyond, the base grows with the length of the sequence.  With an
 * alpha (hunyuan) the growth beyond is not known. */
static void dynamic_angles(nib_reader *r, nib_rope *rope, const nib_rope_spec *spec,
                           const rope_keys *k)
{
    need_factor(r, k);
    if (k->alpha != 0) {
        rope->limit = spec->positions;
        return;
    }
    if (rope->rot <= 2 || rope->rot > NIB_MOST_GROWN)
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "%s of type dynamic with %zu rotated channels, expected 4 to %d", k->name,
                      rope->rot, NIB_MOST_GROWN);
    rope->base = k->theta;
    rope->growth_factor = k->factor;
    rope->grows_from = spec->positions;
}

static void scale_angles(nib_reader *r, nib_rope *rope, const nib_rope_spec *spec,
                         const rope_keys *k, float *inv)
{
    if (strcmp(k->type, "default") == 0) return;
    if (strcmp(k->type, "linear") == 0) {
        need_factor(r, k);
        for (size_t j = 0; j < rope->rot / 2; j++) inv[j] /= (float)k->factor;
    } else if (strcmp(k->type, "llama3") == 0) {
        llama3_angles(r, rope, k, inv);
    } else if (strcmp(k->type, "yarn") == 0) {
        yarn_angles(r, rope, k, inv);
    } else if (strcmp(k->type, "longrope") == 0 || strcmp(k->type, "su") == 0) {
        longrope_angles(r, rope, spec, k, inv);
    } else if (strcmp(k->type, "dynamic") == 0) {
        dynamic_angles(r, rope, spec, k);
    } else if (strcmp(k->type, "proportional") == 0 && spec->proportional > 0) {
        proportional_angles(r, rope, k, inv);
    } else {
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "rope_type '%s', known are default, linear, dynamic, llama3, yarn, longrope, "
                      "su", k->type);
    }
}

static void set_growth(nib_reader *r, nib_rope *rope, const rope_keys *k)
{
    if (!(k->growth > 0 && k->growth < 1e6 && k->original >= 1 && k->original < 1e15)) {
        nib_read_fail(r, NIB_E_FORMAT,
                      "%s: llama_4_scaling_beta %g, original_max_position_embeddings %g, expected "
                      "above 0", k->name, k->growth, k->original);
        return;
    }
    rope->growth = (float)k->growth;
    rope->growth_every = (size_t)k->original;
}

size_t nib_read_rotated(nib_reader *r, size_t head_dim, const char *older, double fallback)
{
    static const char key[] = "partial_rotary_factor";
    const json_t *parameters = nib_read_any(r, "rope_parameters");
    double partial = nib_read_float_or(r, older ? older : key, fallback);

    nib_read_any(r, key);
    if (!r->status && json_is_object(parameters))
        r->status = nib_json_get_float(parameters, r->where, key, &partial, &r->error);
    if (!(partial > 0 && partial <= 1))
        nib_read_fail(r, NIB_E_FORMAT, "%s is %g, expected above 0, at most 1", key, partial);
    return r->status ? 0 : (size_t)((double)head_dim * partial);
}

nib_rope nib_read_rope(nib_reader *r, nib_rope_spec spec)
{
    nib_rope rope = { .rot = spec.rot, .interleaved = spec.interleaved, .attention_factor = 1 };
    rope_keys k;
    float *inv;

    read_keys(r, &spec, &k);
    if (!r->status && k.theta <= 0)
        nib_read_fail(r, NIB_E_FORMAT, "%s is %g, expected above 0",
                      spec.theta_key ? spec.theta_key : "rope_theta", k.theta);
    if (!r->status && (!spec.rot || spec.rot % 2 || (spec.head_dim && spec.rot > spec.head_dim)))
        nib_read_fail(r, NIB_E_FORMAT, "%zu rotated channels in heads of %zu", spec.rot,
                      spec.head_dim ? spec.head_dim : spec.rot);
    inv = nib_read_alloc(r, nib_max(spec.rot / 2, 1), sizeof *inv);
    if (!inv) {
        json_decref(k.made);
        return rope;
    }
    if (k.alpha != 0 && strcmp(k.type, "dynamic") == 0 && spec.rot > 2)
        k.theta *= pow(k.alpha, (double)spec.rot / (double)(spec.rot - 2));
    for (size_t j = 0; j < spec.rot / 2; j++)
        inv[j] = (float)(1 / pow(k.theta, (double)(2 * j) / (double)spec.rot));
    rope.theta = k.theta;
    rope.inv = inv;
    scale_angles(r, &rope, &spec, &k, inv);
    if (!r->status) check_angles(r, &rope, &k);
    if (!r->status) check_partial(r, &rope, &spec, &k);
    if (!r->status && k.growth != 0) set_growth(r, &rope, &k);
    json_decref(k.made);
    return rope;
}
