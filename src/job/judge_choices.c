/* judge_choices.c - see judge_choices.h. */
#include "job/judge_choices.h"

#include <math.h>
#include <stdio.h>

#include "format/records.h"
#include "job/choice_scores.h"
#include "text/utf8.h"
#include "train/choices.h"

/* --- reading --- */

/* Bytes without the blanks at the end, as Python's rstrip() has them. */
static size_t without_end(const char *text, size_t bytes)
{
    size_t end = 0;

    for (size_t i = 0; i < bytes;) {
        size_t n = nib_utf8_valid(text + i, bytes - i);
        if (!n || !nib_is_python_space(nib_utf8_read(text + i))) end = i + nib_max(n, 1);
        i += nib_max(n, 1);
    }
    return end;
}

static nib_status take_tokens(nib_judgement *j, const nib_tokens *tokens, size_t from,
                              uint32_t **out, size_t *count, nib_error *err)
{
    *count = tokens->count - from;
    *out = nib_new_array(j->ctx, nib_max(*count, 1), sizeof **out);
    if (!*out) return nib_fail(err, NIB_E_NOMEM, "a choice: out of memory");
    for (size_t i = from; i < tokens->count; i++) (*out)[i - from] = tokens->items[i].id;
    return NIB_OK;
}

/* Choice i of the question, behind its prompt in `text`, which is as it was afterwards. */
static nib_status take_choice(nib_judgement *j, nib_generator *g, const nib_choices *c, size_t i,
                              nib_text *text, nib_choice_question *q, const char *where,
                              nib_error *err)
{
    size_t prompt = text->bytes, limit = (size_t)j->o->data.max_seq_length,
           positions = nib_generator_positions(g);
    nib_choice *to = &q->choices[i];
    nib_tokens tokens = { 0 };
    nib_status status;

    nib_choices_put_choice(c, i, text);
    to->text = nib_strdup(j->ctx, json_string_value(c->texts[i]));
    if (!to->text || text->failed)
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (strlen(to->text) != json_string_length(c->texts[i]))
        return nib_fail(err, NIB_E_FORMAT, "%s: choices[%zu] has a character of code 0", where, i);
    status = nib_tokenizer_encode(nib_generator_tokenizer(g), text->data, text->bytes, true,
                                  &tokens, NULL, err);
    if (status) nib_fail_in(err, status, "%s: choices[%zu]", where, i);
    if (!status && tokens.count <= q->prompt_count)
        status = nib_fail(err, NIB_E_FORMAT, "%s: choices[%zu] adds no token to the %zu of the "
                          "prompt", where, i, q->prompt_count);
    if (!status && tokens.count > positions)
        status = nib_fail(err, NIB_E_FORMAT, "%s: choices[%zu] has %zu tokens with its prompt, the "
                          "model takes at most %zu: shorten it, or leave the record out (skip_bad)",
                          where, i, tokens.count, positions);
    if (!status && tokens.count > limit)
        status = nib_fail(err, NIB_E_FORMAT, "%s: choices[%zu] has %zu tokens with its prompt, "
                          "max_seq_length is %zu: a likelihood of a part would be another one; "
                          "raise it, or leave the record out (skip_bad)", where, i, tokens.count,
                          limit);
    if (!status) status = take_tokens(j, &tokens, q->prompt_count, &to->ids, &to->count, err);
    nib_tokens_free(j->ctx, &tokens);
    text->bytes = prompt;
    return status;
}

static nib_status take_prompt(nib_judgement *j, nib_tokenizer *t, const nib_text *text,
                              nib_choice_question *q, const char *where, nib_error *err)
{
    nib_tokens tokens = { 0 };
    nib_status status = nib_tokenizer_encode(t, text->data, without_end(text->data, text->bytes),
                                             true, &tokens, NULL, err);

    if (status) nib_fail_in(err, status, "%s", where);
    if (!status && !tokens.count)
        status = nib_fail(err, NIB_E_FORMAT, "%s: the prompt has no tokens", where);
    if (!status) status = take_tokens(j, &tokens, 0, &q->prompt, &q->prompt_count, err);
    nib_tokens_free(j->ctx, &tokens);
    return status;
}

