/* generate.c - prompt in, text out: tokenizer, model, adapters, decoder and sampler together. */
#include "nibble/generate.h"

#include <stdio.h>

#include "adapter/prompt_note.h"
#include "generate/ahead.h"
#include "job/generate_parts.h"
#include "job/generate_text.h"
#include "job/memory.h"
#include "job/open.h"
#include "job/other_form.h"

/* --- opening --- */

static nib_status open_adapter(nib_generator *g, const nib_adapter_choice *choice, bool only,
                               nib_error *err)
{
    size_t slot = g->adapter_count;
    const char *name = choice->name ? choice->name : "default";
    nib_status status;

    if (!choice->name && !only)
        return nib_fail(err, NIB_E_INVALID, "%s: has no name, which each of several adapters needs",
                        choice->dir);
    for (size_t i = 0; i < slot; i++)
        if (strcmp(g->names[i], name) == 0)
            return nib_fail(err, NIB_E_INVALID, "%s and %s: two adapters are called '%s'",
                            g->adapters[i]->dir, choice->dir, name);
    g->names[slot] = nib_strdup(g->ctx, name);
    if (!g->names[slot]) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", choice->dir);
    g->adapter_count++;
    status = nib_adapter_open(g->model, choice->dir, (unsigned)slot, false, &g->adapters[slot],
                              err);
    return status ? status : nib_compare_forms(g->adapters[slot], "used on", false,
                                               &(nib_merge_result){ 0 }, err);
}

static nib_status open_all(nib_generator *g, const nib_model_options *o,
                           const nib_adapter_choice *adapters, size_t count, nib_error *err)
{
    nib_dtype compute = nib_open_compute(g->ctx, o->compute_dtype);
    nib_status status;

    if (count > NIB_MAX_SLOTS)
        return nib_fail(err, NIB_E_INVALID, "%zu adapters, at most %d", count, NIB_MAX_SLOTS);
    g->adapters = nib_new_array(g->ctx, count, sizeof *g->adapters);
    g->names = nib_new_array(g->ctx, count, sizeof *g->names);
    if (!g->adapters || !g->names) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", o->model);
    status = nib_tokenizer_open(g->ctx, o->model, &g->tokenizer, err);
    if (!status)
        status = nib_model_open(g->ctx, o, compute, (nib_model_progress){ 0 }, &g->model, err);
    if (!status && g->model->purpose.task != NIB_TASK_CAUSAL_LM)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: a model for %s does not generate text",
                          o->model, nib_task_name(g->model->purpose.task));
    for (size_t i = 0; i < count && !status; i++)
        status = open_adapter(g, &adapters[i], count == 1, err);
    if (!status)
        status = nib_generation_read(g->ctx, o->model, nib_tokenizer_special(g->tokenizer),
                                     &g->defaults, err);
    if (!status) status = nib_sampler_init(g->ctx, g->model->head->weight->out, &g->sampler, err);
    if (!status) status = nib_generation_check(&g->defaults, g->sampler.vocabulary, err);
    if (!status) status = nib_warnings_check(g->ctx, err);
    nib_warnings_repeat(g->ctx);
    return status;
}

nib_status nib_generator_open(nib_ctx *ctx, const nib_model_options *model,
                              const nib_adapter_choice *adapters, size_t adapter_count,
                              nib_generator **out, nib_error *err)
{
    nib_generator *g = nib_new(ctx, sizeof *g);
    nib_status status;

    if (!g) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", model->model);
    g->ctx = ctx;
    g->dir = nib_strdup(ctx, model->model);
    status = !g->dir ? nib_fail(err, NIB_E_NOMEM, "%s: out of memory", model->model)
                     : open_all(g, model, adapters, adapter_count, err);
    if (status) goto done;
    g->prompts = (nib_prompts){ .ctx = ctx, .dir = g->dir, .tokenizer = g->tokenizer,
                                .model_form = nib_prompt_note(g->model->tensors) };
    *out = g;
    g = NULL; /* handed over */
done:
    nib_generator_close(g);
    return status;
}

