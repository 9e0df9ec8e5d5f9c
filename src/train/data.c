/* data.c - reading a data file and turning its records into tokens. */
#include "train/data.h"

#include <stdio.h>

#include "base/filemap.h"
#include "base/random.h"
#include "format/json.h"
#include "train/template.h"

struct nib_dataset {
    nib_ctx *ctx;
    const nib_data_options *o;
    nib_tokenizer *tokenizer;
    uint32_t vocabulary;
    bool keep_all;
    uint32_t *ids;
    uint8_t *trained;
    size_t used, id_capacity, trained_capacity;
    size_t *ends;             /* of record i in ids */
    size_t count, end_capacity;
    nib_data_counts counts;
    nib_tokens tokens;        /* of the record at hand */
    nib_text text;
};

static nib_status no_memory(const char *where, nib_error *err) { return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where); }

static nib_status add_token(nib_dataset *d, const char *where, int64_t id, bool trained, nib_error *err)
{
    if (id < 0 || id >= d->vocabulary) {
        const char *name = d->tokenizer && id >= 0 ? nib_tokenizer_token(d->tokenizer, (uint32_t)id) : NULL;
        return nib_fail(err, NIB_E_MISMATCH, "%s: token %" PRId64 "%s%s%s is beyond the model's %u words", where, id,
                        name ? " ('" : "", name ? name : "", name ? "')" : "", d->vocabulary);
    }
    if (!nib_grow(d->ctx, &d->ids, &d->id_capacity, d->used + 1, sizeof *d->ids) ||
        !nib_grow(d->ctx, &d->trained, &d->trained_capacity, d->used + 1, 1))
        return no_memory(where, err);
    d->ids[d->used] = (uint32_t)id;
    d->trained[d->used++] = trained;
    return NIB_OK;
}

/* The record is what was added since the last one: counted and kept, or left out. */
static nib_status end_record(nib_dataset *d, const char *where, nib_error *err)
{
    size_t begin = d->count ? d->ends[d->count - 1] : 0, targets = 0;

    for (size_t i = begin + 1; i < d->used; i++) targets += d->trained[i];
    if (d->used == begin || (targets == 0 && !d->keep_all)) {
        if (d->used == begin) d->counts.empty++;
        else d->counts.masked_out++;
        d->used = begin;
        return NIB_OK;
    }
    if (!nib_grow(d->ctx, &d->ends, &d->end_capacity, d->count + 1, sizeof *d->ends)) return no_memory(where, err);
    d->ends[d->count++] = d->used;
    d->counts.tokens += d->used - begin;
    d->counts.targets += targets;
    if (d->used - begin > d->counts.longest) d->counts.longest = (uint32_t)(d->used - begin);
    return NIB_OK;
}

/* --- the kinds of records --- */

/* d->text whole; tokens that begin at or after `completion` are trained. */
static nib_status add_text(nib_dataset *d, const char *where, size_t completion, nib_error *err)
{
    size_t limit = (size_t)d->o->max_seq_length;
    int64_t eos;
    bool bos_twice;
    nib_status status;

    if (!d->tokenizer) return nib_fail(err, NIB_E_MISMATCH, "%s: a text, but the model has no tokenizer.json", where);
    if (d->text.count == 0) return end_record(d, where, err);
    d->tokens.count = 0;
    status = nib_tokenizer_encode(d->tokenizer, d->text.bytes, d->text.count, true, &d->tokens, &bos_twice, err);
    if (status) return nib_fail_in(err, status, "%s", where);
    d->counts.had_bos += bos_twice;
    for (size_t i = 0; i < nib_min(d->tokens.count, limit) && !status; i++) {
        const nib_token *t = &d->tokens.items[i];
        status = add_token(d, where, t->id, !t->added_by_template && t->begin >= completion, err);
    }
    eos = nib_tokenizer_eos(d->tokenizer);
    if (d->tokens.count > limit || (d->tokens.count == limit && eos >= 0 && d->tokens.items[limit - 1].id != (uint32_t)eos)) {
        d->counts.truncated++;
    } else if (!status && eos >= 0 && d->tokens.count && d->tokens.items[d->tokens.count - 1].id != (uint32_t)eos) {
        status = add_token(d, where, eos, true, err);
    } else if (eos >= 0 && d->tokens.count && d->used) {
        d->trained[d->used - 1] = 1; /* an end token that was there is trained as well */
    }
    return status ? status : end_record(d, where, err);
}

