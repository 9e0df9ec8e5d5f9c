/* data_read.c - from the records of a file or folder to tokens with marks. */
#include <stdio.h>

#include "format/records.h"
#include "train/data_store.h"

typedef struct reader {
    nib_ctx *ctx;
    const nib_data_options *o;
    const nib_dataset_source *in;
    nib_dataset *d;
    nib_shaper shaper;
    nib_tokens tokens;    /* of the record at hand */
    bool fatal;           /* what went wrong is no single record's fault */
    char first_bad[256];  /* what the first skipped record suffered from */
} reader;

static nib_status add_token(reader *r, const char *where, int64_t id, bool trained, nib_error *err)
{
    if (id < 0 || id >= r->in->vocabulary) {
        const char *name = r->in->tokenizer && id >= 0 && id <= UINT32_MAX
                               ? nib_tokenizer_token(r->in->tokenizer, (uint32_t)id)
                               : NULL;
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: token %" PRId64 "%s%s%s is beyond the model's %u words", where, id,
                        name ? " ('" : "", name ? name : "", name ? "')" : "", r->in->vocabulary);
    }
    return nib_dataset_add(r->d, where, (uint32_t)id, trained, err);
}

/* The record is what was added since the last one: kept, or counted and left out. */
static nib_status end_record(reader *r, const char *where, nib_error *err)
{
    nib_dataset *d = r->d;
    size_t begin = nib_dataset_begin(d), targets = 0;

    for (size_t i = begin + 1; i < d->used; i++) targets += d->trained[i];
    if (d->used > begin && (targets || r->in->keep_all)) return nib_dataset_end(d, where, err);
    if (d->used == begin) d->counts.empty++;
    else d->counts.masked_out++;
    nib_dataset_drop(d);
    return NIB_OK;
}

/* --- text --- */

/* Is the token trained?  *next: the first span that may hold it; tokens come in the text's
 * order. */
static bool is_trained(const nib_example *x, const nib_token *t, size_t *next)
{
    if (t->added_by_template) return false;
    while (*next < x->span_count && x->spans[*next].end <= t->begin) ++*next;
    if (*next == x->span_count) return false;
    return x->spans[*next].begin <= t->begin || (x->rendered && x->spans[*next].begin < t->end);
}

/* A shape with a prompt must leave something untrained and something trained: all or nothing is a
 * mistake in the record or in the template.  Before truncation. */
static nib_status check_share(reader *r, const char *where, nib_error *err)
{
    const nib_example *x = &r->shaper.example;
    size_t trained = 0, own = 0, next = 0;

    for (size_t i = 0; i < r->tokens.count; i++) {
        own += !r->tokens.items[i].added_by_template;
        trained += is_trained(x, &r->tokens.items[i], &next);
    }
    if (!x->has_prompt || (trained && trained < own)) return NIB_OK;
    if (trained)
        return nib_fail(
            err, NIB_E_FORMAT,
            "%s: all %zu tokens would be trained, though the shape (%s) gives a prompt that is not: is it empty?",
            where, own, nib_shape_name(r->shaper.shape));
    if (!x->rendered) return NIB_OK; /* its only token began in the prompt: the end token is left */
    return nib_fail(err, NIB_E_FORMAT, "%s: none of its %zu tokens would be trained", where, own);
}

/* The end token where it is missing.  A record that fills the limit without it is cut as well. */
static nib_status end_text(reader *r, const char *where, nib_error *err)
{
    size_t n = r->tokens.count, limit = (size_t)r->o->max_seq_length;
    int64_t eos = nib_tokenizer_eos(r->in->tokenizer);
    bool ended = n && eos >= 0 && r->tokens.items[n - 1].id == (uint32_t)eos;

    if (n > limit || (n == limit && eos >= 0 && !ended && !r->shaper.example.rendered))
        r->d->counts.truncated++;
    else if (r->shaper.example.rendered || eos < 0 || n == 0) return NIB_OK;
    else if (!ended) return add_token(r, where, eos, true, err);
    else r->d->trained[r->d->used - 1] = 1; /* an end token that was there is trained as well */
    return NIB_OK;
}

static nib_status add_text(reader *r, const char *where, nib_error *err)
{
    const nib_example *x = &r->shaper.example;
    size_t next = 0, limit = (size_t)r->o->max_seq_length;
    bool bos_twice = false;
    nib_status status;

    if (x->empty) return end_record(r, where, err);
    if (!r->in->tokenizer)
        return r->fatal = true, nib_tokenizer_missing(r->in->model_dir, err);
    r->tokens.count = 0;
    status = nib_tokenizer_encode(r->in->tokenizer, x->text.data ? x->text.data : "", x->text.bytes,
                                  !x->rendered, &r->tokens, &bos_twice, err);
    if (status) return nib_fail_in(err, status, "%s", where);
    r->d->counts.had_bos += bos_twice;
    status = check_share(r, where, err);
    for (size_t i = 0; i < nib_min(r->tokens.count, limit) && !status; i++) {
        const nib_token *t = &r->tokens.items[i];
        status = add_token(r, where, t->id, is_trained(x, t, &next), err);
    }
    if (!status) status = end_text(r, where, err);
    return status ? status : end_record(r, where, err);
}

/* One stream of tokens, cut into windows; everything is trained, no end token is added. */
static nib_status add_stream(reader *r, const json_t *record, const char *where, nib_error *err)
{
    const json_t *text = json_object_get(record, "text");
    size_t window = (size_t)r->o->max_seq_length;
    nib_status status;

    r->fatal = true;
    r->d->shape = r->shaper.shape = NIB_SHAPE_STREAM;
    if (!r->in->tokenizer)
        return nib_tokenizer_missing(r->in->model_dir, err);
    r->tokens.count = 0;
    status = nib_tokenizer_encode(r->in->tokenizer, json_string_value(text),
                                  json_string_length(text), true, &r->tokens, NULL, err);
    if (status) return nib_fail_in(err, status, "%s", where);
    for (size_t i = 0; i < r->tokens.count && !status; i++) {
        status = add_token(r, where, r->tokens.items[i].id, true, err);
        if (!status && ((i + 1) % window == 0 || i + 1 == r->tokens.count)) {
            r->d->counts.records++;
            status = end_record(r, where, err);
        }
    }
    return status;
}