void nib_generator_close(nib_generator *g)
{
    if (!g) return;
    nib_decoder_destroy(g->decoder);
    nib_state_destroy(g->state);
    nib_sampler_free(&g->sampler);
    nib_generation_free(g->ctx, &g->defaults);
    for (size_t i = 0; i < g->adapter_count; i++) {
        if (!g->borrows) nib_adapter_close(g->adapters[i]);
        nib_free(g->ctx, g->names[i]);
    }
    nib_free(g->ctx, g->adapters);
    nib_free(g->ctx, g->names);
    if (!g->borrows) nib_model_close(g->model);
    if (!g->borrows) nib_tokenizer_close(g->tokenizer);
    nib_prompts_close(&g->prompts);
    nib_free(g->ctx, g->dir);
    nib_tokens_free(g->ctx, &g->tokens);
    nib_free(g->ctx, g->ids);
    nib_free(g->ctx, g);
}

/* --- which adapter --- */

/* "a, b, c" as far as it fits. */
static void list_names(const nib_generator *g, char *text, size_t room)
{
    size_t used = 0;

    *text = 0;
    for (size_t i = 0; i < g->adapter_count && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", g->names[i]);
}

static nib_status choose_adapter(const nib_generator *g, const nib_generate_options *o,
                                 uint8_t *slot, nib_error *err)
{
    char known[512];
    size_t at = NIB_NO_SLOT;

    if (o->adapter && o->no_adapter)
        return nib_fail(err, NIB_E_INVALID, "adapter '%s' and no_adapter exclude each other",
                        o->adapter);
    list_names(g, known, sizeof known);
    if (o->adapter) {
        for (at = 0; at < g->adapter_count && strcmp(g->names[at], o->adapter) != 0;) at++;
        if (at == g->adapter_count)
            return nib_fail(err, NIB_E_INVALID, "adapter '%s' is not loaded; loaded: %s",
                            o->adapter, *known ? known : "none");
    } else if (!o->no_adapter && g->adapter_count > 1) {
        return nib_fail(err, NIB_E_INVALID,
                        "%zu adapters are loaded and none is named: one of %s, or "
                        "no_adapter",
                        g->adapter_count, known);
    } else if (!o->no_adapter && g->adapter_count == 1) {
        at = 0;
    }
    /* nothing can be computed without the adapter that changed it, which is the first */
    if (at != 0 && nib_model_is_changed(g->model))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "adapter '%s' brings biases or modules_to_save of its own, "
                        "so the model cannot be used without it while it is loaded",
                        g->names[0]);
    *slot = (uint8_t)at;
    return NIB_OK;
}

static nib_status settle(const nib_generator *g, const nib_generate_options *o, nib_generation *use,
                         uint8_t *slot, nib_error *err)
{
    nib_status status;

    *use = g->defaults;
    status = nib_generation_apply(use, o, err);
    if (!status) status = choose_adapter(g, o, slot, err);
    return status;
}

static const char *computed_in(nib_dtype type, nib_precision precision)
{
    if (type != NIB_F32) return nib_dtype_name(type);
    return precision == NIB_PRECISION_HIGH ? "float32, float32_matmul_precision high"
                                           : "float32, float32_matmul_precision highest";
}

nib_status nib_generator_describe(nib_generator *g, const nib_generate_options *options, char *text,
                                  size_t room, nib_error *err)
{
    nib_generation use;
    const nib_sampling *s = &use.sampling;
    uint8_t slot;
    char how[160] = "greedy", more[400];
    size_t most = 0;
    bool total;
    nib_status status = settle(g, options, &use, &slot, err);

    if (status) return status;
    if (s->do_sample)
        snprintf(how, sizeof how,
                 "sampled: temperature %g, top_k %d, top_p %g, min_p %g, seed %" PRIu64,
                 s->temperature, s->top_k, s->top_p, s->min_p, s->seed);
    nib_generation_describe(&use, more, sizeof more);
    /* reported as what it is for a prompt of any length */
    total = nib_generation_most(&use, 0, &most, NULL) == NIB_OK && !use.max_new_tokens &&
            use.max_length && most != NIB_TRANSFORMERS_LENGTH;
    snprintf(text, room,
             "%s; repetition_penalty %g%s, %s %d, prompt_lookup_num_tokens %d, adapter %s, "
             "%zu stop strings, computed in %s",
             how, s->repetition_penalty, more, total ? "max_length" : "max_new_tokens",
             total ? use.max_length : (int)most, use.prompt_lookup_num_tokens,
             slot == NIB_NO_SLOT ? "none" : g->names[slot], options->stop_count,
             computed_in(g->model->graph->type, use.precision));
    return NIB_OK;
}

