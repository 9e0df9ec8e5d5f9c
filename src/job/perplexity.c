/* perplexity.c - a model's loss on a long text by a paper's protocol, and its distance from a
 * second model.  Windows are run one after another; of both models the logits of a few rows are
 * there at a time. */
#include "nibble/perplexity.h"

#include <math.h>
#include <stdio.h>

#include "base/cpu.h"
#include "format/records.h"
#include "graph/readout.h"
#include "job/classifier.h"
#include "job/divergence.h"
#include "job/other_form.h"
#include "job/windows.h"

/* A model and what computes with it. */
typedef struct side {
    nib_classifier c; /* any model; its tokenizer */
    nib_plan *plan;
    nib_run *run;
    float *logits;    /* [chunk, V] */
} side;

typedef struct worst { nib_divergence d; size_t position; } worst;

typedef struct job {
    nib_ctx *ctx;
    const nib_perplexity_options *o;
    side sides[2];            /* the model, the reference */
    size_t side_count;
    uint32_t *ids;            /* [tokens] of the text */
    nib_windowing windows;
    int64_t bos;              /* what each window begins with, or -1 */
    uint32_t *window, *positions, *picks; /* [length] */
    nib_divergence *scores;   /* [chunk] */
    size_t chunk;
    worst *list;              /* [most] the worst first */
    size_t list_count, most;
    nib_mean loss, reference_loss, divergence;
    double greatest;
    uint64_t agreed;
} job;

/* --- the text --- */

typedef struct text { char *bytes; size_t count, room; } text;

static nib_status append(nib_ctx *ctx, text *t, const char *bytes, size_t n, nib_error *err)
{
    if (!nib_grow(ctx, &t->bytes, &t->room, t->count + n + 1, 1))
        return nib_fail(err, NIB_E_NOMEM, "a text of %zu bytes: out of memory", t->count + n);
    memcpy(t->bytes + t->count, bytes, n);
    t->count += n;
    return NIB_OK;
}

static nib_status read_text(nib_ctx *ctx, const char *path, text *out, nib_error *err)
{
    nib_records_options options = { .path = path };
    nib_records *records = NULL;
    size_t n = 0;
    nib_status status = nib_records_open(ctx, &options, &records, err);

    while (!status) {
        json_t *record = NULL, *value;
        status = nib_records_next(records, &record, err);
        if (status || !record) break;
        value = json_object_get(record, "text");
        if (!json_is_string(value))
            status = nib_fail(err, NIB_E_FORMAT, "%s: no text: the field \"text\" of each record "
                              "is read", nib_records_where(records));
        if (!status && n++) status = append(ctx, out, "\n\n", 2, err);
        if (!status)
            status = append(ctx, out, json_string_value(value), json_string_length(value), err);
        json_decref(record);
    }
    nib_records_close(records);
    return status;
}

/* llama.cpp leaves out a line break at the end of a file. */
static size_t bytes_used(const job *j, const text *t)
{
    bool ends = j->o->preset == NIB_PERPLEXITY_LLAMA_CPP && t->count &&
                t->bytes[t->count - 1] == '\n';

    return t->count - ends;
}

static nib_status check_same_tokens(job *j, const text *t, const nib_tokens *tokens, nib_error *err)
{
    nib_tokens other = { 0 };
    nib_tokenizer *tokenizer = j->sides[1].c.tokenizer;
    nib_status status = NIB_OK;
    size_t i = 0;

    if (!tokenizer) return NIB_OK; /* its vocabulary was compared */
    status = nib_tokenizer_encode(tokenizer, t->bytes, bytes_used(j, t), true, &other, NULL, err);
    while (!status && i < nib_min(tokens->count, other.count) &&
           tokens->items[i].id == other.items[i].id)
        i++;
    if (!status && (i < tokens->count || i < other.count))
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s reads the text as other tokens than %s, from token %zu on: what they "
                          "predict cannot be compared", j->o->reference, j->o->model.model, i);
    nib_tokens_free(j->ctx, &other);
    return status;
}

