/* config_keys.c - the keys of generation_config.json: what is computed, what asks for nothing, what
 * is refused; a key that is none of these is named.
 *
 * null is a value: the setting is off, as in transformers, also where its default is not. */
#include <math.h>
#include <stdio.h>

#include "format/json.h"
#include "generate/settings.h"

typedef struct source {
    nib_ctx *ctx;
    const json_t *json;
    const char *where;
    nib_generation *g;
} source;

static bool is_null(const source *s, const char *key)
{
    return json_is_null(json_object_get(s->json, key));
}

/* --- what is known --- */

/* Computed here, or without effect on the text. */
static const char *const known[] = {
    /* read below */
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff",
    "eta_cutoff", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_length",
    "min_new_tokens", "max_length", "max_new_tokens", "stop_strings", "forced_bos_token_id",
    "forced_eos_token_id", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "eos_token_id", "prompt_lookup_num_tokens",
    /* of the file, of other programs' speed and output, of beams, of models with an encoder */
    "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version",
    "_from_model_config", "_commit_hash", "_original_object_hash", "use_cache",
    "cache_implementation", "cache_config", "return_legacy_cache", "prefill_chunk_size",
    "low_memory", "compile_config", "disable_compile", "output_attentions", "output_hidden_states",
    "output_scores", "output_logits", "return_dict_in_generate", "early_stopping", "length_penalty",
    "renormalize_logits", "remove_invalid_values", "is_assistant", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_lookbehind",
    "target_lookbehind", "assistant_early_exit", "max_matching_ngram_size"
};

/* Would change the text and are not computed: refused, but for a value that asks for nothing (null,
 * false, an empty list, or this number). */
static const struct {
    const char *name;
    double neutral;
} refused[] = { { "num_beams", 1 },
                { "num_beam_groups", 1 },
                { "num_return_sequences", 1 },
                { "diversity_penalty", 0 },
                { "constraints", 0 },
                { "force_words_ids", 0 },
                { "penalty_alpha", 0 },
                { "dola_layers", (double)NAN },
                { "guidance_scale", 1 },
                { "watermarking_config", (double)NAN },
                { "encoder_repetition_penalty", 1 },
                { "encoder_no_repeat_ngram_size", 0 },
                { "sequence_bias", (double)NAN },
                { "token_healing", 0 },
                { "max_time", (double)NAN },
                { "custom_generate", (double)NAN } };

static bool asks_for_nothing(const json_t *value, double neutral)
{
    if (json_is_null(value) || json_is_false(value)) return true;
    if (json_is_array(value)) return json_array_size(value) == 0;
    return json_is_number(value) && json_number_value(value) == neutral;
}

static nib_status check_keys(const source *s, nib_error *err)
{
    char unknown[400] = "";
    const char *key;
    json_t *value;
    size_t used = 0;

    json_object_foreach((json_t *)(uintptr_t)s->json, key, value)
    {
        bool good = false;
        for (size_t i = 0; i < NIB_COUNT(known) && !good; i++) good = strcmp(key, known[i]) == 0;
        for (size_t i = 0; i < NIB_COUNT(refused) && !good; i++) {
            char *text;
            if (strcmp(key, refused[i].name) != 0) continue;
            good = true;
            if (asks_for_nothing(value, refused[i].neutral)) continue;
            text = nib_json_dump(s->ctx, value, JSON_ENCODE_ANY);
            nib_fail(
                err, NIB_E_UNSUPPORTED,
                "%s: %s %.100s is not computed here and would change the text; without the key "
                "(or with null) it is off",
                s->where, key, text ? text : "");
            nib_free(s->ctx, text);
            return NIB_E_UNSUPPORTED;
        }
        if (!good && used + 70 < sizeof unknown)
            used += (size_t)snprintf(unknown + used, sizeof unknown - used, "%s'%.60s'",
                                     used ? ", " : "", key);
    }
    if (used)
        nib_warn_code(s->ctx, "unused-key", "%s: unknown keys, without effect: %s", s->where,
                      unknown);
    return NIB_OK;
}

/* --- reading --- */

static nib_status get_int(const source *s, const char *key, int64_t lo, int64_t hi, int off,
                          int *out, nib_error *err)
{
    int64_t value = *out;
    nib_status status;

    if (is_null(s, key)) {
        *out = off;
        return NIB_OK;
    }
    status = nib_json_get_int(s->json, s->where, key, lo, hi, &value, err);
    *out = (int)value;
    return status;
}

static nib_status get_float(const source *s, const char *key, double off, double *out,
                            nib_error *err)
{
    if (is_null(s, key)) {
        *out = off;
        return NIB_OK;
    }
    return nib_json_get_float(s->json, s->where, key, out, err);
}

/* A list of token ids, or one.  Ids that no word has do nothing, as in transformers. */
static nib_status read_ids(const source *s, const char *key, const json_t *value,
                           nib_token_ids *out, nib_error *err)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;

    out->items = nib_new_array(s->ctx, nib_max(n, 1), sizeof *out->items);
    if (!out->items) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->where);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number >= UINT32_MAX)
            return nib_fail(err, NIB_E_FORMAT, "%s: %s: element %zu is not a token id", s->where,
                            key, i);
        if (number >= 0) out->items[out->count++] = (uint32_t)number;
    }
    return NIB_OK;
}

static nib_status get_ids(const source *s, const char *key, nib_token_ids *out, nib_error *err)
{
    const json_t *value = json_object_get(s->json, key);

    return !value || json_is_null(value) ? NIB_OK : read_ids(s, key, value, out, err);
}