static nib_status add_ids(nib_dataset *d, const json_t *ids, const json_t *labels, const char *where, nib_error *err)
{
    size_t n = json_array_size(ids), limit = (size_t)d->o->max_seq_length;
    nib_status status = NIB_OK;

    if (!json_is_array(ids)) return nib_fail(err, NIB_E_FORMAT, "%s: input_ids is not a list", where);
    if (labels && (!json_is_array(labels) || json_array_size(labels) != n))
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu labels for %zu input_ids", where, json_array_size(labels), n);
    for (size_t i = 0; i < nib_min(n, limit) && !status; i++) {
        const json_t *id = json_array_get(ids, i), *label = labels ? json_array_get(labels, i) : NULL;
        if (!json_is_integer(id) || (label && !json_is_integer(label)))
            return nib_fail(err, NIB_E_FORMAT, "%s: element %zu of input_ids or labels is not an integer", where, i);
        if (label && json_integer_value(label) != -100 && json_integer_value(label) != json_integer_value(id))
            return nib_fail(err, NIB_E_FORMAT, "%s: label %" PRId64 " at %zu is neither -100 nor the token there", where,
                            (int64_t)json_integer_value(label), i);
        status = add_token(d, where, json_integer_value(id), !label || json_integer_value(label) != -100, err);
    }
    if (n > limit) d->counts.truncated++;
    return status ? status : end_record(d, where, err);
}

static nib_status add_field(nib_dataset *d, const json_t *record, const char *key, const char *where, nib_error *err)
{
    const json_t *value = json_object_get(record, key);

    if (!json_is_string(value)) return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is not a string", where, key);
    return nib_text_add(d->ctx, &d->text, json_string_value(value), json_string_length(value)) ? NIB_OK : no_memory(where, err);
}

static nib_status add_record(nib_dataset *d, const json_t *record, const char *where, nib_error *err)
{
    const nib_data_options *o = d->o;
    size_t completion = 0;
    nib_status status;

    d->counts.records++;
    d->text.count = 0;
    if (!json_is_object(record)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    if (o->template_text) {
        status = nib_template_fill(d->ctx, o->template_text, record, where, &d->text, err);
    } else if (o->prompt_template) {
        status = nib_template_fill(d->ctx, o->prompt_template, record, where, &d->text, err);
        completion = d->text.count;
        if (!status) status = nib_template_fill(d->ctx, o->completion_template, record, where, &d->text, err);
    } else if (json_object_get(record, "input_ids")) {
        return add_ids(d, json_object_get(record, "input_ids"), json_object_get(record, "labels"), where, err);
    } else if (json_object_get(record, "prompt") && json_object_get(record, "completion")) {
        status = add_field(d, record, "prompt", where, err);
        completion = d->text.count;
        if (!status) status = add_field(d, record, "completion", where, err);
    } else if (json_object_get(record, "text")) {
        status = add_field(d, record, "text", where, err);
    } else {
        const char *key = json_object_iter_key(json_object_iter((json_t *)record));
        return nib_fail(err, NIB_E_FORMAT, "%s: neither 'text' nor 'prompt' and 'completion' (the first field is '%s'); "
                        "--template takes other fields", where, key ? key : "missing");
    }
    return status ? status : add_text(d, where, completion, err);
}

/* --- the kinds of files --- */

static nib_status read_lines(nib_dataset *d, const char *text, size_t bytes, nib_error *err)
{
    size_t line = 0, at = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    nib_status status = NIB_OK;

    while (at < bytes && !status) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t stop = end ? (size_t)(end - text) : bytes, next = end ? stop + 1 : bytes;
        char where[512];
        json_t *record;

        line++;
        snprintf(where, sizeof where, "%s: line %zu", d->o->data, line);
        while (stop > at && (text[stop - 1] == '\r' || text[stop - 1] == ' ' || text[stop - 1] == '\t')) stop--;
        while (at < stop && (text[at] == ' ' || text[at] == '\t')) at++;
        if (stop > at) {
            status = nib_json_parse(text + at, stop - at, where, 0, &record, err);
            if (status) break;
            status = add_record(d, record, where, err);
            json_decref(record);
        }
        at = next;
    }
    return status;
}

/* An array of objects, one object that holds the one array, or lines. */
static nib_status read_json(nib_dataset *d, const char *text, size_t bytes, nib_error *err)
{
    json_t *root, *list = NULL, *value;
    const char *key;
    nib_error ignored;
    nib_status status = nib_json_parse(text, bytes, d->o->data, 0, &root, &ignored);

    if (status == NIB_E_NOMEM) return no_memory(d->o->data, err);
    if (status) return read_lines(d, text, bytes, err);
    if (json_is_array(root)) list = root;
    json_object_foreach(root, key, value)
        if (json_is_array(value)) list = list ? root : value;
    if (!json_is_array(list)) {
        status = json_is_object(root) && !list ? add_record(d, root, d->o->data, err)
                     : nib_fail(err, NIB_E_FORMAT, "%s: neither an array of records nor an object holding one", d->o->data);
    }
    for (size_t i = 0; json_is_array(list) && i < json_array_size(list) && !status; i++) {
        char where[512];
        snprintf(where, sizeof where, "%s: record %zu", d->o->data, i + 1);
        status = add_record(d, json_array_get(list, i), where, err);
    }
    json_decref(root);
    return status;
}