static void free_question(nib_ctx *ctx, nib_choice_question *q)
{
    for (size_t i = 0; q->choices && i < q->count; i++) {
        nib_free(ctx, q->choices[i].text);
        nib_free(ctx, q->choices[i].ids);
    }
    nib_free(ctx, q->choices);
    nib_free(ctx, q->prompt);
}

static nib_status make_room(nib_judgement *j, nib_error *err)
{
    size_t n = j->records + 1;

    return nib_grow(j->ctx, &j->questions, &j->rooms[0], n, sizeof *j->questions) &&
                   nib_grow(j->ctx, &j->prompts, &j->rooms[1], n, sizeof *j->prompts) &&
                   nib_grow(j->ctx, &j->wanted, &j->rooms[2], n, sizeof *j->wanted)
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", n);
}

/* Nothing of a record that fails is kept. */
static nib_status take_record(nib_judgement *j, nib_generator *g, const char *key,
                              const json_t *record, const char *where, nib_error *err)
{
    nib_choices c;
    nib_choice_question q = { 0 };
    nib_text text = { .ctx = j->ctx };
    char *prompt = NULL, *wanted = NULL;
    nib_status status = make_room(j, err);

    if (!status) status = nib_choices_read(j->ctx, record, key, where, &c, err);
    if (status) return status;
    q = (nib_choice_question){ .count = c.count, .right = c.right,
                        .choices = nib_new_array(j->ctx, c.count, sizeof *q.choices) };
    nib_choices_put_prompt(&c, &text);
    if (!q.choices || text.failed)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (!status) status = take_prompt(j, nib_generator_tokenizer(g), &text, &q, where, err);
    if (!status && !(prompt = nib_strndup(j->ctx, text.data, text.bytes)))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < c.count && !status; i++)
        status = take_choice(j, g, &c, i, &text, &q, where, err);
    if (!status && !(wanted = nib_strdup(j->ctx, q.choices[q.right].text)))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (status) {
        free_question(j->ctx, &q);
        nib_free(j->ctx, prompt);
    } else {
        j->questions[j->records] = q;
        j->prompts[j->records] = prompt;
        j->wanted[j->records++] = wanted;
    }
    nib_text_free(&text);
    return status;
}

static nib_status check_options(const nib_judge_options *o, nib_error *err)
{
    const char *given = o->regex            ? "regex"
                        : o->json_schema    ? "json_schema"
                        : o->max_new_tokens ? "max_new_tokens"
                        : o->stop_count     ? "stop"
                                            : NULL;

    return given ? nib_fail(err, NIB_E_INVALID, "%s: of texts that are generated, and the records "
                            "of %s have choices: these are compared by their likelihood", given,
                            o->data.data)
                 : NIB_OK;
}

nib_status nib_judge_read_choices(nib_judgement *j, nib_generator *g, nib_record_shape shape,
                                  nib_error *err)
{
    const nib_data_options *o = &j->o->data;
    nib_records_options where = { .path = o->data, .config = o->dataset_config, .split = o->split,
                                  .field = o->data_field };
    const char *key = shape == NIB_SHAPE_CHOICES ? "question" : "prompt";
    nib_records *records = NULL;
    char first_bad[300] = "";
    size_t bad = 0;
    nib_status status = check_options(j->o, err);

    if (!status) status = nib_records_open(j->ctx, &where, &records, err);
    while (!status) {
        json_t *record = NULL;
        status = nib_records_next(records, &record, err);
        if (!status && !record) break;
        if (!status)
            status = take_record(j, g, key, record, nib_records_where(records), err);
        else if (!nib_records_can_go_on(records)) break;
        json_decref(record);
        if (status == NIB_E_FORMAT && o->skip_bad) {
            if (!bad++) snprintf(first_bad, sizeof first_bad, "%.250s", err->message);
            status = NIB_OK;
        }
    }
    nib_records_close(records);
    if (!status && bad)
        nib_warn(j->ctx, "%s: %zu bad record%s left out, %zu judged; the first bad one: %s",
                 o->data, bad, bad == 1 ? "" : "s", j->records, first_bad);
    if (!status && !j->records)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no usable record, %zu bad; the first: %s",
                          o->data, bad, first_bad);
    return status;
}

