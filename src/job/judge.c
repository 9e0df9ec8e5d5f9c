/* judge.c - see nibble/judge.h: records into prompts and wanted answers, and all contestants asked
 * in one process.  Records of multiple choice: judge_choices.c. */
#include "job/judge_parts.h"
#include "job/prompts.h"

#include <time.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "base/python_regex.h"
#include "format/json.h"
#include "job/judge_choices.h"
#include "job/quantize_config.h"
#include "train/data.h"
#include "train/prompt_form.h"

/* --- who answers --- */

static nib_status find_contestants(nib_judgement *j, nib_error *err)
{
    const nib_judge_options *o = j->o;
    size_t n = 0;

    if (o->no_base && !o->adapter_count)
        return nib_fail(err, NIB_E_INVALID, "no_base: without an adapter nobody is left to answer");
    j->contestants = nib_new_array(j->ctx, o->adapter_count + 1, sizeof *j->contestants);
    if (!j->contestants) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    if (!o->no_base) j->contestants[n++] = (nib_contestant){ .name = "base", .base = true };
    for (size_t i = 0; i < o->adapter_count; i++) {
        /* as generate calls it */
        const char *name = o->adapters[i].name ? o->adapters[i].name : "default";
        if (strcmp(name, "base") == 0)
            return nib_fail(err, NIB_E_INVALID, "%s: an adapter called 'base', which is the name "
                            "of the model without one; give another: NAME=DIR", o->adapters[i].dir);
        j->contestants[n++] = (nib_contestant){ .name = name };
    }
    j->contestant_count = n;
    for (j->against = 0; o->against && j->against < n; j->against++)
        if (strcmp(j->contestants[j->against].name, o->against) == 0) break;
    if (j->against < n) return NIB_OK;
    char known[400] = "";
    for (size_t i = 0, used = 0; i < n && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 j->contestants[i].name);
    return nib_fail(err, NIB_E_INVALID, "against: '%s' does not answer; who does: %s", o->against,
                    known);
}

/* --- what is asked --- */

static nib_status take_texts(nib_judgement *j, nib_tokenizer *t, const nib_dataset *d, size_t i,
                             size_t *longest, nib_error *err)
{
    nib_record r = nib_dataset_record(d, i);
    nib_asked *a = &j->asked[i];
    size_t bytes;
    nib_status status = nib_asked_find(&r, false, j->o->data.data, i, a, err);

    if (status) return status;
    *longest = nib_max(*longest, a->end - a->prompt);
    status = nib_tokenizer_decode(t, r.ids, a->prompt, false, &j->prompts[i], &bytes, err);
    return status ? status : nib_asked_wanted(t, &r, *a, &j->wanted[i], err);
}

/* What the options leave open is as the first adapter was trained.  *own: a chat template beside
 * it. */
static nib_status take_form(nib_judgement *j, const nib_generator *g, nib_data_options *data,
                            nib_prompt_form *form, char **own, nib_error *err)
{
    const char *dir = NULL, *text = NULL, *who = j->o->adapter_count ? "adapter" : "model";
    bool open = !data->prompt_template && !data->template_text;
    nib_status status;

    if (!j->o->raw) text = nib_generator_prompt_form(g, 0, &dir);
    if (!text || !nib_prompt_form_read(text, form)) return NIB_OK;
    if (open && form->prompt_template && form->completion_template) {
        data->prompt_template = form->prompt_template;
        data->completion_template = form->completion_template;
        nib_note(j->ctx, "records are put as the %s was trained (--raw: by their own fields): "
                         "prompt_template '%.200s'", who, form->prompt_template);
    }
    if (!data->alpaca_ending) data->alpaca_ending = form->alpaca_ending;
    if (!data->chat_template_kwargs) data->chat_template_kwargs = form->chat_template_kwargs;
    if (!form->chat || data->chat_template) return NIB_OK;
    status = nib_prompts_own_template(j->ctx, dir, own, err);
    data->chat_template = *own;
    return status;
}