static nib_status read_bad_words(const source *s, nib_error *err)
{
    const json_t *list = json_object_get(s->json, "bad_words_ids"), *one;
    nib_processors *p = &s->g->processors;
    size_t i, n = json_array_size(list);
    nib_status status = NIB_OK;

    if (!list || json_is_null(list)) return NIB_OK;
    if (!json_is_array(list) || !n)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: bad_words_ids should be a list of lists of token ids, not empty",
                        s->where);
    p->bad_words = nib_new_array(s->ctx, n, sizeof *p->bad_words);
    if (!p->bad_words) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->where);
    json_array_foreach(list, i, one)
    {
        if (!json_is_array(one) || !json_array_size(one))
            return nib_fail(err, NIB_E_FORMAT, "%s: bad_words_ids[%zu] is not a list of token ids",
                            s->where, i);
        status = read_ids(s, "bad_words_ids", one, &p->bad_words[p->bad_word_count++], err);
        if (!status && p->bad_words[i].count != json_array_size(one))
            status = nib_fail(err, NIB_E_FORMAT, "%s: bad_words_ids[%zu] has a negative id",
                              s->where, i);
        if (status) break;
    }
    return status;
}

/* [after so many new tokens, factor] */
static nib_status read_decay(const source *s, nib_error *err)
{
    const json_t *pair = json_object_get(s->json, "exponential_decay_length_penalty"),
                 *start = json_array_get(pair, 0), *factor = json_array_get(pair, 1);
    nib_processors *p = &s->g->processors;

    if (!pair || json_is_null(pair)) return NIB_OK;
    if (json_array_size(pair) != 2 || !json_is_integer(start) || !json_is_number(factor) ||
        json_integer_value(start) < 0 || json_integer_value(start) > INT32_MAX ||
        !(json_number_value(factor) > 0))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: exponential_decay_length_penalty is not [a number of tokens, a factor "
                        "above 0]",
                        s->where);
    p->decay_start = (int)json_integer_value(start);
    p->decay_factor = json_number_value(factor);
    return NIB_OK;
}

static nib_status read_stops(const source *s, nib_error *err)
{
    const json_t *value = json_object_get(s->json, "stop_strings"), *one;
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    nib_generation *g = s->g;

    if (!value || json_is_null(value)) return NIB_OK;
    g->stop_strings = nib_new_array(s->ctx, nib_max(n, 1), sizeof *g->stop_strings);
    if (!g->stop_strings) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->where);
    for (size_t i = 0; i < n; i++) {
        one = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(one) || !json_string_length(one))
            return nib_fail(err, NIB_E_FORMAT, "%s: stop_strings: element %zu is not a text",
                            s->where, i);
        g->stop_strings[i] = nib_strdup(s->ctx, json_string_value(one));
        if (!g->stop_strings[i]) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->where);
        g->stop_string_count++;
    }
    return NIB_OK;
}

static nib_status read_processors(const source *s, nib_error *err)
{
    nib_processors *p = &s->g->processors;
    int bos = -1;
    nib_status status = NIB_OK;

    status = get_int(s, "no_repeat_ngram_size", 0, 1 << 20, 0, &p->no_repeat_ngram_size, err);
    if (!status) status = get_int(s, "min_length", 0, INT32_MAX, 0, &p->min_length, err);
    if (!status) status = get_int(s, "min_new_tokens", 0, INT32_MAX, -1, &p->min_new_tokens, err);
    if (!status) status = get_int(s, "forced_bos_token_id", 0, INT32_MAX, -1, &bos, err);
    p->forced_bos = bos;
    if (!status) status = get_ids(s, "forced_eos_token_id", &p->forced_eos, err);
    if (!status) status = get_ids(s, "suppress_tokens", &p->suppress, err);
    if (!status) status = get_ids(s, "begin_suppress_tokens", &p->begin_suppress, err);
    if (!status) status = read_bad_words(s, err);
    if (!status) status = read_decay(s, err);
    return status ? status : read_stops(s, err);
}

static nib_status read_sampling(const source *s, nib_error *err)
{
    nib_sampling *o = &s->g->sampling;
    nib_status status = nib_json_get_bool(s->json, s->where, "do_sample", &o->do_sample, err);

    if (!status) status = get_float(s, "temperature", 1, &o->temperature, err);
    if (!status) status = get_int(s, "top_k", 0, 1 << 30, 0, &o->top_k, err);
    if (!status) status = get_float(s, "top_p", 1, &o->top_p, err);
    if (!status) status = get_float(s, "min_p", 0, &o->min_p, err);
    if (!status) status = get_float(s, "typical_p", 1, &o->typical_p, err);
    if (!status) status = get_float(s, "epsilon_cutoff", 0, &o->epsilon_cutoff, err);
    if (!status) status = get_float(s, "eta_cutoff", 0, &o->eta_cutoff, err);
    return status ? status : get_float(s, "repetition_penalty", 1, &o->repetition_penalty, err);
}

nib_status nib_generation_read_keys(nib_ctx *ctx, const json_t *json, const char *where,
                                    nib_generation *g, nib_error *err)
{
    source s = { ctx, json, where, g };
    int lookup = g->prompt_lookup_num_tokens;
    nib_status status = check_keys(&s, err);

    if (!status) status = read_sampling(&s, err);
    if (!status) status = read_processors(&s, err);
    if (!status) status = get_int(&s, "max_new_tokens", 1, 1 << 30, 0, &g->max_new_tokens, err);
    if (!status) status = get_int(&s, "max_length", 1, INT32_MAX, 0, &g->max_length, err);
    if (!status)
        status = get_int(&s, "prompt_lookup_num_tokens", 0, 1 << 30, lookup,
                         &g->prompt_lookup_num_tokens, err);
    return status;
}