/* --- running --- */

/* For the ids of a prompt that the model can take. */
static nib_status make_room(nib_generator *g, size_t count, nib_error *err)
{
    size_t most = g->model->graph->positions;

    if (!count) return nib_fail(err, NIB_E_INVALID, "the prompt has no tokens");
    if (count > most)
        return nib_fail(err, NIB_E_INVALID,
                        "the prompt has %zu tokens, the model takes at most %zu: shorten it", count,
                        most);
    if (!nib_grow(g->ctx, &g->ids, &g->ids_capacity, count, sizeof *g->ids))
        return nib_fail(err, NIB_E_NOMEM, "prompt of %zu tokens: out of memory", count);
    g->id_count = count;
    return NIB_OK;
}

static nib_status encode_prompt(nib_generator *g, const nib_generate_options *o, const char *prompt,
                                size_t bytes, uint8_t slot, nib_error *err)
{
    const nib_adapter *adapter = slot == NIB_NO_SLOT ? NULL : g->adapters[slot];
    size_t v = g->sampler.vocabulary;
    bool had_bos = false;
    nib_status status;

    g->tokens.count = 0;
    if (bytes == 0)
        return nib_fail(err, NIB_E_INVALID, "the prompt is empty: give a text to continue");
    status = nib_prompts_encode(&g->prompts, adapter, o, prompt, bytes, &g->tokens, &had_bos, err);
    if (status) return nib_fail_in(err, status, "prompt");
    if (had_bos) nib_note(g->ctx, "the prompt begins with BOS already and gets no second one");
    status = make_room(g, g->tokens.count, err);
    for (size_t i = 0; i < g->tokens.count && !status; i++) {
        g->ids[i] = g->tokens.items[i].id;
        if (g->ids[i] >= v)
            status = nib_fail(err, NIB_E_MISMATCH, "prompt: token %" PRIu32 " ('%.100s') is beyond "
                              "the vocabulary of %zu", g->ids[i],
                              nib_tokenizer_token(g->tokenizer, g->ids[i]), v);
    }
    return status;
}

static nib_status take_ids(nib_generator *g, const uint32_t *ids, size_t count, nib_error *err)
{
    size_t v = g->sampler.vocabulary;
    nib_status status = make_room(g, count, err);

    for (size_t i = 0; i < count && !status; i++) {
        g->ids[i] = ids[i];
        if (ids[i] >= v)
            status = nib_fail(err, NIB_E_MISMATCH,
                              "prompt: token %" PRIu32 " is beyond the vocabulary of %zu", ids[i],
                              v);
    }
    return status;
}

nib_status nib_generator_make_room(nib_generator *g, size_t capacity, nib_error *err)
{
    nib_status status;

    if (g->state && g->capacity >= capacity) return NIB_OK;
    nib_decoder_destroy(g->decoder);
    nib_state_destroy(g->state);
    g->decoder = NULL;
    g->state = NULL;
    status = nib_decoder_create(g->ctx, g->model->graph, capacity, 1, &g->decoder, err);
    if (!status) status = nib_state_create(g->ctx, g->model->graph, capacity, &g->state, err);
    if (!status) g->capacity = capacity;
    return status;
}

/* The text so far, as the processors see it. */
static nib_sequence sequence_of(const nib_generator *g, const nib_generation *use, size_t prompt,
                                size_t most)
{
    return (nib_sequence){ g->ids,        g->id_count,     prompt,
                           prompt + most, use->end_tokens, use->end_count };
}

