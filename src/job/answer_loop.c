/* answer_loop.c - see answer_loop.h. */
#include "job/answer_loop.h"

#include <math.h>

#include "job/generate_borrowed.h"

/* --- what is asked --- */

static nib_status check_shape(const nib_answer_loop *a, const nib_data_options *o,
                              const char *score, nib_error *err)
{
    nib_record_shape shape = nib_dataset_shape(a->data);

    if (nib_shape_has_choices(shape))
        return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is of texts that are "
                        "generated, and of records of multiple choice none is; take loss, and "
                        "evaluate --generate afterwards", score);
    if (!nib_shape_asks(shape))
        return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is of answers, and records "
                        "of the form '%s' have no prompt that could be answered (prompt and "
                        "completion, chats, FAQ, Alpaca have); take loss or perplexity", score,
                        nib_shape_name(shape));
    if (o->train_on_prompt || (o->train_on_turns && strcmp(o->train_on_turns, "everything") == 0))
        return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is of answers, and with %s "
                        "nothing tells them from their prompts; take loss or perplexity", score,
                        o->train_on_prompt ? "train_on_prompt" : "train_on_turns everything");
    return NIB_OK;
}

static nib_status take_questions(nib_answer_loop *a, bool last_turn, nib_answer_score score,
                                 nib_tokenizer *t, nib_error *err)
{
    size_t longest = 0, applies = 0;

    for (size_t i = 0; i < a->records; i++) {
        nib_record r = nib_dataset_record(a->data, i);
        nib_status status = nib_asked_find(&r, last_turn, a->name, i, &a->asked[i], err);
        if (!status) status = nib_asked_wanted(t, &r, a->asked[i], &a->wanted[i], err);
        if (status) return nib_fail_in(err, status, "metric_for_best_model");
        longest = nib_max(longest, a->asked[i].end - a->asked[i].prompt);
        a->longest_prompt = nib_max(a->longest_prompt, a->asked[i].prompt);
        applies += nib_answer_score_applies(score, a->wanted[i]);
    }
    a->max_new_tokens = nib_asked_new_tokens(longest);
    if (applies) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is of answers that are JSON %s, "
                    "and of the %zu of %s none is; take exact_match, rougeL or chrf",
                    nib_answer_score_name(score),
                    score == NIB_ANSWER_JSON_FIELDS ? "objects" : "objects or lists", a->records,
                    a->name);
}

nib_status nib_answer_loop_open(nib_ctx *ctx, const char *name, const nib_dataset *data,
                                const nib_data_options *o, nib_answer_score score,
                                nib_tokenizer *tokenizer, nib_answer_loop *out, nib_error *err)
{
    size_t n = nib_dataset_count(data);
    nib_answer_loop a = { .ctx = ctx, .name = name, .data = data, .records = n };
    nib_data_counts c = nib_dataset_counts(data);
    bool last_turn = !(o->train_on_turns && strcmp(o->train_on_turns, "last") == 0);
    nib_status status = check_shape(&a, o, nib_answer_score_name(score), err);

    if (status) return status;
    a.asked = nib_new_array(ctx, n, sizeof *a.asked);
    a.wanted = nib_new_array(ctx, n, sizeof *a.wanted);
    a.scores = nib_new_array(ctx, n, sizeof *a.scores);
    status = a.asked && a.wanted && a.scores
                 ? take_questions(&a, last_turn, score, tokenizer, err)
                 : nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", n);
    if (!status && c.truncated)
        nib_warn_code(ctx, "truncated", "%s: %" PRIu64 " records are longer than max_seq_length: "
                      "what is wanted of them is cut, and no answer can match it", name,
                      c.truncated);
    if (status) nib_answer_loop_close(&a);
    else *out = a;
    return status;
}

void nib_answer_loop_close(nib_answer_loop *a)
{
    if (!a->ctx) return;
    nib_generator_close(a->generator);
    for (size_t i = 0; a->wanted && i < a->records; i++) nib_free(a->ctx, a->wanted[i]);
    nib_free(a->ctx, a->wanted);
    nib_free(a->ctx, a->asked);
    nib_free(a->ctx, a->scores);
    *a = (nib_answer_loop){ 0 };
}

/* --- asking --- */

/* New tokens after a prompt: as many as the model takes, the last one is not read. */
static size_t most_after(const nib_answer_loop *a, size_t prompt)
{
    return nib_min(a->max_new_tokens, nib_generator_positions(a->generator) - prompt + 1);
}

