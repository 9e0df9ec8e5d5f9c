/* data_read.c - from the records of a file or folder to tokens with marks.
 *
 * Texts wait until there are some hundred, which are encoded on all threads and then finished in
 * the order in which they came.  What is wrong with a record is reported after what is wrong with
 * those before it. */
#include <math.h>
#include <stdio.h>

#include "format/records.h"
#include "model/purpose.h"
#include "train/data_reader.h"

typedef nib_data_reader reader;

/* --- records --- */

static nib_status add_part(reader *r, const json_t *record, const char *where, nib_error *err)
{
    nib_status status;

    r->d->counts.records++;
    if (nib_data_is_labelled(r)) return nib_data_add_labelled(r, record, where, err);
    if (r->shaper.shape == NIB_SHAPE_TOKENS) return nib_data_add_ids(r, record, where, err);
    status = nib_shaper_fill(&r->shaper, record, where, err);
    return status ? status : nib_data_queue_add(r, where, err);
}

/* A bad record is counted with skip_bad, and what there is of it dropped. */
static nib_status forgive(reader *r, nib_status status, nib_error *err)
{
    enum { WORDS = 3 };
    nib_data_counts *c = &r->d->counts;

    if (!status || !r->o->skip_bad || r->fatal || status == NIB_E_NOMEM ||
        status == NIB_E_INTERRUPTED || status == NIB_E_IO)
        return status;
    nib_dataset_drop(r->d);
    if (c->bad++ == 0) snprintf(r->first_bad, sizeof r->first_bad, "%.250s", err->message);
    if (c->bad <= WORDS)
        nib_warn(r->ctx, "skipped: %s%s", err->message,
                 c->bad == WORDS ? "; later ones are only counted" : "");
    return NIB_OK;
}

/* Whatever waits. */
static nib_status finish_waiting(reader *r, nib_error *err)
{
    nib_data_queue *q = &r->queue;
    nib_status status = nib_data_queue_encode(r, err);

    for (size_t i = 0; i < q->count && !status; i++)
        status = forgive(r, nib_data_add_text(r, &q->items[i], err), err);
    q->count = q->bytes = 0;
    return status;
}

/* A record is bad, by no fault of its own if fatal: those before it come first. */
static nib_status judge(reader *r, nib_status status, bool fatal, nib_error *err)
{
    nib_error own = *err;
    nib_status before = finish_waiting(r, err);

    if (before) return before;
    *err = own;
    r->fatal = fatal;
    return forgive(r, status, err);
}

/* A record of a classifier, given to a model of words: its label would be passed over. */
static nib_status check_label(const reader *r, const json_t *record, const char *where,
                              nib_error *err)
{
    const char *label = nib_labelled_label(record);

    if (r->shaper.shape != NIB_SHAPE_TEXT || !r->in->labels_matter || nib_data_is_labelled(r))
        return NIB_OK;
    for (size_t i = 0; i < r->skipped.count && !label; i++)
        if (nib_labelled_is_label(r->skipped.names[i])) label = r->skipped.names[i];
    if (!label) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID,
                    "%s: field '%s' beside 'text': CAUSAL_LM is trained on the text alone. For a "
                    "classifier set task_type SEQ_CLS; to teach the label as an answer "
                    "prompt_template '{text}' and completion_template ' {%s}'; to leave it out "
                    "template '{text}'", where, label, label);
}

/* The first good record settles the shape. */
static nib_status detect(reader *r, const json_t *record, const char *where, nib_error *err)
{
    nib_status status;

    if (r->shaper.shape) return NIB_OK;
    status = nib_data_is_labelled(r) ? nib_labelled_detect(r, record, where, err)
                                     : nib_shaper_detect(&r->shaper, record, where, err);
    if (status) return status;
    status = check_label(r, record, where, err);
    if (status) return r->fatal = true, status;
    r->d->shape = r->shaper.shape;
    snprintf(r->shaped_by, sizeof r->shaped_by, "%.250s", where);
    status = nib_shaper_open(&r->shaper, err);
    r->fatal = status != NIB_OK;
    return status;
}

/* A text that is cut into windows and records that are texts of their own do not go together. */
static nib_status check_stream(reader *r, bool stream, const char *where, nib_error *err)
{
    nib_record_shape shape = r->shaper.shape;

    if (!shape || (shape == NIB_SHAPE_STREAM) == stream) return NIB_OK;
    r->fatal = true;
    return nib_fail(err, NIB_E_FORMAT, "%s is %s, and %s is %s: all files have one shape",
                    r->shaped_by, nib_shape_name(shape), where,
                    stream ? nib_shape_name(NIB_SHAPE_STREAM) : "a record");
}