/* How many of the greatest logits a choice needs, now or `ahead` tokens later; 0: all. */
static size_t needs(const nib_generator *g, const nib_generation *use, const nib_sequence *s,
                    size_t ahead)
{
    size_t lower = nib_processors_lower(&use->processors, s, ahead), most;

    if (lower == SIZE_MAX) return 0;
    most = nib_sampling_needs(&use->sampling, g->sampler.seen_count + ahead);
    return most && most + lower < g->sampler.vocabulary ? most + lower : 0;
}

static bool ends(const nib_generation *use, uint32_t id)
{
    for (size_t i = 0; i < use->end_count; i++)
        if (use->end_tokens[i] == (int64_t)id) return true;
    return false;
}

/* Samples until something ends it; the last token is never pushed, for nothing comes after it. */
static nib_status decode(nib_generator *g, const nib_generation *use, nib_conversation speaks,
                         nib_sequence so_far, size_t most, nib_generated *text,
                         nib_generate_result *r, nib_error *err)
{
    size_t guesses = nib_min((size_t)use->prompt_lookup_num_tokens, NIB_MOST_GUESSES);
    nib_ahead ahead = nib_ahead_begin(g->decoder, speaks, guesses);
    nib_status status = NIB_OK;

    r->stop_reason = "length";
    for (size_t i = 0; i < most && !status; i++) {
        nib_logits logits;
        uint32_t id;

        status = nib_ahead_logits(&ahead, &logits, err);
        if (status) break;
        so_far.count = g->id_count;
        id = nib_sample(&g->sampler, &use->sampling, &use->processors, &so_far, logits, i);
        r->new_tokens++;
        r->guessed_tokens += nib_ahead_guessed(&ahead, id);
        if (ends(use, id)) {
            r->stop_reason = "eos";
            break;
        }
        nib_sampler_see(&g->sampler, id);
        status = nib_generated_push(text, id, err);
        if (status || text->stopped) break;
        g->ids[g->id_count++] = id;
        so_far.count = g->id_count;
        if (i + 1 < most)
            status = nib_ahead_push(&ahead, g->ids, g->id_count, most - i - 2,
                                    needs(g, use, &so_far, guesses), err);
    }
    if (!status) status = nib_generated_finish(text, err);
    if (text->stopped) r->stop_reason = text->stopped;
    return status;
}

static nib_status run(nib_generator *g, const nib_generate_options *o, const nib_generation *use,
                      uint8_t slot, nib_generated *text, nib_generate_result *r, nib_error *err)
{
    size_t prompt = g->id_count, most, room = g->model->graph->positions - prompt + 1;
    nib_sequence so_far;
    nib_conversation speaks;
    double start;
    nib_status status = nib_generation_most(use, prompt, &most, err);

    if (status) return status;
    so_far = sequence_of(g, use, prompt, most);
    if (most > room) {
        nib_note(g->ctx,
                 "%zu new tokens after a prompt of %zu: the model takes %zu tokens, so at most %zu "
                 "are generated",
                 most, prompt, g->model->graph->positions, room);
        most = room;
    }
    status = nib_generator_make_room(g, prompt + most, err);
    if (!status && !nib_grow(g->ctx, &g->ids, &g->ids_capacity, prompt + most, sizeof *g->ids))
        status = nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", prompt + most);
    if (!status) status = nib_generated_open(text, g->ctx, g->tokenizer, o, err);
    if (!status && use->stop_string_count)
        status = nib_generated_stop_behind(text, g->tokenizer, use->stop_strings,
                                           use->stop_string_count, g->ids, prompt, err);
    if (status) return status;
    so_far.ids = g->ids; /* which have room for the text now */
    speaks = (nib_conversation){ g->state, slot }; /* made by nib_generator_make_room() */
    nib_sampler_forget(&g->sampler);
    for (size_t i = 0; i < prompt; i++) nib_sampler_see(&g->sampler, g->ids[i]);
    start = nib_clock_seconds();
    g->model->graph->precision = use->precision;
    nib_state_reset(g->state);
    status = nib_decoder_read(g->decoder, speaks, g->ids, prompt, needs(g, use, &so_far, 0), err);
    r->prompt_tokens = prompt;
    r->prefill_seconds = nib_clock_seconds() - start;
    if (status) return status;
    start = nib_clock_seconds();
    status = decode(g, use, speaks, so_far, most, text, r, err);
    r->decode_seconds = nib_clock_seconds() - start;
    r->peak_memory_bytes = nib_memory_peak();
    return status;
}

