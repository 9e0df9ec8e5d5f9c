/* config.c - reading config.json's keys for the architectures. */
#include <math.h>

#include "model/arch.h"

/* Far above any model there is; products of sizes below them fit, and angles are few. */
enum { LARGEST = 1 << 30, MOST_HEADS = 1 << 16, MOST_HEAD_DIM = 1 << 16, MOST_CHANNELS = 1 << 24 };

nib_status nib_config_size(const json_t *json, const char *where, const char *key, size_t fallback,
                           size_t *out, nib_error *err)
{
    int64_t value = (int64_t)fallback;
    nib_status status = nib_json_get_int(json, where, key, 1, LARGEST, &value, err);

    if (status) return status;
    if (value == 0) return nib_fail(err, NIB_E_FORMAT, "%s: %s is missing", where, key);
    *out = (size_t)value;
    return NIB_OK;
}

nib_status nib_config_eps(const json_t *json, const char *where, const char *key, float fallback,
                          float *out, nib_error *err)
{
    double value = (double)fallback;
    nib_status status = nib_json_get_float(json, where, key, &value, err);

    if (status) return status;
    if (!(value >= 0 && value <= 1))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %g, expected 0 to 1", where, key, value);
    *out = (float)value;
    return NIB_OK;
}

nib_status nib_config_bool(const json_t *json, const char *where, const char *key, bool fallback,
                           bool *out, nib_error *err)
{
    *out = fallback;
    return nib_json_get_bool(json, where, key, out, err);
}

nib_status nib_config_activation(const json_t *json, const char *where, const char *key,
                                 const char *fallback, nib_activation *out, nib_error *err)
{
    static const struct { const char *name; nib_activation activation; } known[] = {
        { "silu", NIB_ACT_SILU }, { "swish", NIB_ACT_SILU }, { "gelu", NIB_ACT_GELU },
        { "gelu_new", NIB_ACT_GELU_TANH }, { "gelu_fast", NIB_ACT_GELU_TANH },
        { "gelu_pytorch_tanh", NIB_ACT_GELU_TANH }, { "relu", NIB_ACT_RELU },
        { "quick_gelu", NIB_ACT_QUICK_GELU },
    };
    const char *name = fallback;
    nib_status status = nib_json_get_string(json, where, key, &name, err);

    if (status) return status;
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].activation;
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %s is '%s', known are silu, gelu, gelu_new, gelu_fast, "
                    "gelu_pytorch_tanh, relu, quick_gelu",
                    where, key, name);
}

nib_status nib_config_heads(nib_config *c, const char *where, nib_error *err)
{
    if (c->head_dim == 0) {
        if (c->width % c->heads)
            return nib_fail(err, NIB_E_FORMAT, "%s: width %zu is not a multiple of %zu heads",
                            where, c->width, c->heads);
        c->head_dim = c->width / c->heads;
    }
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->heads % c->kv_heads)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %zu heads are not a multiple of %zu key/value heads", where, c->heads,
                        c->kv_heads);
    if (c->head_dim > MOST_HEAD_DIM || c->heads > MOST_HEADS ||
        c->heads * c->head_dim > MOST_CHANNELS)
        return nib_fail(err, NIB_E_FORMAT, "%s: absurd sizes: %zu heads of %zu channels", where,
                        c->heads, c->head_dim);
    return NIB_OK;
}

bool nib_name_ends(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && strcmp(name + n - e, end) == 0;
}

/* --- rotary embedding (formats.md 10.3) --- */

typedef struct rope_keys {
    const char *type;
    double theta, factor, low, high, original, beta_fast, beta_slow, attention, mscale, mscale_all;
} rope_keys;

static void plain_angles(nib_config *c, double theta)
{
    for (size_t j = 0; j < c->rope.rot / 2; j++)
        c->rope_inv[j] = (float)(1 / pow(theta, (double)(2 * j) / (double)c->rope.rot));
}

/* Llama 3.1: long wavelengths are stretched, short ones kept, between them a blend. */
static void llama3_angles(nib_config *c, const rope_keys *k)
{
    for (size_t j = 0; j < c->rope.rot / 2; j++) {
        double inv = (double)c->rope_inv[j], wavelength = 2 * 3.14159265358979323846 / inv;
        double blend = (k->original / wavelength - k->low) / (k->high - k->low);

        if (wavelength < k->original / k->high) continue;
        c->rope_inv[j] = (float)(wavelength > k->original / k->low
                                     ? inv / k->factor
                                     : (1 - blend) * inv / k->factor + blend * inv);
    }
}

static double yarn_dim(const nib_config *c, const rope_keys *k, double rotations)
{
    return (double)c->rope.rot * log(k->original / (rotations * 2 * 3.14159265358979323846)) /
           (2 * log(k->theta));
}