/* --- asking --- */

static nib_status ask(nib_judgement *j, nib_generator *g, size_t who, size_t i, nib_error *err)
{
    nib_contestant *c = &j->contestants[who];
    const nib_choice_question *q = &j->questions[i];
    nib_continuation texts[NIB_MOST_CHOICES];
    const char *words[NIB_MOST_CHOICES];
    nib_generate_options how;
    double start = nib_clock_seconds();
    size_t picked;
    nib_status status;

    nib_generate_defaults(&how);
    how.float32_matmul_precision = "highest";
    how.no_adapter = c->base;
    how.adapter = c->base ? NULL : c->name;
    for (size_t k = 0; k < q->count; k++) {
        texts[k] = (nib_continuation){ .ids = q->choices[k].ids, .count = q->choices[k].count };
        words[k] = q->choices[k].text;
    }
    status = nib_generator_likelihood(g, q->prompt, q->prompt_count, texts, q->count, &how, err);
    if (status) return nib_fail_in(err, status, "%s: question %zu", j->o->data.data, i + 1);
    c->seconds += nib_clock_seconds() - start;
    c->likelihoods[i] = nib_new_array(j->ctx, q->count, sizeof **c->likelihoods);
    if (!c->likelihoods[i]) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    for (size_t k = 0; k < q->count; k++) c->likelihoods[i][k] = texts[k].log_likelihood;
    picked = nib_choice_scores(c->likelihoods[i], words, q->count, q->right,
                               &j->scores[who * j->records + i]);
    c->answers[i] = nib_strdup(j->ctx, words[picked]);
    return c->answers[i] ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
}

nib_status nib_judge_ask_choices(nib_judgement *j, nib_generator *g, nib_error *err)
{
    size_t all = j->contestant_count * j->records, done = 0;
    nib_status status = NIB_OK;

    for (size_t c = 0; c < j->contestant_count; c++) {
        nib_contestant *who = &j->contestants[c];
        who->answers = nib_new_array(j->ctx, j->records, sizeof *who->answers);
        who->likelihoods = nib_new_array(j->ctx, j->records, sizeof *who->likelihoods);
        if (!who->answers || !who->likelihoods)
            return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    }
    j->scores = nib_new_array(j->ctx, all, sizeof *j->scores);
    if (!j->scores) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    for (size_t i = 0; i < j->records && !status; i++)
        for (size_t c = 0; c < j->contestant_count && !status; c++) {
            if (nib_should_stop(j->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
            status = ask(j, g, c, i, err);
            if (!status && j->o->on_progress)
                j->o->on_progress(j->o->user, "choosing", (double)++done / (double)all);
        }
    return status;
}

double nib_judge_margin(const nib_judgement *j, size_t contestant, size_t record)
{
    const nib_choice_question *q = &j->questions[record];
    const double *l = j->contestants[contestant].likelihoods[record];
    double other = -(double)INFINITY;

    for (size_t k = 0; k < q->count; k++)
        if (k != q->right) other = fmax(other, l[k]);
    return l[q->right] - other;
}

void nib_judge_free_choices(nib_judgement *j)
{
    for (size_t c = 0; j->questions && c < j->contestant_count; c++) {
        double **l = j->contestants[c].likelihoods;
        for (size_t i = 0; l && i < j->records; i++) nib_free(j->ctx, l[i]);
        nib_free(j->ctx, l);
    }
    for (size_t i = 0; j->questions && i < j->records; i++)
        free_question(j->ctx, &j->questions[i]);
    nib_free(j->ctx, j->questions);
}
