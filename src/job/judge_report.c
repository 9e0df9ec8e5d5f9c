/* judge_report.c - the judge's report, for people and as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/json.h"
#include "job/judge_choices.h"

enum { SHOWN = 200 }; /* bytes of a text in the report for people */

/* --- JSON --- */

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *interval(nib_interval i)
{
    return json_pack("{s:o, s:o, s:o}", "score", number(i.score), "low", number(i.low), "high",
                     number(i.high));
}

/* Scores that apply to at least one record. */
static json_t *summary(const nib_interval all[NIB_ANSWER_SCORES])
{
    json_t *out = json_object();

    for (int s = 0; s < NIB_ANSWER_SCORES; s++)
        if (!isnan(all[s].score))
            json_object_set_new(out, nib_answer_score_name((nib_answer_score)s), interval(all[s]));
    return out;
}

/* Of all records, the fraction in which a field of the schema is right. */
static double field_share(const nib_judgement *j, const nib_contestant *who, size_t field)
{
    size_t count = nib_json_schema_field_count(j->schema), good = 0;

    for (size_t i = 0; i < j->records; i++) good += who->fields[i * count + field];
    return (double)good / (double)j->records;
}

static json_t *field_shares(const nib_judgement *j, const nib_contestant *who)
{
    json_t *out = json_object();

    for (size_t f = 0; f < nib_json_schema_field_count(j->schema); f++)
        json_object_set_new(out, nib_json_schema_field(j->schema, f),
                            json_real(field_share(j, who, f)));
    return out;
}

/* The fields of the schema that are wrong in each answer. */
static void add_wrong_fields(const nib_judgement *j, size_t record, json_t *to)
{
    size_t count = nib_json_schema_field_count(j->schema);

    for (size_t c = 0; c < j->contestant_count; c++) {
        const bool *good = j->contestants[c].fields + record * count;
        json_t *list = json_array(),
               *answer = json_object_get(json_object_get(to, "answers"), j->contestants[c].name);
        for (size_t f = 0; f < count; f++)
            if (!good[f])
                json_array_append_new(list, json_string(nib_json_schema_field(j->schema, f)));
        json_object_set_new(answer, "wrong_fields", list);
    }
}

static json_t *likelihoods(const double *of, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) json_array_append_new(list, number(of[i]));
    return list;
}

/* What a record of multiple choice has more. */
static void add_choices(const nib_judgement *j, size_t record, json_t *to)
{
    const nib_choice_question *q = &j->questions[record];
    json_t *answers = json_object_get(to, "answers"), *texts = json_array();

    for (size_t i = 0; i < q->count; i++)
        json_array_append_new(texts, json_string(q->choices[i].text));
    json_object_set_new(to, "choices", texts);
    json_object_set_new(to, "right", json_integer((json_int_t)q->right));
    for (size_t c = 0; c < j->contestant_count; c++)
        json_object_set_new(json_object_get(answers, j->contestants[c].name), "log_likelihoods",
                            likelihoods(j->contestants[c].likelihoods[record], q->count));
}

json_t *nib_judge_record(const nib_judgement *j, size_t record)
{
    json_t *answers = json_object(), *out;

    for (size_t c = 0; c < j->contestant_count; c++) {
        const nib_answer_scores *s = &j->scores[c * j->records + record];
        json_t *scores = json_object();
        for (int k = 0; k < NIB_ANSWER_SCORES; k++)
            if (!isnan(s->of[k]))
                json_object_set_new(scores, nib_answer_score_name((nib_answer_score)k),
                                    json_real(s->of[k]));
        if (json_object_set_new(answers, j->contestants[c].name,
                                json_pack("{s:s, s:o}", "text", j->contestants[c].answers[record],
                                          "scores", scores))) {
            json_decref(answers);
            return NULL;
        }
    }
    out = json_pack("{s:I, s:s, s:s, s:o}", "record", (json_int_t)record + 1, "prompt",
                    j->prompts[record], "wanted", j->wanted[record], "answers", answers);
    if (out && j->questions) add_choices(j, record, out);
    if (out && j->schema) add_wrong_fields(j, record, out);
    return out;
}

/* --- the worst --- */

/* The contestant whose worst answers are shown: the last, which is the newest adapter. */
static const nib_answer_scores *judged(const nib_judgement *j)
{
    return j->scores + (j->contestant_count - 1) * j->records;
}

/* How well that one answered: chrF, or how much likelier it found the right choice. */
static double goodness(const nib_judgement *j, size_t record)
{
    return j->questions ? nib_judge_margin(j, j->contestant_count - 1, record)
                        : judged(j)[record].of[NIB_ANSWER_CHRF];
}

/* The records that are answered worst, that are not exact or right; the earlier of two alike
 * first. */
static size_t find_worst(const nib_judgement *j, size_t *worst, size_t most)
{
    nib_answer_score right = j->questions ? NIB_ANSWER_ACC : NIB_ANSWER_EXACT_MATCH;
    size_t count = 0;

    for (size_t i = 0; i < j->records; i++) {
        size_t at = count;
        if (judged(j)[i].of[right] >= 1) continue;
        while (at && goodness(j, worst[at - 1]) > goodness(j, i)) at--;
        if (at == most) continue;
        if (count < most) count++;
        memmove(worst + at + 1, worst + at, (count - at - 1) * sizeof *worst);
        worst[at] = i;
    }
    return count;
}