/* One stream of tokens, cut into windows; everything is trained, no end token is added. */
static nib_status read_stream(nib_dataset *d, const char *text, size_t bytes, nib_error *err)
{
    size_t window = (size_t)d->o->max_seq_length;
    nib_status status;

    if (!d->tokenizer) return nib_fail(err, NIB_E_MISMATCH, "%s: a text, but the model has no tokenizer.json", d->o->data);
    status = nib_tokenizer_encode(d->tokenizer, text, bytes, true, &d->tokens, NULL, err);
    if (status) return nib_fail_in(err, status, "%s", d->o->data);
    for (size_t i = 0; i < d->tokens.count && !status; i++) {
        status = add_token(d, d->o->data, d->tokens.items[i].id, true, err);
        if (!status && ((i + 1) % window == 0 || i + 1 == d->tokens.count)) {
            d->counts.records++;
            status = end_record(d, d->o->data, err);
        }
    }
    return status;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && strcmp(name + n - e, end) == 0;
}

static nib_status read_file(nib_dataset *d, nib_error *err)
{
    const char *path = d->o->data;
    nib_filemap map = { 0 };
    nib_status status;

    if ((d->o->prompt_template != NULL) != (d->o->completion_template != NULL))
        return nib_fail(err, NIB_E_INVALID, "prompt_template and completion_template go together");
    if (d->o->max_seq_length < 2)
        return nib_fail(err, NIB_E_INVALID, "max_seq_length: %d is less than 2", d->o->max_seq_length);
    if (d->o->template_text && d->o->prompt_template)
        return nib_fail(err, NIB_E_INVALID, "template and prompt_template exclude each other");
    status = nib_filemap_open(path, &map, err);
    if (status) return status;
    if (map.bytes == 0) status = nib_fail(err, NIB_E_FORMAT, "%s: empty", path);
    else if (ends_with(path, ".jsonl")) status = read_lines(d, (const char *)map.base, map.bytes, err);
    else if (ends_with(path, ".json")) status = read_json(d, (const char *)map.base, map.bytes, err);
    else if (ends_with(path, ".txt")) status = read_stream(d, (const char *)map.base, map.bytes, err);
    else status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: known are .jsonl, .json and .txt", path);
    nib_filemap_close(&map);
    if (!status && d->count == 0)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no usable record (%" PRIu64 " empty, %" PRIu64 " without a supervised token)",
                          path, d->counts.empty, d->counts.masked_out);
    return status;
}

nib_status nib_dataset_open(nib_ctx *ctx, const nib_data_options *options, nib_tokenizer *tokenizer,
                            uint32_t vocab_size, bool keep_all, nib_dataset **out, nib_error *err)
{
    nib_dataset *d = nib_new(ctx, sizeof *d);
    nib_status status;

    if (!d) return no_memory(options->data, err);
    *d = (nib_dataset){ .ctx = ctx, .o = options, .tokenizer = tokenizer, .vocabulary = vocab_size, .keep_all = keep_all };
    status = read_file(d, err);
    if (status) goto done;
    nib_tokens_free(ctx, &d->tokens);
    nib_free(ctx, d->text.bytes);
    d->text = (nib_text){ 0 };
    *out = d;
    d = NULL; /* handed over */
done:
    nib_dataset_close(d);
    return status;
}

void nib_dataset_close(nib_dataset *d)
{
    if (!d) return;
    nib_tokens_free(d->ctx, &d->tokens);
    nib_free(d->ctx, d->text.bytes);
    nib_free(d->ctx, d->ids);
    nib_free(d->ctx, d->trained);
    nib_free(d->ctx, d->ends);
    nib_free(d->ctx, d);
}

size_t nib_dataset_count(const nib_dataset *d) { return d->count; }
nib_data_counts nib_dataset_counts(const nib_dataset *d) { return d->counts; }

nib_record nib_dataset_record(const nib_dataset *d, size_t i)
{
    size_t begin = i ? d->ends[i - 1] : 0;
    nib_record r = { .ids = d->ids + begin, .trained = d->trained + begin, .length = (uint32_t)(d->ends[i] - begin) };

    for (uint32_t k = 1; k < r.length; k++) r.targets += r.trained[k];
    return r;
}

void nib_dataset_order(const nib_dataset *d, bool shuffle, uint64_t seed, uint64_t epoch, uint32_t *order)
{
    if (shuffle) nib_torch_randperm(order, (uint32_t)d->count, seed + epoch);
    for (size_t i = 0; !shuffle && i < d->count; i++) order[i] = (uint32_t)i;
}