static nib_status take_tokens(job *j, const nib_tokens *tokens, nib_error *err)
{
    size_t width = j->sides[0].c.model->head->weight->out;
    int64_t bos = nib_tokenizer_bos(j->sides[0].c.tokenizer);

    j->ids = nib_new_array(j->ctx, nib_max(tokens->count, 1), sizeof *j->ids);
    if (!j->ids) return nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", tokens->count);
    for (size_t i = 0; i < tokens->count; i++) {
        j->ids[i] = tokens->items[i].id;
        if (j->ids[i] >= width)
            return nib_fail(err, NIB_E_MISMATCH, "token %zu of the text is %u, the model knows %zu",
                            i, j->ids[i], width);
    }
    j->bos = -1;
    if (j->o->preset == NIB_PERPLEXITY_LLAMA_CPP && tokens->count && bos >= 0 &&
        tokens->items[0].id == (uint32_t)bos && tokens->items[0].added_by_template)
        j->bos = bos;
    return NIB_OK;
}

static nib_status open_text(job *j, nib_error *err)
{
    const nib_perplexity_options *o = j->o;
    size_t usual = o->preset == NIB_PERPLEXITY_LLAMA_CPP ? 512 : 2048;
    nib_tokenizer *tokenizer = j->sides[0].c.tokenizer;
    nib_tokens tokens = { 0 };
    text t = { 0 };
    nib_status status = tokenizer ? NIB_OK : nib_tokenizer_missing(o->model.model, err);

    if (!status) status = read_text(j->ctx, o->data, &t, err);
    if (status) { /* the message names the file */
        nib_free(j->ctx, t.bytes);
        return status;
    }
    status = nib_tokenizer_encode(tokenizer, t.bytes ? t.bytes : "", bytes_used(j, &t), true,
                                  &tokens, NULL, err);
    if (!status) status = take_tokens(j, &tokens, err);
    if (!status && j->side_count > 1) status = check_same_tokens(j, &t, &tokens, err);
    if (!status)
        status = nib_windowing_make(o->preset, tokens.count,
                                    o->context_length > 0 ? (size_t)o->context_length : usual,
                                    (size_t)o->stride, &j->windows, err);
    if (status) nib_fail_in(err, status, "%s", o->data);
    nib_tokens_free(j->ctx, &tokens);
    nib_free(j->ctx, t.bytes);
    return status;
}

/* --- the models --- */

static nib_status open_side(job *j, const nib_model_options *model, const char *adapter,
                            nib_error *err)
{
    nib_model_progress progress = { j->o->on_progress, j->o->user };
    nib_classifier *c = &j->sides[j->side_count].c;
    nib_status status = nib_classifier_open(j->ctx, model, adapter, progress, c, err);

    if (status) return status;
    j->side_count++;
    if (c->model->purpose.task != NIB_TASK_CAUSAL_LM)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: a model for %s; perplexity is measured of models that predict the "
                        "next token", model->model, nib_task_name(c->model->purpose.task));
    return adapter ? nib_compare_forms(c->adapter, "evaluated on", true,
                                       &(nib_merge_result){ 0 }, err)
                   : NIB_OK;
}

static nib_status open_models(job *j, nib_error *err)
{
    const nib_perplexity_options *o = j->o;
    nib_model_options plain = { .model = o->reference,
                                .compute_dtype = o->model.compute_dtype };
    nib_status status = open_side(j, &o->model, o->adapter, err);
    size_t a, b;

    if (status || !o->reference) return status;
    status = open_side(j, &plain, NULL, err);
    if (status) return status;
    a = j->sides[0].c.model->head->weight->out;
    b = j->sides[1].c.model->head->weight->out;
    if (a == b) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s has %zu tokens, %s has %zu: what they predict cannot "
                    "be compared", o->model.model, a, o->reference, b);
}