/* Peng et al. 2023, arXiv:2309.00071. */
static void yarn_angles(nib_config *c, const rope_keys *k)
{
    double lo = fmax(floor(yarn_dim(c, k, k->beta_fast)), 0);
    double hi = fmin(ceil(yarn_dim(c, k, k->beta_slow)), (double)c->rope.rot - 1);

    if (hi == lo) hi += 0.001;
    for (size_t j = 0; j < c->rope.rot / 2; j++) {
        double ramp = fmin(fmax(((double)j - lo) / (hi - lo), 0), 1), inv = (double)c->rope_inv[j];
        c->rope_inv[j] = (float)(ramp * inv / k->factor + (1 - ramp) * inv);
    }
    if (k->attention > 0) c->rope.attention_factor = (float)k->attention;
    else if (k->mscale > 0 && k->mscale_all > 0)
        c->rope.attention_factor = (float)((0.1 * k->mscale * log(k->factor) + 1) /
                                           (0.1 * k->mscale_all * log(k->factor) + 1));
    else c->rope.attention_factor = (float)(0.1 * log(k->factor) + 1);
}

/* A theta near 0, a factor of 1e300 or an original length of 0 are numbers, but no rotation. */
static nib_status check_angles(const nib_config *c, const char *where, nib_error *err)
{
    bool good = isfinite(c->rope.attention_factor) && c->rope.attention_factor > 0;

    for (size_t j = 0; j < c->rope.rot / 2; j++)
        good &= isfinite(c->rope_inv[j]) && c->rope_inv[j] >= 0;
    return good
               ? NIB_OK
               : nib_fail(err, NIB_E_FORMAT,
                          "%s: rope_theta and rope_scaling give angles that are no numbers", where);
}

static nib_status read_rope_keys(const json_t *json, const char *where, const nib_config *c,
                                 rope_keys *k, nib_error *err)
{
    const json_t *rope = json_object_get(json, "rope_parameters");
    nib_status status;

    if (!json_is_object(rope)) rope = json_object_get(json, "rope_scaling");
    *k = (rope_keys){ .type = "default", .theta = 10000, .factor = 0, .beta_fast = 32, .beta_slow = 1,
                      .original = (double)c->max_positions };
    status = nib_json_get_float(json, where, "rope_theta", &k->theta, err);
    if (status || !rope || json_is_null(rope)) return status;
    if (!json_is_object(rope))
        return nib_fail(err, NIB_E_FORMAT, "%s: rope_scaling is not an object", where);
    if ((status = nib_json_get_string(rope, where, "type", &k->type, err)) ||
        (status = nib_json_get_string(rope, where, "rope_type", &k->type, err)) ||
        (status = nib_json_get_float(rope, where, "rope_theta", &k->theta, err)) ||
        (status = nib_json_get_float(rope, where, "factor", &k->factor, err)) ||
        (status = nib_json_get_float(rope, where, "low_freq_factor", &k->low, err)) ||
        (status = nib_json_get_float(rope, where, "high_freq_factor", &k->high, err)) ||
        (status = nib_json_get_float(rope, where, "original_max_position_embeddings", &k->original,
                                     err)) ||
        (status = nib_json_get_float(rope, where, "beta_fast", &k->beta_fast, err)) ||
        (status = nib_json_get_float(rope, where, "beta_slow", &k->beta_slow, err)) ||
        (status = nib_json_get_float(rope, where, "attention_factor", &k->attention, err)) ||
        (status = nib_json_get_float(rope, where, "mscale", &k->mscale, err)) ||
        (status = nib_json_get_float(rope, where, "mscale_all_dim", &k->mscale_all, err)))
        return status;
    if (strcmp(k->type, "default") != 0 && k->factor <= 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: rope_scaling of type %s needs a factor above 0",
                        where, k->type);
    return NIB_OK;
}

nib_status nib_config_rope(nib_ctx *ctx, const json_t *json, const char *where, size_t rot,
                           bool interleaved, nib_config *c, nib_error *err)
{
    rope_keys k;
    nib_status status = read_rope_keys(json, where, c, &k, err);

    if (status) return status;
    if (k.theta <= 0) return nib_fail(err, NIB_E_FORMAT, "%s: rope_theta is %g", where, k.theta);
    if (rot == 0 || rot % 2 || rot > c->head_dim)
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu rotated channels in heads of %zu", where, rot,
                        c->head_dim);
    c->rope_inv = nib_new_array(ctx, rot / 2, sizeof *c->rope_inv);
    if (!c->rope_inv) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    c->rope = (nib_rope){ .rot = rot, .interleaved = interleaved, .inv = c->rope_inv, .attention_factor = 1 };
    plain_angles(c, k.theta);
    if (strcmp(k.type, "default") == 0) return check_angles(c, where, err);
    if (strcmp(k.type, "linear") == 0) {
        for (size_t j = 0; j < rot / 2; j++) c->rope_inv[j] /= (float)k.factor;
    } else if (strcmp(k.type, "llama3") == 0) {
        if (k.low <= 0 || k.high <= k.low)
            return nib_fail(err, NIB_E_FORMAT, "%s: rope_scaling: low_freq_factor %g and "
                            "high_freq_factor %g", where, k.low, k.high);
        llama3_angles(c, &k);
    } else if (strcmp(k.type, "yarn") == 0) {
        if (!(k.original > 0 && k.beta_fast > 0 && k.beta_slow > 0))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: rope_scaling: original_max_position_embeddings %g, beta_fast %g, "
                            "beta_slow %g, expected above 0",
                            where, k.original, k.beta_fast, k.beta_slow);
        yarn_angles(c, &k);
    } else {
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: rope_type '%s', known are default, linear, llama3, yarn", where,
                        k.type);
    }
    return check_angles(c, where, err);
}
