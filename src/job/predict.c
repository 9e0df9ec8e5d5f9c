/* predict.c - a line of JSON for each record: what a classifier says of it. */
#include "nibble/predict.h"

#include <math.h>

#include "format/jsontext.h"
#include "graph/readout.h"
#include "job/answered.h"
#include "job/classifier.h"
#include "text/utf8.h"
#include "train/batch.h"

typedef struct prediction {
    nib_ctx *ctx;
    const nib_predict_options *o;
    nib_classifier c;
    nib_plan *plan;
    nib_run *run;
    nib_batch_maker maker;
    float *logits;     /* [the plan's chunk, labels] */
    nib_answered answered; /* of questions */
    nib_text line;
    uint64_t cut;      /* records that were too long */
} prediction;

/* --- lines --- */

static void put_name(prediction *p, size_t label)
{
    char room[24];

    nib_text_json_string(&p->line, nib_label_name(&p->c.labels, label, room), true);
}

/* In place: from logits to probabilities. */
static void finish(const prediction *p, float *z, size_t n)
{
    float most = z[0], sum = 0;

    if (p->c.model->purpose.loss == NIB_LOSS_BINARY) {
        for (size_t i = 0; i < n; i++) z[i] = 1 / (1 + expf(-z[i]));
        return;
    }
    for (size_t i = 1; i < n; i++) most = fmaxf(most, z[i]);
    for (size_t i = 0; i < n; i++) sum += z[i] = expf(z[i] - most);
    for (size_t i = 0; i < n; i++) z[i] /= sum;
}

static size_t greatest(const float *z, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = i;
    return best;
}

static bool all_finite(const float *z, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(z[i])) return false;
    return true;
}

static void put_numbers(prediction *p, const float *z, size_t n)
{
    if (n == 1) {
        nib_text_printf(&p->line, "{\"value\": %.6g}", (double)z[0]);
        return;
    }
    nib_text_puts(&p->line, "{\"values\": [");
    for (size_t i = 0; i < n; i++)
        nib_text_printf(&p->line, "%s%.6g", i ? ", " : "", (double)z[i]);
    nib_text_puts(&p->line, "]}");
}

/* One class, or the labels above one half; then the scores of all. */
static void put_classes(prediction *p, float *z, size_t n)
{
    bool several = p->c.model->purpose.loss == NIB_LOSS_BINARY, any = false;

    finish(p, z, n);
    if (several && n == 1) { /* a cross-encoder */
        nib_text_printf(&p->line, "{\"score\": %.6g}", (double)z[0]);
        return;
    }
    nib_text_puts(&p->line, several ? "{\"labels\": [" : "{\"label\": ");
    if (!several) put_name(p, greatest(z, n));
    for (size_t i = 0; several && i < n; i++) {
        if (!(z[i] > 0.5f)) continue;
        nib_text_puts(&p->line, any ? ", " : "");
        put_name(p, i);
        any = true;
    }
    nib_text_puts(&p->line, several ? "], \"scores\": {" : ", \"scores\": {");
    for (size_t i = 0; i < n; i++) {
        nib_text_puts(&p->line, i ? ", " : "");
        put_name(p, i);
        nib_text_printf(&p->line, ": %.6g", (double)z[i]);
    }
    nib_text_puts(&p->line, "}}");
}

/* `first`: of the record's rows among those picked.  The answers of a record without labels are the
 * numbers of its words. */
static nib_status put_tags(prediction *p, nib_record r, size_t first, nib_error *err)
{
    size_t n = p->c.model->head->weight->out;
    nib_text scores = { .ctx = p->ctx };
    int word = 0;

    nib_text_puts(&p->line, "{\"tags\": [");
    for (uint32_t i = 0; i < r.answer_count; i++) {
        size_t best;
        if (r.answers[i] < 0) continue;
        for (; word < (int)r.answers[i]; word++) {
            nib_text_puts(&p->line, word ? ", null" : "null");
            nib_text_puts(&scores, word ? ", null" : "null");
        }
        nib_run_logits(p->run, first, first + 1, p->logits);
        first++;
        if (!all_finite(p->logits, n)) {
            nib_text_free(&scores);
            return nib_fail(err, NIB_E_NUMERIC, "word %d: a score is not finite", word);
        }
        finish(p, p->logits, n);
        best = greatest(p->logits, n);
        nib_text_puts(&p->line, word ? ", " : "");
        put_name(p, best);
        nib_text_printf(&scores, "%s%.6g", word ? ", " : "", (double)p->logits[best]);
        word++;
    }
    nib_text_puts(&p->line, "], \"scores\": [");
    if (scores.bytes) nib_text_put(&p->line, scores.data, scores.bytes);
    nib_text_puts(&p->line, "]}");
    p->line.failed |= scores.failed;
    nib_text_free(&scores);
    return NIB_OK;
}

