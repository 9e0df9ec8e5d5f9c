/* settings.c - generation_config.json's keys and the caller's. */
#include "generate/settings.h"

#include <math.h>
#include <stdio.h>

#include "base/filemap.h"
#include "format/json.h"
#include "generate/lookup.h"

void nib_generate_defaults(nib_generate_options *o)
{
    *o = (nib_generate_options){ .max_new_tokens = -1,
                                 .prompt_lookup_num_tokens = -1,
                                 .do_sample = -1,
                                 .temperature = (double)NAN,
                                 .top_p = (double)NAN,
                                 .min_p = (double)NAN,
                                 .repetition_penalty = (double)NAN,
                                 .top_k = -1,
                                 .seed = 42,
                                 .max_length = -1,
                                 .min_length = -1,
                                 .min_new_tokens = -1,
                                 .no_repeat_ngram_size = -1,
                                 .typical_p = (double)NAN,
                                 .epsilon_cutoff = (double)NAN,
                                 .eta_cutoff = (double)NAN };
}

void nib_generation_free(nib_ctx *ctx, nib_generation *g)
{
    nib_processors_free(ctx, &g->processors);
    for (size_t i = 0; i < g->stop_string_count; i++) nib_free(ctx, g->stop_strings[i]);
    nib_free(ctx, g->stop_strings);
    g->stop_strings = NULL;
    g->stop_string_count = 0;
}

nib_status nib_generation_most(const nib_generation *g, size_t prompt, size_t *most, nib_error *err)
{
    *most = NIB_DEFAULT_NEW_TOKENS;
    if (g->max_new_tokens)
        *most = (size_t)g->max_new_tokens;
    else if (g->max_length == NIB_TRANSFORMERS_LENGTH && !g->max_length_given)
        *most = NIB_TRANSFORMERS_LENGTH;
    else if (g->max_length && (size_t)g->max_length <= prompt)
        return nib_fail(
            err, NIB_E_INVALID,
            "the prompt has %zu tokens and max_length is %d, prompt included: raise it, "
            "or set max_new_tokens",
            prompt, g->max_length);
    else if (g->max_length)
        *most = (size_t)g->max_length - prompt;
    return NIB_OK;
}

nib_status nib_generation_read(nib_ctx *ctx, const char *dir, const nib_special_tokens *special,
                               nib_generation *out, nib_error *err)
{
    nib_generation g = { .sampling = { .temperature = 1,
                                       .top_k = 50,
                                       .top_p = 1,
                                       .typical_p = 1,
                                       .repetition_penalty = 1,
                                       .seed = 42 },
                         .processors = NIB_NO_PROCESSORS,
                         .prompt_lookup_num_tokens = NIB_MOST_GUESSES };
    char *path = nib_sprintf(ctx, "%s/generation_config.json", dir);
    json_t *json = NULL;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path)) {
        status = nib_json_read(ctx, path, 0, &json, err);
        if (!status) status = nib_generation_read_keys(ctx, json, path, &g, err);
    }
    g.end_count = special->end_count;
    memcpy(g.end_tokens, special->ends, sizeof g.end_tokens);
    if (!status && !g.end_count && g.processors.decay_factor != 0)
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: exponential_decay_length_penalty, but no end token is known", path);
    if (!status) *out = g;
    else
        nib_generation_free(ctx, &g);
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
    if (!isnan(o->typical_p)) s->typical_p = o->typical_p;
    if (!isnan(o->epsilon_cutoff)) s->epsilon_cutoff = o->epsilon_cutoff;
    if (!isnan(o->eta_cutoff)) s->eta_cutoff = o->eta_cutoff;
    if (o->min_length >= 0) g->processors.min_length = o->min_length;
    if (o->min_new_tokens >= 0) g->processors.min_new_tokens = o->min_new_tokens;
    if (o->no_repeat_ngram_size >= 0) g->processors.no_repeat_ngram_size = o->no_repeat_ngram_size;
    if (o->max_length >= 0) { /* given beside the file's max_new_tokens it is what is meant */
        g->max_length = o->max_length;
        g->max_length_given = true;
        g->max_new_tokens = 0;
    }
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
    if (!(s->typical_p > 0 && isfinite(s->typical_p)))
        return nib_fail(err, NIB_E_INVALID, "typical_p: %g is not above 0", s->typical_p);
    if (!(s->repetition_penalty > 0 && isfinite(s->repetition_penalty)))
        return nib_fail(err, NIB_E_INVALID, "repetition_penalty: %g is not above 0",
                        s->repetition_penalty);
    if (o->max_new_tokens == 0 || o->max_length == 0)
        return nib_fail(err, NIB_E_INVALID, "%s: 0 is less than 1",
                        o->max_new_tokens == 0 ? "max_new_tokens" : "max_length");
    return read_precision(o->float32_matmul_precision, &g->precision, err);
}

static void NIB_PRINTF(3, 4) append(char *text, size_t room, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    if (used < room) vsnprintf(text + used, room - used, format, args);
    va_end(args);
}

void nib_generation_describe(const nib_generation *g, char *text, size_t room)
{
    const nib_processors *p = &g->processors;
    const nib_sampling *s = &g->sampling;

    *text = 0;
    if (s->do_sample && s->typical_p < 1) append(text, room, ", typical_p %g", s->typical_p);
    if (s->do_sample && s->epsilon_cutoff > 0)
        append(text, room, ", epsilon_cutoff %g", s->epsilon_cutoff);
    if (s->do_sample && s->eta_cutoff > 0) append(text, room, ", eta_cutoff %g", s->eta_cutoff);
    if (p->no_repeat_ngram_size)
        append(text, room, ", no_repeat_ngram_size %d", p->no_repeat_ngram_size);
    if (p->bad_word_count) append(text, room, ", bad_words_ids (%zu)", p->bad_word_count);
    if (p->min_new_tokens > 0) append(text, room, ", min_new_tokens %d", p->min_new_tokens);
    if (p->min_new_tokens < 0 && p->min_length)
        append(text, room, ", min_length %d", p->min_length);
    if (p->forced_bos >= 0) append(text, room, ", forced_bos_token_id %" PRId64, p->forced_bos);
    if (p->forced_eos.count) append(text, room, ", forced_eos_token_id (%zu)", p->forced_eos.count);
    if (p->decay_factor != 0)
        append(text, room, ", exponential_decay_length_penalty [%d, %g]", p->decay_start,
               p->decay_factor);
    if (p->suppress.count) append(text, room, ", suppress_tokens (%zu)", p->suppress.count);
    if (p->begin_suppress.count)
        append(text, room, ", begin_suppress_tokens (%zu)", p->begin_suppress.count);
    if (g->stop_string_count) append(text, room, ", stop_strings (%zu)", g->stop_string_count);
}

nib_status nib_generation_check(const nib_generation *g, size_t vocabulary, nib_error *err)
{
    for (size_t i = 0; i < g->processors.bad_word_count; i++)
        for (size_t k = 0; k < g->processors.bad_words[i].count; k++)
            if (g->processors.bad_words[i].items[k] >= vocabulary)
                return nib_fail(err, NIB_E_MISMATCH,
                                "generation_config.json: bad_words_ids[%zu]: token %" PRIu32
                                " is beyond the vocabulary of %zu",
                                i, g->processors.bad_words[i].items[k], vocabulary);
    return NIB_OK;
}