static nib_status report_json(const nib_judgement *j, const size_t *worst, size_t worst_count,
                              char **out, nib_error *err)
{
    json_t *answers = json_array(), *shown = json_array(), *root;

    for (size_t c = 0; c < j->contestant_count; c++) {
        const nib_contestant *who = &j->contestants[c];
        json_t *one = json_pack("{s:s, s:o, s:f}", "name", who->name, "scores",
                                summary(j->summaries[c].score), "seconds", who->seconds);
        if (!j->questions) {
            json_object_set_new(one, "new_tokens", json_integer((json_int_t)who->new_tokens));
            json_object_set_new(one, "cut_off", json_integer((json_int_t)who->unended));
        }
        if (j->schema) json_object_set_new(one, "schema_fields", field_shares(j, who));
        if (c != j->against)
            json_object_set_new(one, "difference", summary(j->summaries[c].difference));
        json_array_append_new(answers, one);
    }
    for (size_t i = 0; i < worst_count; i++)
        json_array_append_new(shown, nib_judge_record(j, worst[i]));
    root = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:o}", "model", j->o->model.model, "data",
                     j->o->data.data, "records", (json_int_t)j->records, "seed",
                     (json_int_t)j->o->seed, "resamples", (json_int_t)NIB_RESAMPLES, "against",
                     j->contestants[j->against].name, "contestants", answers, "worst", shown);
    if (root && !j->questions) {
        json_object_set_new(root, "truncated", json_integer((json_int_t)j->truncated));
        json_object_set_new(root, "max_new_tokens", json_integer((json_int_t)j->max_new_tokens));
    }
    *out = nib_json_dump(j->ctx, root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(root);
    return *out ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "judge: out of memory for the report");
}

/* --- for people --- */

static const char *verdict(nib_interval d)
{
    return d.low > 0 ? "better" : d.high < 0 ? "worse" : "no clear difference";
}

static void print_contestant(const nib_judgement *j, size_t c, FILE *to)
{
    const nib_contestant *who = &j->contestants[c];
    const nib_answer_summary *s = &j->summaries[c];

    if (j->questions) fprintf(to, "%s: the likeliest choice, in %.1f s", who->name, who->seconds);
    else
        fprintf(to, "%s: %" PRIu64 " new tokens in %.1f s", who->name, who->new_tokens,
                who->seconds);
    if (who->unended)
        fprintf(to, ", %" PRIu64 " answers cut off at %zu tokens", who->unended,
                j->max_new_tokens);
    fputc('\n', to);
    for (int k = 0; k < NIB_ANSWER_SCORES; k++) {
        nib_interval score = s->score[k], d = s->difference[k];
        if (isnan(score.score)) continue;
        fprintf(to, "  %-18s %6.1f %%  (%.1f to %.1f)",
                nib_answer_score_name((nib_answer_score)k), 100 * score.score, 100 * score.low,
                100 * score.high);
        if (c != j->against)
            fprintf(to, "   %+.1f (%+.1f to %+.1f) against %s: %s", 100 * d.score, 100 * d.low,
                    100 * d.high, j->contestants[j->against].name, verdict(d));
        fputc('\n', to);
    }
    for (size_t f = 0; j->schema && f < nib_json_schema_field_count(j->schema); f++)
        fprintf(to, "    field %-10s %6.1f %%\n", nib_json_schema_field(j->schema, f),
                100 * field_share(j, who, f));
}

/* A text on one line, its end where it is long: there a prompt asks. */
static void print_short(FILE *to, const char *name, const char *text, bool end)
{
    size_t n = strlen(text), from = end && n > SHOWN ? n - SHOWN : 0, shown = 0;

    while ((text[from] & 0xc0) == 0x80) from++; /* not inside a character */
    fprintf(to, "  %s: %s", name, from ? "..." : "");
    for (const char *p = text + from; *p; p++, shown++) {
        if (shown >= SHOWN && (*p & 0xc0) != 0x80) {
            fputs("...", to);
            break;
        }
        if (*p == '\n') fputs("\\n", to);
        else fputc(*p, to);
    }
    fputc('\n', to);
}

static nib_status report_text(const nib_judgement *j, const size_t *worst, size_t worst_count,
                              char **out, nib_error *err)
{
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    bool bad;

    if (!to) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory for the report");
    fprintf(to, "%zu records; in brackets intervals of 95 %%, by drawing the records anew\n",
            j->records);
    for (size_t c = 0; c < j->contestant_count; c++) print_contestant(j, c, to);
    for (size_t i = 0; i < worst_count; i++) {
        fprintf(to, "%srecord %zu\n", i ? "" : "worst answered:\n", worst[i] + 1);
        print_short(to, "prompt", j->prompts[worst[i]], true);
        print_short(to, "wanted", j->wanted[worst[i]], false);
        for (size_t c = 0; c < j->contestant_count; c++)
            print_short(to, j->contestants[c].name, j->contestants[c].answers[worst[i]], false);
    }
    bad = ferror(to);
    bad |= fclose(to) != 0;
    if (!bad) *out = nib_strdup(j->ctx, text);
    free(text);
    return !bad && *out ? NIB_OK
                        : nib_fail(err, NIB_E_NOMEM, "judge: out of memory for the report");
}

nib_status nib_judge_report(const nib_judgement *j, nib_report_form form, char **out,
                            nib_error *err)
{
    size_t most = nib_min((size_t)nib_max(j->o->worst, 0), j->records), count;
    size_t *worst = nib_new_array(j->ctx, most + 1, sizeof *worst);
    nib_status status;

    if (!worst) return nib_fail(err, NIB_E_NOMEM, "judge: out of memory for the report");
    count = find_worst(j, worst, most);
    *out = NULL;
    status = form == NIB_REPORT_JSON ? report_json(j, worst, count, out, err)
                                     : report_text(j, worst, count, out, err);
    nib_free(j->ctx, worst);
    return status;
}