static void put_answer(prediction *p, const nib_answer *a)
{
    const nib_questions *q = nib_dataset_questions(p->answered.data);
    const nib_question *x = &q->items[a->question];
    const char *id = nib_questions_text(q, x->id), *context = nib_questions_text(q, x->context);
    size_t begin = nib_utf8_count(context, a->begin);
    char *text = nib_strndup(p->ctx, a->text, a->bytes);

    nib_text_puts(&p->line, "{");
    if (strcmp(id, "null") != 0) {
        nib_text_puts(&p->line, "\"id\": ");
        nib_text_puts(&p->line, id);
        nib_text_puts(&p->line, ", ");
    }
    nib_text_puts(&p->line, "\"answer\": ");
    if (text) nib_text_json_string(&p->line, text, true);
    else p->line.failed = true;
    if (a->bytes)
        nib_text_printf(&p->line,
                        ", \"start\": %zu, \"end\": %zu, \"start_byte\": %zu, \"end_byte\": %zu",
                        begin, begin + nib_utf8_count(a->text, a->bytes), a->begin,
                        a->begin + a->bytes);
    if (a->span.found)
        nib_text_printf(&p->line, ", \"score\": %.6g, \"null_score_diff\": %.6g", a->span.score,
                        a->span.none);
    nib_text_puts(&p->line, "}");
    nib_free(p->ctx, text);
}

/* A window; with the question's last one comes its line. */
static nib_status put_window(prediction *p, nib_record r, size_t first, bool *done, nib_error *err)
{
    nib_answer answer;
    nib_status status = nib_answered_add(&p->answered, p->run, r, first, done, &answer, err);

    if (!status && *done) put_answer(p, &answer);
    return status;
}

static nib_status put_record(prediction *p, nib_record r, size_t first, nib_error *err)
{
    size_t n = p->c.model->head->weight->out;
    nib_status status = NIB_OK;

    p->line.bytes = 0;
    if (p->c.model->purpose.task == NIB_TASK_QUESTION_ANS) {
        bool done;
        status = put_window(p, r, first, &done, err);
        if (status || !done) return status;
    } else if (p->c.model->purpose.task == NIB_TASK_TOKEN_CLS) {
        status = put_tags(p, r, first, err);
        if (status) return status;
    } else {
        nib_run_logits(p->run, first, first + 1, p->logits);
        if (!all_finite(p->logits, n))
            return nib_fail(err, NIB_E_NUMERIC, "a score is not finite");
        if (p->c.model->purpose.loss == NIB_LOSS_SQUARED) put_numbers(p, p->logits, n);
        else put_classes(p, p->logits, n);
    }
    if (p->line.failed) return nib_fail(err, NIB_E_NOMEM, "predict: out of memory");
    p->o->on_line(p->o->user, p->line.data, p->line.bytes);
    return NIB_OK;
}

/* --- records --- */

static nib_status make_run(prediction *p, size_t records, size_t tokens, size_t rows,
                           size_t longest, nib_error *err)
{
    const nib_graph *g = p->c.model->graph;
    nib_status status = nib_batch_maker_init(p->ctx, g, records, tokens, rows, &p->maker, err);

    if (!status)
        status = nib_plan_create(p->c.model->graph, NIB_PLAN_INFERENCE, tokens, rows, &p->plan,
                                 err);
    if (!status) status = nib_run_create(p->ctx, g, p->plan, longest, &p->run, err);
    if (status) return status;
    p->logits = nib_new_array(p->ctx, g->head->weight->out, sizeof *p->logits);
    return p->logits ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "predict: out of memory");
}

