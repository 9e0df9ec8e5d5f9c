/* gguf_config.c - config.json made of a GGUF's keys (formats.md 12.5; formats-quant.md 7.2,
 * 7.6). */
#include <math.h>
#include <stdio.h>

#include "model/gguf_model.h"
#include "model/gguf_rest.h"

/* --- ropes --- */

/* A list of divisors, or NULL. */
static json_t *divisors(nib_gguf_config *c, const char *tensor)
{
    const nib_tensor *t = nib_tensors_find(c->tensors, tensor);
    json_t *list;

    if (!t || c->status) return NULL;
    if (t->dtype != NIB_F32 || t->elements > 65536) {
        nib_gguf_fail(c, NIB_E_FORMAT, "%s is %s with %" PRIu64 " values, expected float32 for "
                      "half of a head", tensor, t->dtype_name, t->elements);
        return NULL;
    }
    list = json_array();
    for (uint64_t i = 0; list && i < t->elements; i++) {
        float value;
        memcpy(&value, (const uint8_t *)t->data + 4 * i, sizeof value);
        if (json_array_append_new(list, json_real((double)value))) { /* NaN too */
            json_decref(list);
            nib_gguf_fail(c, NIB_E_FORMAT, "%s: value %" PRIu64 " is no finite number", tensor, i);
            return NULL;
        }
    }
    return list;
}

/* attn_factor multiplies what the scaling makes the length of the rotated, `usual`; llama.cpp takes
 * 1 where it is absent.  0: it is the usual, which the family computes itself. */
static double attention_factor(nib_gguf_config *c, double usual, double made)
{
    double factor = nib_gguf_get(c, "rope.scaling.attn_factor", 1) * made;

    if (!(factor > 0 && factor < 1e6))
        nib_gguf_fail(c, NIB_E_FORMAT, "rope.scaling.attn_factor makes the rotated %g times as "
                      "long, expected above 0", factor);
    return fabs(factor - usual) > 1e-5 * usual ? factor : 0;
}

/* The scaling factor, under its name of today or that of 2023; 1: none.  There is one where the
 * type is absent too: linear. */
static double scaling_factor(nib_gguf_config *c)
{
    double older = nib_gguf_get(c, "rope.scale_linear", 0);
    double factor = nib_gguf_get(c, "rope.scaling.factor", older);

    return factor == 0 ? 1 : factor;
}

/* Beside divisors llama.cpp scales the angles too: no rope of the libraries' does. */
static void check_no_scaling(nib_gguf_config *c)
{
    const nib_gguf_value *type = nib_gguf_key_value(c, "rope.scaling.type");
    double factor = scaling_factor(c);
    nib_gguf_text text;
    bool none = nib_gguf_one_text(type, &text) && nib_gguf_text_is(text, "none");
    bool known = !type || none || (nib_gguf_one_text(type, &text) &&
                                   (nib_gguf_text_is(text, "linear") ||
                                    nib_gguf_text_is(text, "longrope")));

    if (!known || (factor != 1 && !none))
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "divisors of the angles (rope_freqs, "
                      "rope_factors_long) beside rope.scaling.type with a factor of %g, known is "
                      "one of the two", factor);
}

/* Divisors of the frequencies: llama 3's, which no key names any more, for every length; phi 3's
 * two lists for short texts and long ones.  Both are rope_type longrope. */