/* A prompt of text, or where that is NULL of tokens. */
static nib_status answer(nib_generator *g, const char *prompt, size_t bytes, const uint32_t *ids,
                         size_t count, const nib_generate_options *options,
                         nib_generate_result *result, nib_error *err)
{
    nib_generate_result r = { 0 };
    nib_generated text = { 0 };
    nib_generation use;
    uint8_t slot;
    nib_status status;

    *result = r;
    status = settle(g, options, &use, &slot, err);
    if (!status)
        status = prompt ? encode_prompt(g, options, prompt, bytes, slot, err)
                        : take_ids(g, ids, count, err);
    if (!status) status = run(g, options, &use, slot, &text, &r, err);
    if (!status) {
        nib_generated_take(&text, &r.text, &r.bytes);
        *result = r;
    }
    nib_generated_close(&text);
    return status;
}

nib_status nib_generator_run(nib_generator *g, const char *prompt, size_t prompt_bytes,
                             const nib_generate_options *options, nib_generate_result *result,
                             nib_error *err)
{
    return answer(g, prompt, prompt_bytes, NULL, 0, options, result, err);
}

nib_status nib_generator_run_tokens(nib_generator *g, const uint32_t *ids, size_t count,
                                    const nib_generate_options *options,
                                    nib_generate_result *result, nib_error *err)
{
    return answer(g, NULL, 0, ids, count, options, result, err);
}

nib_status nib_generator_likelihood(nib_generator *g, const uint32_t *ids, size_t count,
                                    nib_continuation *texts, size_t text_count,
                                    const nib_generate_options *options, nib_error *err)
{
    size_t most = g->model->graph->positions, longest = 0;
    nib_generation use;
    uint8_t slot;
    nib_status status = settle(g, options, &use, &slot, err);

    for (size_t i = 0; i < text_count; i++) longest = nib_max(longest, texts[i].count);
    for (size_t i = 0; i < text_count && !status; i++) /* the prompt's are checked last, and kept */
        status = take_ids(g, texts[i].ids, texts[i].count, err);
    if (!status) status = take_ids(g, ids, count, err);
    if (!status && longest > most - count)
        status = nib_fail(err, NIB_E_INVALID, "a prompt of %zu tokens and a text of %zu: the model "
                          "takes at most %zu", count, longest, most);
    if (!status) status = nib_generator_make_room(g, count + longest, err);
    if (status) return status;
    g->model->graph->precision = use.precision;
    return nib_likelihood(g->decoder, (nib_conversation){ g->state, slot }, g->ids, count, texts,
                          text_count, err);
}

nib_tokenizer *nib_generator_tokenizer(const nib_generator *g)
{
    return g->tokenizer;
}

const char *nib_generator_prompt_form(const nib_generator *g, size_t adapter, const char **dir)
{
    *dir = g->adapter_count ? g->adapters[adapter]->dir : g->dir;
    return g->adapter_count ? g->adapters[adapter]->prompt_form : g->prompts.model_form;
}

size_t nib_generator_positions(const nib_generator *g)
{
    return g->model->graph->positions;
}

size_t nib_generator_vocabulary(const nib_generator *g)
{
    return g->sampler.vocabulary;
}

void nib_generate_result_free(nib_generator *g, nib_generate_result *result)
{
    nib_free(g->ctx, result->text);
    *result = (nib_generate_result){ 0 };
}