static nib_status predict_batch(prediction *p, const nib_dataset *d, const uint32_t *order,
                                size_t count, nib_error *err)
{
    size_t first = 0;
    nib_status status = NIB_OK;

    if (nib_should_stop(p->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
    nib_run_forward(p->run, nib_batch_make(&p->maker, d, order, count, 0));
    for (size_t i = 0; i < count && !status; i++) {
        nib_record r = nib_dataset_record(d, order[i]);
        status = put_record(p, r, first, err);
        first += r.targets;
    }
    return status;
}

static nib_status predict_all(prediction *p, const nib_dataset *d, nib_error *err)
{
    size_t n = nib_dataset_count(d), tokens, targets;
    size_t batch = nib_min(p->o->batch_size > 0 ? (size_t)p->o->batch_size : 8,
                           nib_max(n, 1));
    uint32_t *order = nib_new_array(p->ctx, n, sizeof *order);
    nib_status status;

    if (!order) return nib_fail(err, NIB_E_NOMEM, "predict: out of memory");
    nib_batch_extent(d, batch, false, 0, 1, order, &tokens, &targets);
    nib_dataset_order(d, false, 0, 0, order);
    status = make_run(p, batch, tokens, targets, nib_max(nib_dataset_counts(d).longest, 1), err);
    for (size_t i = 0; i < n && !status; i += batch) {
        status = predict_batch(p, d, order + i, nib_min(batch, n - i), err);
        if (p->o->on_progress)
            p->o->on_progress(p->o->user, "predicting",
                              (double)nib_min(i + batch, n) / (double)n);
    }
    nib_free(p->ctx, order);
    return status;
}

static nib_status predict_file(prediction *p, nib_error *err)
{
    nib_dataset_source source = nib_classifier_source(&p->c, &p->o->data);
    nib_dataset *d = NULL;
    nib_status status;

    source.unlabelled = true;
    status = nib_dataset_open(p->ctx, &source, &d, err);
    if (!status) status = nib_check_types(p->c.model->graph, d, p->o->data.data, err);
    if (!status) status = nib_warnings_check(p->ctx, err);
    nib_warnings_repeat(p->ctx);
    if (!status && nib_dataset_questions(d)->count)
        status = nib_answered_create(p->ctx, d, &p->answered, err);
    if (!status) status = predict_all(p, d, err);
    nib_answered_free(&p->answered);
    if (!status) p->cut += nib_dataset_counts(d).truncated;
    nib_dataset_close(d);
    return status;
}

static nib_status predict_line(prediction *p, const nib_dataset_source *source, const char *line,
                               size_t bytes, const char *where, nib_error *err)
{
    nib_dataset *d = NULL;
    json_t *record = NULL;
    nib_status status = nib_json_parse(line, bytes, where, 0, &record, err);

    if (!status) status = nib_dataset_of_record(p->ctx, source, record, where, &d, err);
    if (!status) status = nib_check_types(p->c.model->graph, d, where, err);
    if (!status && nib_dataset_questions(d)->count)
        status = nib_answered_create(p->ctx, d, &p->answered, err);
    for (uint32_t i = 0; !status && i < nib_dataset_count(d); i++) /* a question's windows */
        status = predict_batch(p, d, &i, 1, err);
    if (!status) p->cut += nib_dataset_counts(d).truncated;
    nib_answered_free(&p->answered);
    nib_dataset_close(d);
    json_decref(record);
    return status;
}

/* Each is answered before the next one is asked for. */
static nib_status predict_lines(prediction *p, nib_error *err)
{
    nib_dataset_source source = nib_classifier_source(&p->c, &p->o->data);
    size_t limit = (size_t)p->o->data.max_seq_length, bytes, number = 0;
    const char *line;
    char where[64];
    nib_status status;

    source.unlabelled = true;
    if (source.positions && source.positions < limit) limit = source.positions;
    status = nib_warnings_check(p->ctx, err);
    nib_warnings_repeat(p->ctx);
    if (!status) status = make_run(p, 1, limit, limit, limit, err);
    while (!status && (line = p->o->next_line(p->o->user, &bytes))) {
        snprintf(where, sizeof where, "standard input: line %zu", ++number);
        if (bytes) status = predict_line(p, &source, line, bytes, where, err);
    }
    return status;
}

nib_status nib_predict(nib_ctx *ctx, const nib_predict_options *options, nib_error *err)
{
    prediction p = { .ctx = ctx, .o = options, .line = { .ctx = ctx } };
    nib_model_progress progress = { options->on_progress, options->user };
    nib_status status = nib_classifier_open(ctx, &options->model, options->adapter, progress, &p.c,
                                            err);

    if (!status && !nib_task_has_head(p.c.model->purpose.task))
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: a model for %s is no classifier and finds "
                          "no answers",
                          options->model.model, nib_task_name(p.c.model->purpose.task));
    if (!status)
        status = options->data.data ? predict_file(&p, err) : predict_lines(&p, err);
    if (p.cut)
        nib_note(ctx, "%" PRIu64 " records were longer than max_seq_length or the model's "
                 "positions, and cut%s", p.cut,
                 p.c.model->purpose.task == NIB_TASK_TOKEN_CLS ? ": words behind have no tag" : "");
    nib_text_free(&p.line);
    nib_free(ctx, p.logits);
    nib_run_destroy(p.run);
    nib_plan_destroy(ctx, p.plan);
    nib_batch_maker_free(&p.maker);
    nib_classifier_close(&p.c);
    return status;
}