static bool set_divisors(nib_gguf_config *c)
{
    json_t *one = divisors(c, "rope_freqs.weight"), *rope;
    json_t *longer = one ? json_incref(one) : divisors(c, "rope_factors_long.weight");
    json_t *shorter = one ? json_incref(one) : divisors(c, "rope_factors_short.weight");
    double positions = nib_gguf_get(c, "context_length", 0);
    double original = nib_gguf_get(c, "rope.scaling.original_context_length", positions);
    double longest = positions / original;
    double usual = longest > 1 ? sqrt(1 + log(longest) / log(original)) : 1, factor;

    json_decref(one);
    if (!longer || !shorter) {
        if (longer || shorter)
            nib_gguf_fail(c, NIB_E_FORMAT, "one of rope_factors_long and rope_factors_short is "
                          "missing");
        json_decref(longer);
        json_decref(shorter);
        return false;
    }
    check_no_scaling(c);
    factor = attention_factor(c, one ? 0 : usual, 1);
    /* transformers' phi3 takes three keys, of these names */
    rope = json_pack("{s:s, s:o, s:o}", one ? "rope_type" : "type", "longrope", "long_factor",
                     longer, "short_factor", shorter);
    if (rope && factor > 0) json_object_set_new(rope, "attention_factor", json_real(factor));
    if (one) original = positions; /* the lengths alike */
    if (!(original >= 0 && original <= 0x1p53)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "the original context length is %g", original);
        original = 0;
    }
    nib_gguf_set(c, "original_max_position_embeddings", json_integer((json_int_t)original));
    nib_gguf_set(c, "rope_scaling", rope);
    return true;
}

/* The keys of yarn beside its factor; c->json is rope_scaling. */
static void set_yarn(nib_gguf_config *c, double factor)
{
    static const nib_gguf_key keys[] = {
        { "rope.scaling.original_context_length", "original_max_position_embeddings" },
        { "rope.scaling.yarn_beta_fast", "beta_fast" },
        { "rope.scaling.yarn_beta_slow", "beta_slow" },
        { "rope.scaling.yarn_attn_factor", "attention_factor" },
    };
    double extrapolated = nib_gguf_get(c, "rope.scaling.yarn_ext_factor", 1);
    double usual = nib_gguf_yarn_length(factor);
    double attention = attention_factor(c, usual, usual);

    if (extrapolated >= 0 && extrapolated != 1) /* below 0: not set */
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "rope.scaling.yarn_ext_factor is %g, known is 1",
                      extrapolated);
    for (size_t i = 0; i < NIB_COUNT(keys); i++)
        nib_gguf_copy(c, nib_gguf_key_value(c, keys[i].gguf), keys[i].config);
    if (attention > 0) nib_gguf_set(c, "attention_factor", json_real(attention));
}

static void set_scaling(nib_gguf_config *c)
{
    const nib_gguf_value *type = nib_gguf_key_value(c, "rope.scaling.type");
    json_t *config = c->json, *rope;
    nib_gguf_text text = { "linear", 6 };
    double factor;
    bool yarn;

    if (c->status || set_divisors(c)) return;
    if (type && !nib_gguf_one_text(type, &text)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "%s is not a text", type->key);
        return;
    }
    factor = scaling_factor(c);
    yarn = nib_gguf_text_is(text, "yarn");
    if (nib_gguf_text_is(text, "none")) return;
    if (!yarn && !nib_gguf_text_is(text, "linear")) {
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "%s is %.*s, known are none, linear and yarn",
                      type->key, (int)nib_min(text.bytes, 60), text.at);
        return;
    }
    if (!yarn && factor == 1) return;
    rope = json_object();
    c->json = rope; /* keys of the object inside */
    nib_gguf_set(c, "rope_type", json_string(yarn ? "yarn" : "linear"));
    nib_gguf_set(c, "factor", json_real(nib_gguf_shortest((float)factor)));
    if (yarn) set_yarn(c, factor);
    c->json = config;
    nib_gguf_set(c, "rope_scaling", rope);
}

/* --- the whole --- */

