/* settings.c - generation_config.json's keys and the caller's. */
#include "generate/settings.h"

#include <math.h>

#include "base/filemap.h"
#include "format/json.h"
#include "generate/lookup.h"

void nib_generate_defaults(nib_generate_options *o)
{
    *o = (nib_generate_options){ .max_new_tokens = -1, .prompt_lookup_num_tokens = -1, .do_sample = -1, .temperature = (double)NAN,
                                 .top_p = (double)NAN, .min_p = (double)NAN,
                                 .repetition_penalty = (double)NAN, .top_k = -1, .seed = 42 };
}

static nib_status read_end_tokens(const json_t *json, const char *where, nib_generation *g,
                                  nib_error *err)
{
    const json_t *eos = json_object_get(json, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos && !json_is_null(eos);

    if (n > NIB_MOST_END_TOKENS)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %zu end tokens, at most %d", where, n,
                        NIB_MOST_END_TOKENS);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: eos_token_id is not a token id", where);
        g->end_tokens[g->end_count++] = json_integer_value(id);
    }
    return NIB_OK;
}

/* What changes the text and is not computed here must not be ignored. */
static nib_status refuse_unknown(const json_t *json, const char *where, nib_error *err)
{
    int64_t beams = 1, ngram = 0;
    double typical = 1;
    nib_status status;

    if ((status = nib_json_get_int(json, where, "num_beams", 1, 1 << 20, &beams, err)) ||
        (status = nib_json_get_int(json, where, "no_repeat_ngram_size", 0, 1 << 20, &ngram, err)) ||
        (status = nib_json_get_float(json, where, "typical_p", &typical, err)))
        return status;
    if (beams != 1 || ngram != 0 || typical != 1)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: num_beams %d, no_repeat_ngram_size %d, typical_p %g "
                        "are not computed here (1, 0 and 1 are)",
                        where, (int)beams, (int)ngram, typical);
    return NIB_OK;
}

static nib_status read_keys(const json_t *json, const char *where, nib_generation *g,
                            nib_error *err)
{
    int64_t top_k = 50, max_new = 256, lookup = g->prompt_lookup_num_tokens;
    nib_sampling *s = &g->sampling;
    nib_status status;

    if ((status = nib_json_get_bool(json, where, "do_sample", &s->do_sample, err)) ||
        (status = nib_json_get_float(json, where, "temperature", &s->temperature, err)) ||
        (status = nib_json_get_int(json, where, "top_k", 0, 1 << 30, &top_k, err)) ||
        (status = nib_json_get_float(json, where, "top_p", &s->top_p, err)) ||
        (status = nib_json_get_float(json, where, "min_p", &s->min_p, err)) ||
        (status = nib_json_get_float(json, where, "repetition_penalty", &s->repetition_penalty,
                                     err)) ||
        (status = nib_json_get_int(json, where, "max_new_tokens", 1, 1 << 30, &max_new, err)) ||
        (status = nib_json_get_int(json, where, "prompt_lookup_num_tokens", 0, 1 << 30, &lookup,
                                   err)) ||
        (status = refuse_unknown(json, where, err)))
        return status;
    s->top_k = (int)top_k;
    g->max_new_tokens = (int)max_new;
    g->prompt_lookup_num_tokens = (int)lookup;
    return read_end_tokens(json, where, g, err);
}

nib_status nib_generation_read(nib_ctx *ctx, const char *dir, const json_t *config, int64_t eos,
                               nib_generation *out, nib_error *err)
{
    nib_generation g = { .sampling = { .temperature = 1, .top_k = 50, .top_p = 1, .repetition_penalty = 1,
                                       .seed = 42 }, .max_new_tokens = 256,
                         .prompt_lookup_num_tokens = NIB_MOST_GUESSES };
    char *path = nib_sprintf(ctx, "%s/generation_config.json", dir);
    json_t *json = NULL;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path)) {
        status = nib_json_read(ctx, path, 0, &json, err);
        if (!status) status = read_keys(json, path, &g, err);
    }
    if (!status && g.end_count == 0) status = read_end_tokens(config, "config.json", &g, err);
    if (!status && g.end_count == 0 && eos >= 0) g.end_tokens[g.end_count++] = eos;
    if (!status) *out = g;
    json_decref(json);
    nib_free(ctx, path);
    return status;
}

static nib_status read_precision(const char *name, nib_precision *precision, nib_error *err)
{
    *precision = NIB_PRECISION_HIGH;
    if (!name || strcmp(name, "high") == 0) return NIB_OK;
    *precision = NIB_PRECISION_HIGHEST;
    if (strcmp(name, "highest") == 0) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID,
                    "float32_matmul_precision: '%s' is not high or highest (torch's medium is "
                    "compute_dtype bfloat16)",
                    name);
}

nib_status nib_generation_apply(nib_generation *g, const nib_generate_options *o, nib_error *err)
{
    nib_sampling *s = &g->sampling;

    if (!isnan(o->temperature)) {
        s->do_sample = o->temperature > 0;
        s->temperature = o->temperature;
    }
    if (o->do_sample >= 0) s->do_sample = o->do_sample;
    if (o->top_k >= 0) s->top_k = o->top_k;
    if (!isnan(o->top_p)) s->top_p = o->top_p;
    if (!isnan(o->min_p)) s->min_p = o->min_p;
    if (!isnan(o->repetition_penalty)) s->repetition_penalty = o->repetition_penalty;
    if (o->max_new_tokens >= 0) g->max_new_tokens = o->max_new_tokens;
    if (o->prompt_lookup_num_tokens >= 0) g->prompt_lookup_num_tokens = o->prompt_lookup_num_tokens;
    s->seed = o->seed;
    if (!(s->temperature >= 0 && isfinite(s->temperature)))
        return nib_fail(err, NIB_E_INVALID, "temperature: %g, which is not 0 or more",
                        s->temperature);
    if (s->do_sample && !(s->temperature > 0))
        return nib_fail(err, NIB_E_INVALID, "temperature: %g, sampling needs one above 0",
                        s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return nib_fail(err, NIB_E_INVALID, "top_p: %g is not in (0, 1]", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return nib_fail(err, NIB_E_INVALID, "min_p: %g is not in [0, 1]", s->min_p);
    if (!(s->repetition_penalty > 0 && isfinite(s->repetition_penalty)))
        return nib_fail(err, NIB_E_INVALID, "repetition_penalty: %g is not above 0",
                        s->repetition_penalty);
    if (g->max_new_tokens < 1)
        return nib_fail(err, NIB_E_INVALID, "max_new_tokens: %d is less than 1", g->max_new_tokens);
    return read_precision(o->float32_matmul_precision, &g->precision, err);
}