/* Whatever they are called: by the chat template, or with the same text around what is asked.  Of
 * several fields in a template no such text is known. */
static bool is_put_alike(const nib_prompt_form *a, const nib_prompt_form *b)
{
    if (a->chat || b->chat) return a->chat && b->chat;
    if (a->before && b->before)
        return strcmp(a->before, b->before) == 0 && strcmp(a->after, b->after) == 0;
    return !a->before && !b->before && strcmp(a->name, b->name) == 0;
}

/* Records of another form have other prompts than those that were learned. */
static nib_status compare_form(const nib_judgement *j, const nib_prompt_form *form,
                               const nib_data_options *data, nib_record_shape shape, nib_error *err)
{
    nib_prompt_form here = { 0 };
    char *text = NULL;
    nib_status status = NIB_OK;

    if (form->name) status = nib_prompt_form_make(j->ctx, data, shape, &text, err);
    if (text && nib_prompt_form_read(text, &here) && !is_put_alike(form, &here))
        nib_warn_code(j->ctx, "other-prompts", "%s: the %s was trained on %s, and these "
                      "records are %s: their prompts are put otherwise", j->o->data.data,
                      j->o->adapter_count ? "adapter" : "model", form->name, here.name);
    nib_prompt_form_free(&here);
    nib_free(j->ctx, text);
    return status;
}

static nib_status open_data(nib_judgement *j, nib_generator *g, nib_dataset **out, nib_error *err)
{
    nib_data_options data = j->o->data;
    nib_tokenizer *t = nib_generator_tokenizer(g);
    nib_dataset_source source = { .options = &data, .model_dir = j->o->model.model, .tokenizer = t,
                                  .vocabulary = (uint32_t)nib_generator_vocabulary(g),
                                  .task = NIB_TASK_CAUSAL_LM, .unweighted = true,
                                  .now = (int64_t)time(NULL) };
    nib_prompt_form trained = { 0 };
    char *own = NULL;
    nib_record_shape shape = NIB_SHAPE_UNKNOWN;
    size_t longest = 0;
    nib_status status = take_form(j, g, &data, &trained, &own, err);

    data.train_on_turns = "last"; /* all before it is the prompt */
    data.train_on_prompt = false;
    if (!status) status = nib_dataset_open(j->ctx, &source, out, err);
    if (!status) shape = nib_dataset_shape(*out);
    if (!status) status = compare_form(j, &trained, &data, shape, err);
    nib_prompt_form_free(&trained);
    nib_free(j->ctx, own);
    if (status) return status;
    if (nib_shape_has_choices(shape))
        return nib_judge_read_choices(j, g, shape, err);
    if (!nib_shape_asks(shape))
        return nib_fail(err, NIB_E_INVALID, "%s: records of the form '%s' have no prompt that "
                        "could be answered; those that do: prompt and completion, chats, FAQ, "
                        "Alpaca, multiple choice, --prompt-template with --completion-template",
                        data.data,
                        nib_shape_name(shape));
    j->records = nib_dataset_count(*out);
    j->truncated = nib_dataset_counts(*out).truncated;
    j->asked = nib_new_array(j->ctx, j->records, sizeof *j->asked);
    j->prompts = nib_new_array(j->ctx, j->records, sizeof *j->prompts);
    j->wanted = nib_new_array(j->ctx, j->records, sizeof *j->wanted);
    if (!j->asked || !j->prompts || !j->wanted)
        return nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", j->records);
    for (size_t i = 0; i < j->records && !status; i++)
        status = take_texts(j, t, *out, i, &longest, err);
    j->max_new_tokens = j->o->max_new_tokens > 0
        ? (size_t)j->o->max_new_tokens
        : nib_asked_new_tokens(longest);
    if (!status && j->truncated)
        nib_warn_code(j->ctx, "truncated", "%" PRIu64 " of %zu records are longer than "
                      "max_seq_length %d: what is wanted of them is cut, and no answer can match "
                      "it", j->truncated, j->records, data.max_seq_length);
    return status;
}

/* --- asking --- */