nib_status nib_answer_loop_plan(nib_answer_loop *a, const char *dir, nib_tokenizer *tokenizer,
                                nib_model *model, nib_adapter *adapter, nib_error *err)
{
    nib_status status;

    nib_generator_close(a->generator);
    a->generator = NULL;
    a->graph = model->graph;
    status = nib_generator_borrow(a->ctx, dir, tokenizer, model, adapter, &a->generator, err);
    if (!status && a->longest_prompt > nib_generator_positions(a->generator))
        status = nib_fail(err, NIB_E_INVALID, "%s: a prompt of %zu tokens, the model takes %zu",
                          a->name, a->longest_prompt, nib_generator_positions(a->generator));
    for (size_t i = a->capacity = 0; i < a->records && !status; i++)
        a->capacity = nib_max(a->capacity,
                              a->asked[i].prompt + most_after(a, a->asked[i].prompt));
    return status ? status : nib_generator_bytes(a->generator, a->capacity, &a->bytes, err);
}

nib_status nib_answer_loop_allocate(nib_answer_loop *a, nib_error *err)
{
    return a->ctx ? nib_generator_reserve(a->generator, a->capacity, err) : NIB_OK;
}

/* The answer to record i, of at most so many tokens. */
static nib_status ask(nib_answer_loop *a, size_t i, size_t most, nib_generate_result *result,
                      nib_error *err)
{
    nib_record r = nib_dataset_record(a->data, i);
    nib_generate_options how;
    nib_status status;

    nib_generate_defaults(&how);
    how.do_sample = 0;
    how.max_new_tokens = (int)nib_min(most, most_after(a, a->asked[i].prompt));
    how.float32_matmul_precision = "highest";
    status = nib_generator_run_tokens(a->generator, r.ids, a->asked[i].prompt, &how, result, err);
    return status ? nib_fail_in(err, status, "%s: record %zu of those read", a->name, i + 1)
                  : NIB_OK;
}

static nib_status answer(nib_answer_loop *a, size_t i, nib_error *err)
{
    nib_generate_result result;
    nib_status status = ask(a, i, SIZE_MAX, &result, err);

    if (status) return status;
    status = nib_answer_score_one(a->ctx, result.text ? result.text : "", a->wanted[i],
                                  &a->scores[i], err);
    nib_generate_result_free(a->generator, &result);
    return status;
}

nib_status nib_answer_loop_trial(nib_answer_loop *a, double *seconds, nib_error *err)
{
    enum { NEW = 9 };
    nib_precision before;
    nib_generate_result result;
    double prompts = 0, answers = 0;
    nib_status status;

    *seconds = 0;
    if (!a->ctx || !a->records) return NIB_OK;
    before = a->graph->precision;
    nib_generator_changed(a->generator);
    status = ask(a, 0, NEW, &result, err);
    a->graph->precision = before;
    if (status) return status;
    for (size_t i = 0; i < a->records; i++) {
        size_t prompt = a->asked[i].prompt, length = nib_dataset_record(a->data, i).length;
        prompts += (double)prompt;
        answers += (double)nib_min(length - nib_min(prompt, length), most_after(a, prompt));
    }
    *seconds = result.prefill_seconds / fmax((double)result.prompt_tokens, 1) * prompts;
    if (result.new_tokens > 1)
        *seconds += result.decode_seconds / (double)(result.new_tokens - 1) * answers;
    nib_generate_result_free(a->generator, &result);
    return NIB_OK;
}

nib_status nib_answer_loop_run(nib_answer_loop *a, double *means,
                               void (*progress)(void *user, const char *what, double part),
                               void *user, nib_error *err)
{
    nib_precision before = a->graph->precision;
    nib_status status = NIB_OK;

    nib_generator_changed(a->generator);
    for (size_t i = 0; i < a->records && !status; i++) {
        status = nib_should_stop(a->ctx)
                     ? nib_fail(err, NIB_E_INTERRUPTED, "interrupted while answering")
                     : answer(a, i, err);
        if (progress && !status)
            progress(user, "answering", (double)(i + 1) / (double)a->records);
    }
    a->graph->precision = before;
    if (!status) nib_answer_score_means(a->scores, a->records, NULL, means);
    return status;
}