static nib_status add_record(reader *r, const json_t *record, const char *where, nib_error *err)
{
    size_t parts;
    nib_status status = check_stream(r, false, where, err);

    if (!status) status = detect(r, record, where, err);
    if (status) return judge(r, status, r->fatal, err);
    status = nib_data_note_fields(r, record, where, err);
    if (!status) status = nib_data_note_skipped(r, where, err);
    parts = nib_shape_parts(r->shaper.shape, record);
    for (size_t i = 0; i < parts && !status; i++) {
        const json_t *part = nib_shape_part(r->shaper.shape, record, i);
        char place[512];

        if (part != record) {
            snprintf(place, sizeof place, "%s: questions[%zu]", where, i);
            status = nib_data_note_fields(r, part, where, err);
            if (status) break;
        }
        status = add_part(r, part, part == record ? where : place, err);
        if (status) status = judge(r, status, r->fatal, err);
        else if (nib_data_queue_full(r)) status = finish_waiting(r, err);
    }
    return status;
}

/* Are the lines of a .txt the texts of records? */
static bool takes_lines(const reader *r)
{
    return r->in->task == NIB_TASK_FEATURE_EXTRACTION || r->in->task == NIB_TASK_MASKED_LM ||
           (r->in->task == NIB_TASK_SEQ_CLS && r->in->unlabelled);
}

static nib_status add_stream(reader *r, const json_t *record, const char *where, nib_error *err)
{
    nib_status status = finish_waiting(r, err);

    if (status) return status;
    if (!takes_lines(r) && nib_data_is_labelled(r)) {
        r->fatal = true;
        return nib_data_refuse_lines(r, where, err);
    }
    if (takes_lines(r)) return nib_data_add_lines(r, record, where, err);
    status = check_stream(r, true, where, err);
    if (status) return status;
    if (!r->shaper.shape) snprintf(r->shaped_by, sizeof r->shaped_by, "%.250s", where);
    return nib_data_add_stream(r, record, where, err);
}

static nib_status read_records(reader *r, nib_records *records, nib_error *err)
{
    nib_status status = NIB_OK;

    while (!status) {
        json_t *record = NULL;
        status = nib_records_next(records, &record, err);
        if (status) {
            status = judge(r, status, !nib_records_can_go_on(records), err);
            continue;
        }
        if (!record) break;
        if (nib_should_stop(r->ctx))
            status = nib_fail(err, NIB_E_INTERRUPTED, "interrupted while reading %s",
                              nib_records_where(records));
        else if (nib_records_is_stream(records))
            status = add_stream(r, record, nib_records_where(records), err);
        else status = add_record(r, record, nib_records_where(records), err);
        json_decref(record);
    }
    return status ? status : finish_waiting(r, err);
}

static nib_status keep_template(reader *r, nib_error *err)
{
    nib_dataset *d = r->d;
    nib_sha256 h;
    char hex[65];

    if (!r->shaper.chat) return NIB_OK;
    nib_sha256_begin(&h);
    nib_chat_hash(r->shaper.chat, &h);
    nib_sha256_end(&h, hex);
    d->template_name = nib_strdup(r->ctx, nib_chat_name(r->shaper.chat));
    d->template_hash = nib_strdup(r->ctx, hex);
    d->template_text = nib_strdup(r->ctx, nib_chat_text(r->shaper.chat));
    return d->template_name && d->template_hash && d->template_text
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", nib_data_name(r->o));
}

/* The error when nothing is left of a source; `before`: the counts when it began. */
static nib_status check_any(const reader *r, const nib_data_counts *b, size_t records,
                            nib_error *err)
{
    const nib_data_counts *c = &r->d->counts;

    if (r->d->count > records) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: no usable record (%" PRIu64 " empty, %" PRIu64
                    " without a supervised token, %" PRIu64
                    " of them cut off by max_seq_length %zu, %" PRIu64 " longer than that, "
                    "%" PRIu64 " bad%s%s)%s",
                    r->path, c->empty - b->empty, c->masked_out - b->masked_out,
                    c->cut_off - b->cut_off, nib_data_limit(r), c->too_long - b->too_long,
                    c->bad - b->bad,
                    c->bad > b->bad ? "; the first: " : "", c->bad > b->bad ? r->first_bad : "",
                    c->too_long > b->too_long ? "; raise max_seq_length, or long_records cut" : "");
}

static nib_status read_source(reader *r, const char *path, nib_error *err)
{
    nib_records_options where = { .path = path, .config = r->o->dataset_config,
                                  .split = r->o->split, .field = r->o->data_field,
                                  .choose_columns = nib_data_choose_columns, .user = r };
    const nib_data_counts before = r->d->counts;
    size_t count = r->d->count;
    nib_records *records = NULL;
    nib_status status = nib_records_open(r->ctx, &where, &records, err);

    r->path = path;
    if (!status) status = read_records(r, records, err);
    nib_records_close(records);
    return status ? status : check_any(r, &before, count, err);
}