static nib_status ask(nib_judgement *j, nib_generator *g, nib_contestant *c, const nib_dataset *d,
                      size_t i, nib_error *err)
{
    nib_record r = nib_dataset_record(d, i);
    nib_generate_options how;
    nib_generate_result result;
    nib_status status;

    nib_generate_defaults(&how);
    how.do_sample = 0;
    how.max_new_tokens = (int)j->max_new_tokens;
    how.stop = j->o->stop;
    how.stop_count = j->o->stop_count;
    how.float32_matmul_precision = "highest";
    how.no_adapter = c->base;
    how.adapter = c->base ? NULL : c->name;
    status = nib_generator_run_tokens(g, r.ids, j->asked[i].prompt, &how, &result, err);
    if (status) return status;
    c->new_tokens += result.new_tokens;
    c->unended += strcmp(result.stop_reason, "length") == 0;
    c->seconds += result.prefill_seconds + result.decode_seconds;
    c->answers[i] = nib_strndup(j->ctx, result.text, result.bytes);
    nib_generate_result_free(g, &result);
    return c->answers[i] ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
}

static nib_status ask_all(nib_judgement *j, nib_generator *g, const nib_dataset *d, nib_error *err)
{
    size_t all = j->contestant_count * j->records, done = 0;
    nib_status status = NIB_OK;

    for (size_t c = 0; c < j->contestant_count; c++) {
        j->contestants[c].answers = nib_new_array(j->ctx, j->records, sizeof(char *));
        if (!j->contestants[c].answers) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    }
    for (size_t i = 0; i < j->records; i++)
        for (size_t c = 0; c < j->contestant_count; c++) {
            if (nib_should_stop(j->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
            status = ask(j, g, &j->contestants[c], d, i, err);
            if (status) return status;
            if (j->o->on_progress)
                j->o->on_progress(j->o->user, "answering", (double)++done / (double)all);
        }
    return NIB_OK;
}

/* --- scoring --- */

/* Holds answer i of a contestant to the schema. */
static void score_schema(const nib_judgement *j, const nib_contestant *c, size_t i,
                         nib_answer_scores *to)
{
    size_t count = nib_json_schema_field_count(j->schema), good = 0;
    bool *fields = c->fields + i * count;

    to->of[NIB_ANSWER_JSON_SCHEMA] = nib_json_schema_takes(j->schema, c->answers[i], fields);
    for (size_t f = 0; f < count; f++) good += fields[f];
    if (count) to->of[NIB_ANSWER_JSON_SCHEMA_FIELDS] = (double)good / (double)count;
}

static nib_status make_fields(nib_judgement *j, nib_error *err)
{
    size_t each = j->schema ? nib_max(nib_json_schema_field_count(j->schema), 1) : 0;

    for (size_t c = 0; j->schema && c < j->contestant_count; c++) {
        j->contestants[c].fields = nib_new_array(j->ctx, j->records, each * sizeof(bool));
        if (!j->contestants[c].fields) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    }
    return NIB_OK;
}

static nib_status score_all(nib_judgement *j, const nib_python_regex *regex, nib_error *err)
{
    nib_status status = make_fields(j, err);

    j->scores = nib_new_array(j->ctx, j->contestant_count * j->records, sizeof *j->scores);
    if (status) return status;
    if (!j->scores) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    for (size_t c = 0; c < j->contestant_count; c++)
        for (size_t i = 0; i < j->records && !status; i++) {
            nib_answer_scores *to = &j->scores[c * j->records + i];
            const char *answer = j->contestants[c].answers[i];
            bool yes = false;
            status = nib_answer_score_one(j->ctx, answer, j->wanted[i], to, err);
            if (!status && j->schema) score_schema(j, &j->contestants[c], i, to);
            if (status || !regex) continue;
            status = nib_python_regex_match(regex, answer, true, &yes, NULL, err);
            to->of[NIB_ANSWER_REGEX] = yes;
        }
    return status;
}

/* Everybody's answers with their scores, and how sure those are. */
static nib_status judge(nib_judgement *j, nib_generator *g, const nib_dataset *d,
                        const nib_python_regex *regex, nib_error *err)
{
    nib_status status = j->questions ? nib_judge_ask_choices(j, g, err) : ask_all(j, g, d, err);

    if (!status && !j->questions) status = score_all(j, regex, err);
    if (status) return status;
    j->summaries = nib_new_array(j->ctx, j->contestant_count, sizeof *j->summaries);
    if (!j->summaries) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory");
    return nib_answer_intervals(j->ctx, j->scores, j->contestant_count, j->records, j->against,
                                j->o->seed, j->summaries, err);
}

static nib_status write_predictions(const nib_judgement *j, nib_outfile **f, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < j->records && !status; i++) {
        json_t *record = nib_judge_record(j, i);
        char *line = nib_json_dump(j->ctx, record, JSON_COMPACT | JSON_REAL_PRECISION(6));
        status = line ? nib_outfile_printf(*f, err, "%s\n", line)
                      : nib_fail(err, NIB_E_NOMEM, "predictions: out of memory");
        nib_free(j->ctx, line);
        json_decref(record);
    }
    if (status) return status;
    status = nib_outfile_commit(*f, err);
    *f = NULL;
    return status;
}

static nib_status open_predictions(nib_judgement *j, nib_outfile **f, nib_error *err)
{
    const nib_judge_options *o = j->o;
    nib_status status;

    if (!o->predictions) return NIB_OK;
    status = nib_quantize_check_places(o->model.model, o->predictions, err);
    if (!status && o->data.data)
        status = nib_check_data_place(o->data.data, o->predictions, err);
    if (!status && o->json_schema)
        status = nib_quantize_check_places(o->json_schema, o->predictions, err);
    for (size_t i = 0; i < o->adapter_count && !status; i++)
        status = nib_quantize_check_places(o->adapters[i].dir, o->predictions, err);
    return status ? status : nib_outfile_create(j->ctx, o->predictions, f, err);
}

static void free_texts(nib_judgement *j, char **texts)
{
    for (size_t i = 0; texts && i < j->records; i++) nib_free(j->ctx, texts[i]);
    nib_free(j->ctx, texts);
}

nib_status nib_judge(nib_ctx *ctx, const nib_judge_options *options, nib_report_form form,
                     char **out, nib_error *err)
{
    nib_judgement j = { .ctx = ctx, .o = options };
    nib_generator *g = NULL;
    nib_dataset *d = NULL;
    nib_outfile *f = NULL;
    nib_python_regex *regex = NULL;
    nib_status status = find_contestants(&j, err);

    if (!status && options->regex)
        status = nib_python_regex_create(ctx, "regex", "", options->regex, "", &regex, err);
    if (!status && options->json_schema)
        status = nib_json_schema_open(ctx, options->json_schema, &j.schema, err);
    if (!status) status = open_predictions(&j, &f, err);
    if (!status)
        status = nib_generator_open(ctx, &options->model, options->adapters,
                                    options->adapter_count, &g, err);
    if (!status) status = open_data(&j, g, &d, err);
    if (!status) status = nib_warnings_check(ctx, err);
    if (!status) status = judge(&j, g, d, regex, err);
    if (!status) status = nib_judge_report(&j, form, out, err);
    if (!status && f) {
        status = write_predictions(&j, &f, err);
        if (status) nib_report_free(ctx, *out);
    }
    nib_outfile_discard(f);
    nib_dataset_close(d);
    nib_generator_close(g);
    nib_python_regex_destroy(ctx, regex);
    for (size_t c = 0; c < j.contestant_count; c++) {
        free_texts(&j, j.contestants[c].answers);
        nib_free(ctx, j.contestants[c].fields);
    }
    nib_json_schema_close(j.schema);
    nib_judge_free_choices(&j);
    free_texts(&j, j.prompts);
    free_texts(&j, j.wanted);
    nib_free(ctx, j.asked);
    nib_free(ctx, j.contestants);
    nib_free(ctx, j.scores);
    nib_free(ctx, j.summaries);
    return status;
}