static nib_status make_buffers(job *j, nib_error *err)
{
    size_t length = j->windows.length, v = j->sides[0].c.model->head->weight->out;
    nib_status status = NIB_OK;

    j->chunk = SIZE_MAX;
    for (size_t i = 0; i < j->side_count && !status; i++) {
        side *s = &j->sides[i];
        nib_graph *graph = s->c.model->graph;
        status = nib_plan_create(graph, NIB_PLAN_INFERENCE, length, length, &s->plan, err);
        if (!status) status = nib_run_create(j->ctx, graph, s->plan, length, &s->run, err);
        if (!status) j->chunk = nib_min(j->chunk, s->plan->logit_chunk);
    }
    if (status) return status;
    for (size_t i = 0; i < j->side_count; i++) {
        j->sides[i].logits = nib_new_array(j->ctx, j->chunk * v, sizeof(float));
        if (!j->sides[i].logits) return nib_fail(err, NIB_E_NOMEM, "logits: out of memory");
    }
    j->most = j->o->worst > 0 ? (size_t)j->o->worst : 10;
    j->list = nib_new_array(j->ctx, j->most, sizeof *j->list);
    j->scores = nib_new_array(j->ctx, j->chunk, sizeof *j->scores);
    j->window = nib_new_array(j->ctx, length, sizeof *j->window);
    j->positions = nib_new_array(j->ctx, length, sizeof *j->positions);
    j->picks = nib_new_array(j->ctx, length, sizeof *j->picks);
    if (!j->list || !j->scores || !j->window || !j->positions || !j->picks)
        return nib_fail(err, NIB_E_NOMEM, "a window of %zu tokens: out of memory", length);
    return NIB_OK;
}

/* --- the windows --- */

/* By divergence; of one model by the loss. */
static double badness(const job *j, const nib_divergence *d)
{
    return j->side_count > 1 ? d->divergence : d->loss;
}

static void keep_worst(job *j, const nib_divergence *d, size_t position)
{
    size_t i = j->list_count;

    if (i == j->most && !(badness(j, d) > badness(j, &j->list[i - 1].d))) return;
    if (i < j->most) j->list_count++;
    else i--;
    for (; i > 0 && badness(j, d) > badness(j, &j->list[i - 1].d); i--) j->list[i] = j->list[i - 1];
    j->list[i] = (worst){ *d, position };
}

static nib_status add(job *j, const nib_divergence *d, size_t position, nib_error *err)
{
    if (!isfinite(d->loss) || !isfinite(d->reference_loss) || !isfinite(d->divergence))
        return nib_fail(err, NIB_E_NUMERIC, "%s: token %zu: the loss is not finite", j->o->data,
                        position);
    nib_mean_add(&j->loss, d->loss);
    if (j->side_count > 1) {
        nib_mean_add(&j->reference_loss, d->reference_loss);
        nib_mean_add(&j->divergence, d->divergence);
        j->greatest = fmax(j->greatest, d->divergence);
        j->agreed += d->agrees;
    }
    keep_worst(j, d, position);
    return NIB_OK;
}

static nib_status run_window(job *j, nib_window w, nib_error *err)
{
    size_t length = w.end - w.begin, rows = w.end - w.first;
    size_t width = j->sides[0].c.model->head->weight->out;
    uint32_t offsets[] = { 0, (uint32_t)length };
    nib_batch batch = { .sequences = 1 };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < length; i++) {
        j->window[i] = j->ids[w.begin + i];
        j->positions[i] = (uint32_t)i;
    }
    if (j->bos >= 0) j->window[0] = (uint32_t)j->bos;
    for (size_t i = 0; i < rows; i++) j->picks[i] = (uint32_t)(w.first - w.begin - 1 + i);
    batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = length, .offsets = offsets };
    batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = rows, .picks = j->picks };
    batch.inputs[NIB_IDS] = j->window;
    batch.inputs[NIB_POSITIONS] = j->positions;
    for (size_t i = 0; i < j->side_count; i++) nib_run_forward(j->sides[i].run, &batch);
    for (size_t r0 = 0; r0 < rows && !status; r0 += j->chunk) {
        size_t r1 = nib_min(r0 + j->chunk, rows);
        for (size_t i = 0; i < j->side_count; i++)
            nib_run_logits(j->sides[i].run, r0, r1, j->sides[i].logits);
        nib_divergence_of(j->ctx, j->sides[0].logits, j->sides[1].logits, j->ids + w.first + r0,
                          r1 - r0, width, j->scores);
        for (size_t r = r0; r < r1 && !status; r++)
            status = add(j, &j->scores[r - r0], w.first + r, err);
    }
    return status;
}