static nib_status read_sources(reader *r, nib_error *err)
{
    const nib_data_sources *all = &r->o->sources;
    nib_status status = NIB_OK;

    if (!all->count) return read_source(r, r->o->data, err);
    for (size_t i = 0; i < all->count && !status; i++) {
        nib_data_source s = all->items[i];
        if (!(s.weight > 0) || !isfinite(s.weight))
            return nib_fail(err, NIB_E_INVALID, "data: %s: the weight %g is not above 0", s.path,
                            s.weight);
        status = read_source(r, s.path, err);
        if (!status && !r->in->unweighted) status = nib_dataset_end_part(r->d, &s, err);
    }
    return status ? status : nib_dataset_settle_parts(r->d, err);
}

static nib_status read_all(reader *r, nib_error *err)
{
    nib_status status;

    if (r->o->max_seq_length < 2 && r->o->max_seq_length != NIB_OPEN)
        return nib_fail(err, NIB_E_INVALID, "max_seq_length: %d is less than 2",
                        r->o->max_seq_length);
    status = nib_shape_check(r->o, err);
    if (!status) status = read_sources(r, err);
    if (!status) status = nib_labels_settle(&r->d->labels, nib_data_name(r->o), err);
    if (!status) nib_shaper_report(&r->shaper);
    if (!status) status = keep_template(r, err);
    if (!status) status = nib_dataset_recount(r->d, err);
    return status ? status : nib_data_warn(r, err);
}

/* What is asked of answers means nothing elsewhere. */
static nib_status check_answers(const nib_dataset_source *s, nib_error *err)
{
    enum { USUAL_STRIDE = 128 }; /* what is there when nobody gave one */
    const nib_data_options *o = s->options;

    if (o->doc_stride < 0)
        return nib_fail(err, NIB_E_INVALID, "doc_stride: %d is less than 0", o->doc_stride);
    if (o->max_answer_length < 0)
        return nib_fail(err, NIB_E_INVALID, "max_answer_length: %d is less than 0",
                        o->max_answer_length);
    if (s->task == NIB_TASK_QUESTION_ANS) return NIB_OK;
    if (o->doc_stride && o->doc_stride != USUAL_STRIDE)
        return nib_fail(err, NIB_E_INVALID, "doc_stride: %d is of answers in a context (task_type "
                        "QUESTION_ANS); leave it at %d", o->doc_stride, (int)USUAL_STRIDE);
    if (!(o->max_answer_length || o->version_2_with_negative || o->null_score_diff_threshold != 0))
        return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "max_answer_length, version_2_with_negative and "
                    "null_score_diff_threshold are of answers in a context (task_type "
                    "QUESTION_ANS)");
}

/* A record with labels is not left out for its length. */
static nib_status check_long(const reader *r, nib_error *err)
{
    const char *how = r->o->long_records;

    if (!how || strcmp(how, "drop") != 0 || !nib_data_is_labelled(r)) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "long_records: drop is for models that write text; "
                    "records of %s are cut, or leave them out of data",
                    nib_task_name(r->in->task));
}

/* A reader without data yet; r->d is NULL where there is no memory. */
static nib_status begin_reader(nib_ctx *ctx, const nib_dataset_source *source, reader *r,
                               nib_error *err)
{
    *r = (reader){ .ctx = ctx, .o = source->options, .in = source, .d = nib_dataset_create(ctx) };
    if (!r->d) return nib_fail(err, NIB_E_NOMEM, "data: out of memory");
    if (check_answers(source, err) || check_long(r, err)) return NIB_E_INVALID;
    r->shaper = (nib_shaper){ .ctx = ctx, .o = source->options,
                              .source = { .model_dir = source->model_dir,
                                         .tokenizer = source->tokenizer, .now = source->now } };
    if (source->tokenizer) r->d->special = *nib_tokenizer_special(source->tokenizer);
    return source->labels ? nib_labels_copy_names(source->labels, &r->d->labels, err) : NIB_OK;
}

static void end_reader(reader *r)
{
    nib_shaper_close(&r->shaper);
    nib_data_queue_free(r);
    nib_data_free_fields(r);
    nib_labelled_free(r);
    nib_dataset_close(r->d);
}

nib_status nib_dataset_open(nib_ctx *ctx, const nib_dataset_source *source, nib_dataset **out,
                            nib_error *err)
{
    reader r;
    nib_status status = begin_reader(ctx, source, &r, err);

    if (!status) status = read_all(&r, err);
    if (status) goto done;
    *out = r.d;
    r.d = NULL; /* handed over */
done:
    end_reader(&r);
    return status;
}

nib_status nib_dataset_of_record(nib_ctx *ctx, const nib_dataset_source *source,
                                 const json_t *record, const char *where, nib_dataset **out,
                                 nib_error *err)
{
    reader r;
    nib_status status = begin_reader(ctx, source, &r, err);

    assert(nib_data_is_labelled(&r));
    if (!status) status = nib_labelled_detect(&r, record, where, err);
    if (!status) r.d->shape = r.shaper.shape;
    if (!status) status = nib_data_add_labelled(&r, record, where, err);
    if (!status) status = nib_dataset_recount(r.d, err);
    if (status) goto done;
    *out = r.d;
    r.d = NULL; /* handed over */
done:
    end_reader(&r);
    return status;
}