/* --- tokens --- */

static nib_status add_ids(reader *r, const json_t *record, const char *where, nib_error *err)
{
    const json_t *ids = json_object_get(record, "input_ids"),
                 *labels = nib_shape_field(record, "labels");
    size_t n = json_array_size(ids), limit = (size_t)r->o->max_seq_length;
    nib_status status = NIB_OK;

    if (!json_is_array(ids))
        return nib_fail(err, NIB_E_FORMAT, "%s: input_ids is %s, it should be a list of token ids",
                        where, nib_shape_kind(ids));
    if (labels && (!json_is_array(labels) || json_array_size(labels) != n))
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu labels for %zu input_ids", where,
                        json_array_size(labels), n);
    for (size_t i = 0; i < nib_min(n, limit) && !status; i++) {
        const json_t *id = json_array_get(ids, i),
                     *label = labels ? json_array_get(labels, i) : NULL;
        if (!json_is_integer(id) || (label && !json_is_integer(label)))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: element %zu of input_ids or labels is not an integer", where, i);
        if (label && json_integer_value(label) != -100 &&
            json_integer_value(label) != json_integer_value(id))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: label %" PRId64 " at %zu is neither -100 nor the token there",
                            where, (int64_t)json_integer_value(label), i);
        status = add_token(r, where, json_integer_value(id),
                           !label || json_integer_value(label) != -100, err);
    }
    if (!status && n > limit) r->d->counts.truncated++;
    return status ? status : end_record(r, where, err);
}

/* --- records --- */

static nib_status add_part(reader *r, const json_t *record, const char *where, nib_error *err)
{
    nib_status status;

    r->d->counts.records++;
    if (r->shaper.shape == NIB_SHAPE_TOKENS) return add_ids(r, record, where, err);
    status = nib_shaper_fill(&r->shaper, record, where, err);
    return status ? status : add_text(r, where, err);
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

/* The first good record settles the shape. */
static nib_status detect(reader *r, const json_t *record, const char *where, nib_error *err)
{
    nib_status status;

    if (r->shaper.shape) return NIB_OK;
    status = nib_shaper_detect(&r->shaper, record, where, err);
    if (status) return status;
    r->d->shape = r->shaper.shape;
    status = nib_shaper_open(&r->shaper, err);
    r->fatal = status != NIB_OK;
    return status;
}

static nib_status add_record(reader *r, const json_t *record, const char *where, nib_error *err)
{
    size_t parts;
    nib_status status = detect(r, record, where, err);

    if (status) return forgive(r, status, err);
    parts = nib_shape_parts(r->shaper.shape, record);
    for (size_t i = 0; i < parts && !status; i++) {
        const json_t *part = nib_shape_part(r->shaper.shape, record, i);
        char place[512];

        if (part != record) snprintf(place, sizeof place, "%s: questions[%zu]", where, i);
        status = forgive(r, add_part(r, part, part == record ? where : place, err), err);
    }
    return status;
}

static nib_status read_records(reader *r, nib_records *records, nib_error *err)
{
    nib_status status = NIB_OK;

    while (!status) {
        json_t *record = NULL;
        status = nib_records_next(records, &record, err);
        if (status) {
            r->fatal = !nib_records_can_go_on(records);
            status = forgive(r, status, err);
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
    return status;
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
               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", r->o->data);
}

static nib_status read_all(reader *r, nib_error *err)
{
    nib_records_options where = { .path = r->o->data, .split = r->o->split, .field = r->o->data_field };
    const nib_data_counts *c = &r->d->counts;
    nib_records *records = NULL;
    nib_status status;

    if (r->o->max_seq_length < 2)
        return nib_fail(err, NIB_E_INVALID, "max_seq_length: %d is less than 2",
                        r->o->max_seq_length);
    status = nib_shape_check(r->o, err);
    if (!status) status = nib_records_open(r->ctx, &where, &records, err);
    if (!status) status = read_records(r, records, err);
    nib_records_close(records);
    if (!status && r->d->count == 0)
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: no usable record (%" PRIu64 " empty, %" PRIu64
                          " without a supervised token, %" PRIu64 " bad%s%s)",
                          r->o->data, c->empty, c->masked_out, c->bad,
                          c->bad ? "; the first: " : "", r->first_bad);
    nib_shaper_report(&r->shaper);
    if (!status) status = keep_template(r, err);
    return status ? status : nib_dataset_recount(r->d, err);
}

nib_status nib_dataset_open(nib_ctx *ctx, const nib_dataset_source *source, nib_dataset **out,
                            nib_error *err)
{
    reader r = { .ctx = ctx, .o = source->options, .in = source, .d = nib_dataset_create(ctx) };
    nib_status status;

    if (!r.d) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", source->options->data);
    r.shaper = (nib_shaper){ .ctx = ctx, .o = source->options, .source = { .model_dir = source->model_dir, .now = source->now } };
    if (source->tokenizer) r.d->special = *nib_tokenizer_special(source->tokenizer);
    status = read_all(&r, err);
    if (status) goto done;
    *out = r.d;
    r.d = NULL; /* handed over */
done:
    nib_shaper_close(&r.shaper);
    nib_tokens_free(ctx, &r.tokens);
    nib_dataset_close(r.d);
    return status;
}