static nib_status run_windows(job *j, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < j->windows.count && !status; i++) {
        if (nib_should_stop(j->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        status = run_window(j, nib_windowing_at(&j->windows, i), err);
        if (j->o->on_progress)
            j->o->on_progress(j->o->user, "evaluating",
                              (double)(i + 1) / (double)j->windows.count);
    }
    return status;
}

/* --- what was found --- */

static void summarize(const job *j, nib_perplexity_result *r)
{
    r->tokens = j->windows.tokens;
    r->windows = j->windows.count;
    r->predicted = j->loss.count;
    r->loss = nib_mean_of(&j->loss);
    r->perplexity = exp(r->loss);
    r->perplexity_error = r->perplexity * nib_mean_error(&j->loss);
    r->compared = j->side_count > 1;
    if (!r->compared) return;
    r->reference_loss = nib_mean_of(&j->reference_loss);
    r->reference_perplexity = exp(r->reference_loss);
    r->divergence = nib_mean_of(&j->divergence);
    r->divergence_error = nib_mean_error(&j->divergence);
    r->divergence_worst = j->greatest;
    r->agreement = (double)j->agreed / (double)j->loss.count;
}

static nib_status report_worst(job *j, nib_error *err)
{
    nib_worst_token *tokens = nib_new_array(j->ctx, j->most, sizeof *tokens);
    size_t n = 0, bytes;
    nib_status status = tokens ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "worst tokens: out of memory");

    for (; n < j->list_count && !status; n++) {
        const worst *w = &j->list[n];
        char *found;
        tokens[n] = (nib_worst_token){ .position = w->position, .divergence = w->d.divergence,
                                       .loss = w->d.loss,
                                       .reference_loss = w->d.reference_loss };
        status = nib_tokenizer_decode(j->sides[0].c.tokenizer, j->ids + w->position, 1, false,
                                      &found, &bytes, err);
        if (!status) tokens[n].text = found;
    }
    if (!status) j->o->on_worst(j->o->user, tokens, j->list_count);
    for (size_t i = 0; i < n; i++) nib_free(j->ctx, (char *)(uintptr_t)tokens[i].text);
    nib_free(j->ctx, tokens);
    return status;
}

static void close_all(job *j)
{
    for (size_t i = 0; i < NIB_COUNT(j->sides); i++) {
        nib_run_destroy(j->sides[i].run);
        nib_plan_destroy(j->ctx, j->sides[i].plan);
        nib_free(j->ctx, j->sides[i].logits);
        nib_classifier_close(&j->sides[i].c);
    }
    nib_free(j->ctx, j->ids);
    nib_free(j->ctx, j->window);
    nib_free(j->ctx, j->positions);
    nib_free(j->ctx, j->picks);
    nib_free(j->ctx, j->scores);
    nib_free(j->ctx, j->list);
}

nib_status nib_perplexity(nib_ctx *ctx, const nib_perplexity_options *options,
                          nib_perplexity_result *result, nib_error *err)
{
    job j = { .ctx = ctx, .o = options };
    double start;
    nib_status status;

    *result = (nib_perplexity_result){ 0 };
    status = open_models(&j, err);
    if (!status) status = open_text(&j, err);
    if (!status) status = make_buffers(&j, err);
    if (!status) status = nib_warnings_check(ctx, err);
    nib_warnings_repeat(ctx);
    start = nib_clock_seconds();
    if (!status) status = run_windows(&j, err);
    if (!status) {
        summarize(&j, result);
        result->seconds = nib_clock_seconds() - start;
    }
    if (!status && options->on_worst) status = report_worst(&j, err);
    close_all(&j);
    return status;
}