/* Of the weights of the layers; blocks decode to float32. */
static const char *dtype_of(const nib_gguf_config *c)
{
    for (size_t i = 0; i < nib_tensors_count(c->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(c->tensors, i);
        if (t->rank != 2 || strncmp(t->name, "blk.", 4) != 0) continue;
        return t->dtype == NIB_F16 || t->dtype == NIB_BF16 ? nib_dtype_name(t->dtype) : "float32";
    }
    return "float32";
}

static void set_common(nib_gguf_config *c, const nib_gguf_family *f)
{
    const nib_tensor *embedding = nib_tensors_find(c->tensors, "token_embd.weight");

    if (!embedding || embedding->rank != 2) {
        nib_gguf_fail(c, NIB_E_MISMATCH, "tensor token_embd.weight is missing, or no matrix");
        return;
    }
    nib_gguf_set(c, "architectures", json_pack("[s]", f->class_name));
    nib_gguf_set(c, "model_type", json_string(f->model_type));
    nib_gguf_set(c, "dtype", json_string(dtype_of(c)));
    nib_gguf_set(c, "vocab_size", json_integer((json_int_t)embedding->shape[0]));
    nib_gguf_set(c, "tie_word_embeddings", json_boolean(!nib_gguf_has(c, "output.weight")));
    nib_gguf_copy(c, nib_gguf_find(c->keys, "tokenizer.ggml.bos_token_id"), "bos_token_id");
    nib_gguf_copy(c, nib_gguf_find(c->keys, "tokenizer.ggml.eos_token_id"), "eos_token_id");
    nib_gguf_copy(c, nib_gguf_find(c->keys, "tokenizer.ggml.padding_token_id"), "pad_token_id");
    if (!json_object_get(c->json, "pad_token_id")) /* defaults are ids of a family's own tokens */
        nib_gguf_set(c, "pad_token_id", json_null());
}

/* The family's keys under their other names.  The base of angles is 10000 where the file has none,
 * whatever it is in config.json, and llama.cpp asks for an epsilon. */
static void copy_keys(nib_gguf_config *c, const nib_gguf_family *f)
{
    const char *epsilon = NULL;
    bool found = false;

    for (const nib_gguf_key *k = f->keys; k->gguf; k++) {
        const nib_gguf_value *v = nib_gguf_key_value(c, k->gguf);
        if (!v && strcmp(k->gguf, "rope.freq_base") == 0)
            nib_gguf_set(c, k->config, json_real(10000));
        nib_gguf_copy(c, v, k->config);
        if (!nib_ends_with(k->gguf, "epsilon")) continue;
        epsilon = k->gguf;
        found |= v != NULL;
    }
    if (epsilon && !found)
        nib_gguf_fail(c, NIB_E_FORMAT, "%s.%s is missing", c->architecture, epsilon);
}

static nib_status make(nib_gguf_config *c, const nib_gguf_family *f)
{
    c->json = json_object();
    if (!c->json) nib_gguf_fail(c, NIB_E_NOMEM, "out of memory");
    set_common(c, f);
    copy_keys(c, f);
    if (!f->by_kind) set_scaling(c);
    if (f->finish && !c->status) f->finish(c);
    nib_gguf_check_rest(c, f);
    return c->status;
}

nib_status nib_gguf_config_make(nib_ctx *ctx, const char *path, json_t **json, nib_error *err)
{
    nib_tensors *tensors = NULL;
    const nib_gguf_family *family = NULL;
    nib_gguf_config c = { .ctx = ctx, .where = path };
    nib_status status = nib_tensors_open(ctx, path, &tensors, err);

    if (!status) status = nib_gguf_family_of(tensors, path, &family, err);
    if (status) goto done;
    c.tensors = tensors;
    c.keys = nib_tensors_gguf(tensors);
    c.architecture = family->architecture;
    c.asked = nib_new_array(ctx, nib_max(c.keys->value_count, 1), sizeof *c.asked);
    if (!c.asked) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    status = make(&c, family);
    if (status) {
        if (err) *err = c.error;
        goto done;
    }
    *json = c.json;
    c.json = NULL; /* handed over */
done:
    json_decref(c.json);
    nib_free(ctx, c.asked);
    nib_tensors_close(tensors);
    return status;
}
