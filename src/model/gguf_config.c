/* gguf_config.c - config.json made of a GGUF's keys (formats.md 12.5; formats-quant.md 7.2,
 * 7.6). */
#include <stdio.h>

#include "model/gguf_model.h"

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

/* Divisors of the frequencies: llama 3's, which no key names any more, for every length; phi 3's
 * two lists for short texts and long ones.  Both are rope_type longrope. */
static bool set_divisors(nib_gguf_config *c)
{
    json_t *one = divisors(c, "rope_freqs.weight"), *rope;
    json_t *longer = one ? json_incref(one) : divisors(c, "rope_factors_long.weight");
    json_t *shorter = one ? json_incref(one) : divisors(c, "rope_factors_short.weight");
    double positions = nib_gguf_get(c, "context_length", 0);
    double original = nib_gguf_get(c, "rope.scaling.original_context_length", positions);

    json_decref(one);
    if (!longer || !shorter) {
        if (longer || shorter)
            nib_gguf_fail(c, NIB_E_FORMAT, "one of rope_factors_long and rope_factors_short is "
                          "missing");
        json_decref(longer);
        json_decref(shorter);
        return false;
    }
    /* transformers' phi3 takes three keys, of these names */
    rope = json_pack("{s:s, s:o, s:o}", one ? "rope_type" : "type", "longrope", "long_factor",
                     longer, "short_factor", shorter);
    if (one) { /* the lengths alike */
        if (rope) json_object_set_new(rope, "attention_factor", json_real(1));
        original = positions;
    }
    if (!(original >= 0 && original <= 0x1p53)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "the original context length is %g", original);
        original = 0;
    }
    nib_gguf_set(c, "original_max_position_embeddings", json_integer((json_int_t)original));
    nib_gguf_set(c, "rope_scaling", rope);
    return true;
}

static void set_scaling(nib_gguf_config *c)
{
    static const nib_gguf_key keys[] = {
        { "rope.scaling.factor", "factor" },
        { "rope.scaling.original_context_length", "original_max_position_embeddings" },
        { "rope.scaling.yarn_beta_fast", "beta_fast" },
        { "rope.scaling.yarn_beta_slow", "beta_slow" },
        { "rope.scaling.yarn_attn_factor", "attention_factor" },
    };
    const nib_gguf_value *type = nib_gguf_key_value(c, "rope.scaling.type");
    json_t *config = c->json, *rope;
    nib_gguf_text text;
    bool yarn;

    if (c->status || set_divisors(c) || !type) return;
    if (!nib_gguf_one_text(type, &text)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "%s is not a text", type->key);
        return;
    }
    if (nib_gguf_text_is(text, "none")) return;
    yarn = nib_gguf_text_is(text, "yarn");
    if (!yarn && !nib_gguf_text_is(text, "linear")) {
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "%s is %.*s, known are none, linear and yarn",
                      type->key, (int)nib_min(text.bytes, 60), text.at);
        return;
    }
    rope = json_object();
    c->json = rope; /* keys of the object inside */
    nib_gguf_set(c, "rope_type", json_string(yarn ? "yarn" : "linear"));
    for (size_t i = 0; i < (yarn ? NIB_COUNT(keys) : 1); i++)
        nib_gguf_copy(c, nib_gguf_key_value(c, keys[i].gguf), keys[i].config);
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

static nib_status make(nib_gguf_config *c, const nib_gguf_family *f)
{
    c->json = json_object();
    if (!c->json) nib_gguf_fail(c, NIB_E_NOMEM, "out of memory");
    set_common(c, f);
    for (const nib_gguf_key *k = f->keys; k->gguf; k++)
        nib_gguf_copy(c, nib_gguf_key_value(c, k->gguf), k->config);
    if (!f->by_kind) set_scaling(c);
    if (f->finish && !c->status) f->finish(c);
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
    status = make(&c, family);
    if (status) {
        if (err) *err = c.error;
        goto done;
    }
    *json = c.json;
    c.json = NULL; /* handed over */
done:
    json_decref(c.json);
    nib_tensors_close(tensors);
    return status;
}
