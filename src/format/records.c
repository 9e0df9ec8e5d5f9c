/* records.c - the files one after another, each by the reader of its kind. */
#include "format/records.h"

#include <stdio.h>

#include "format/unpacked.h"
#include "format/json.h"
#include "format/record_files.h"
#include "format/table_source.h"

enum { RELEASE_EVERY = 16 << 20 }; /* bytes of lines read before their pages are given back */

struct nib_records {
    nib_ctx *ctx;
    nib_record_files files;
    size_t next_file;    /* files before it are open or done */
    char *field;
    char *where;
    size_t where_bytes;
    bool open;           /* a file is */
    bool failed, can_go_on;

    const char *path;    /* of the open file */
    nib_record_kind kind;
    nib_filemap map;     /* of lines and text */
    size_t at, released;
    uint64_t line;       /* lines: the last one read; values: the one at `at` */
    bool values;         /* JSON values one after another, over lines as they like */
    json_t *root;        /* JSON parsed whole; the records are in `list`, or root is the only one */
    const json_t *list;
    size_t index;
    nib_table *table;
    nib_status (*choose_columns)(void *user, nib_table *table, nib_error *err);
    void *user;
};

static nib_status no_memory(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
}

static void close_file(nib_records *r)
{
    nib_filemap_close(&r->map);
    nib_table_close(r->table);
    json_decref(r->root);
    r->table = NULL;
    r->root = NULL;
    r->list = NULL;
    r->at = r->released = r->index = 0;
    r->line = 0;
    r->values = r->open = false;
}

/* --- lines --- */

/* Steps over one line; *begin and *end enclose it without the blanks around it. */
static void take_line(nib_records *r, size_t *begin, size_t *end)
{
    const char *text = (const char *)r->map.base,
               *stop = memchr(text + r->at, '\n', r->map.bytes - r->at);

    *begin = r->at;
    *end = stop ? (size_t)(stop - text) : r->map.bytes;
    r->at = stop ? *end + 1 : *end;
    r->line++;
    while (*end > *begin &&
           (text[*end - 1] == '\r' || text[*end - 1] == ' ' || text[*end - 1] == '\t'))
        --*end;
    while (*begin < *end && (text[*begin] == ' ' || text[*begin] == '\t')) ++*begin;
}

static void release_behind(nib_records *r)
{
    if (r->at - r->released < RELEASE_EVERY) return;
    nib_filemap_release(&r->map, r->map.base + r->released, r->at - r->released);
    r->released = r->at;
}

static nib_status too_long(const nib_records *r, size_t bytes, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: %zu bytes, more than the %d of a record", r->where,
                    bytes, (int)NIB_TABLE_RECORD_BYTES);
}

/* The line [begin, end) is not one value: perhaps it is several, {"a": 1} {"a": 2}.  Then the first
 * is taken, and the rest stays to be read as a line of the same number. */
static nib_status take_first(nib_records *r, size_t begin, size_t end, json_t **out)
{
    const char *text = (const char *)r->map.base;
    size_t used = 0;
    json_t *first = NULL;
    unsigned how = NIB_JSON_DATA | NIB_JSON_ONE_LINE;
    nib_status status = nib_json_parse_first(text + begin, end - begin, r->where, how, &first,
                                             &used, NULL);

    begin += used;
    if (!status) begin += strspn(text + begin, " \t"); /* a bracket or more is behind it */
    if (status || begin >= end || text[begin] != '{') {
        json_decref(first);
        return NIB_E_FORMAT;
    }
    r->at = begin;
    r->line--;
    *out = first;
    return NIB_OK;
}

static nib_status next_line(nib_records *r, json_t **out, nib_error *err)
{
    size_t begin = 0, end = 0;
    nib_status status;

    release_behind(r);
    while (r->at < r->map.bytes && begin == end) take_line(r, &begin, &end);
    *out = NULL;
    if (begin == end) return NIB_OK;
    snprintf(r->where, r->where_bytes, "%s: line %" PRIu64, r->path, r->line);
    r->can_go_on = true; /* past the line, whatever is in it */
    if (end - begin > NIB_TABLE_RECORD_BYTES) return too_long(r, end - begin, err);
    status = nib_json_parse((const char *)r->map.base + begin, end - begin, r->where,
                            NIB_JSON_DATA | NIB_JSON_ONE_LINE, out, err);
    if (status == NIB_E_FORMAT && !take_first(r, begin, end, out)) return NIB_OK;
    return status;
}

/* --- values over several lines --- */

static void skip_blanks(nib_records *r)
{
    for (; r->at < r->map.bytes; r->at++) {
        char c = (char)r->map.base[r->at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
        r->line += c == '\n';
    }
}

static nib_status next_value(nib_records *r, json_t **out, nib_error *err)
{
    size_t room, used = 0;
    const char *text;
    uint64_t line;
    nib_status status;

    release_behind(r);
    skip_blanks(r);
    *out = NULL;
    if (r->at == r->map.bytes) return NIB_OK;
    line = r->line + 1;
    snprintf(r->where, r->where_bytes, "%s: record from line %" PRIu64, r->path, line);
    text = (const char *)r->map.base + r->at;
    room = nib_min(r->map.bytes - r->at, NIB_TABLE_RECORD_BYTES);
    status = nib_json_parse_first(text, room, r->where, NIB_JSON_DATA, out, &used, err);
    if (status && room == NIB_TABLE_RECORD_BYTES && room < r->map.bytes - r->at)
        return too_long(r, room + 1, err);
    if (status) return status;
    for (size_t i = 0; i < used; i++) r->line += text[i] == '\n';
    r->at += used;
    snprintf(r->where, r->where_bytes, "%s: line %" PRIu64, r->path, line);
    return NIB_OK;
}

/* --- .json --- */

/* Whether the first line that is not blank is JSON by itself: then the file is lines. */
static bool begins_with_json_line(nib_records *r)
{
    size_t begin = 0, end = 0, at = r->at;
    json_t *record = NULL;
    nib_status status;

    while (r->at < r->map.bytes && begin == end) take_line(r, &begin, &end);
    r->at = at;
    r->line = 0;
    status = nib_json_parse((const char *)r->map.base + begin, end - begin, r->path, NIB_JSON_DATA,
                            &record, NULL);
    if (!status) json_decref(record);
    return !status;
}

/* Whether it is values one after another that go over lines as they like. */
static bool begins_with_value(nib_records *r)
{
    size_t at = r->at, first;
    json_t *value = NULL;
    nib_error err;
    bool is;

    skip_blanks(r);
    first = r->at;
    is = first < r->map.bytes && r->map.base[first] == '{' && !next_value(r, &value, &err) && value;
    json_decref(value);
    r->at = at;
    r->line = 0;
    snprintf(r->where, r->where_bytes, "%s", r->path);
    return is;
}

/* A record by itself holds lists under these names; they are no lists of records. */
static bool is_record(const json_t *object)
{
    static const char *const names[] = { "messages", "conversations", "prompt", "completion",
                                         "input_ids" };

    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (json_object_get(object, names[i])) return true;
    return false;
}

static nib_status find_field(nib_records *r, nib_error *err)
{
    r->list = json_object_get(r->root, r->field);
    if (json_is_array(r->list)) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %s '%s' to take the records from", r->path,
                    !json_is_object(r->root) ? "not an object with a field"
                        : r->list ? "no list is in the field" : "there is no field", r->field);
}

static nib_status find_list(nib_records *r, nib_error *err)
{
    const char *key;
    json_t *value;
    size_t lists = 0;

    if (r->field) return find_field(r, err);
    if (json_is_array(r->root)) {
        r->list = r->root;
        return NIB_OK;
    }
    if (!json_is_object(r->root))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: neither an array of records nor an object holding one", r->path);
    if (is_record(r->root)) return NIB_OK;
    json_object_foreach(r->root, key, value) {
        if (!json_is_array(value)) continue;
        r->list = value;
        lists++;
    }
    if (lists > 1)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: an object with %zu lists: name the field that holds the records",
                        r->path, lists);
    return NIB_OK;
}

static nib_status open_json(nib_records *r, nib_error *err)
{
    const char *text = (const char *)r->map.base + r->at;
    nib_error problem;
    nib_status status = nib_json_parse(text, r->map.bytes - r->at, r->path, NIB_JSON_DATA, &r->root,
                                       &problem);

    if (status == NIB_E_NOMEM) return no_memory(r->path, err);
    if (!status) return find_list(r, err);
    if (r->field) return nib_fail(err, status, "%s", problem.message);
    if (!begins_with_json_line(r) && !(r->values = begins_with_value(r)))
        return nib_fail(err, status, "%s", problem.message);
    r->kind = NIB_RECORD_LINES;
    return NIB_OK;
}

/* A file of lines by its name may be one list, or objects over several lines, as `datasets` reads
 * them. */
static nib_status open_lines(nib_records *r, nib_error *err)
{
    size_t first = r->at;

    while (first < r->map.bytes && strchr(" \t\r\n", r->map.base[first])) first++;
    if (first == r->map.bytes || begins_with_json_line(r)) return NIB_OK;
    if (r->map.base[first] == '[') {
        r->kind = NIB_RECORD_JSON;
        return open_json(r, err);
    }
    r->values = begins_with_value(r);
    return NIB_OK; /* else by lines: what is wrong with one is reported when it is read */
}

static void next_of_json(nib_records *r, json_t **out)
{
    size_t count = r->list ? json_array_size(r->list) : 1;

    *out = NULL;
    if (r->index == count) return;
    *out = json_incref(r->list ? json_array_get(r->list, r->index) : r->root);
    r->index++;
    if (r->list) snprintf(r->where, r->where_bytes, "%s: record %zu", r->path, r->index);
}

/* --- .txt --- */

static nib_status next_text(nib_records *r, json_t **out, nib_error *err)
{
    const uint8_t *text = r->map.base;
    size_t bad, line = 1, begin = 0;

    *out = NULL;
    if (r->index++) return NIB_OK;
    bad = nib_text_invalid(text, r->map.bytes);
    if (bad < r->map.bytes) {
        for (size_t i = 0; i < bad; i++)
            if (text[i] == '\n') line++, begin = i + 1;
        return nib_fail(err, NIB_E_FORMAT, "%s: line %zu, byte %zu (0x%02x) is not UTF-8 text",
                        r->path, line, bad - begin + 1, text[bad]);
    }
    *out = json_pack("{s:o}", "text",
                     json_stringn_nocheck((const char *)text + r->at, r->map.bytes - r->at));
    return *out ? NIB_OK : no_memory(r->path, err);
}

/* --- all kinds --- */

static nib_status open_table(nib_records *r, nib_table_kind kind, nib_error *err)
{
    nib_status status;

    if (r->field)
        return nib_fail(err, NIB_E_INVALID, "%s: only a .json file has a field with the records",
                        r->path);
    status = nib_table_open(r->ctx, r->path, kind, &r->table, err);
    if (!status && kind == NIB_TABLE_PARQUET && r->choose_columns)
        status = r->choose_columns(r->user, r->table, err);
    return status;
}

static nib_status open_mapped(nib_records *r, nib_error *err)
{
    nib_status status = nib_unpacked_open(r->ctx, r->path, &r->map, err);

    if (status) return status;
    if (r->map.bytes == 0) return nib_fail(err, NIB_E_FORMAT, "%s: empty", r->path);
    if (r->field && r->kind != NIB_RECORD_JSON)
        return nib_fail(err, NIB_E_INVALID, "%s: only a .json file has a field with the records",
                        r->path);
    /* a byte order mark */
    if (r->map.bytes >= 3 && !memcmp(r->map.base, "\xef\xbb\xbf", 3)) r->at = 3;
    return r->kind == NIB_RECORD_JSON    ? open_json(r, err)
           : r->kind == NIB_RECORD_LINES ? open_lines(r, err)
                                         : NIB_OK;
}

static nib_status open_file(nib_records *r, nib_error *err)
{
    r->path = r->files.paths[r->next_file++];
    r->open = true;
    r->can_go_on = false;
    snprintf(r->where, r->where_bytes, "%s", r->path);
    nib_record_kind_of(r->path, &r->kind);
    if (nib_file_is_lfs_pointer(r->path))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a git-lfs pointer, not the data itself: run git lfs pull, or download "
                        "the file",
                        r->path);
    switch (r->kind) {
    case NIB_RECORD_CSV: return open_table(r, NIB_TABLE_CSV, err);
    case NIB_RECORD_TSV: return open_table(r, NIB_TABLE_TSV, err);
    case NIB_RECORD_PARQUET: return open_table(r, NIB_TABLE_PARQUET, err);
    default: return open_mapped(r, err);
    }
}

static nib_status next_of_file(nib_records *r, json_t **out, nib_error *err)
{
    r->can_go_on = false;
    if (r->table) return nib_table_next(r->table, out, err);
    if (r->values) return next_value(r, out, err);
    if (r->kind == NIB_RECORD_LINES) return next_line(r, out, err);
    if (r->kind == NIB_RECORD_TEXT) return next_text(r, out, err);
    next_of_json(r, out);
    return NIB_OK;
}

nib_status nib_records_open(nib_ctx *ctx, const nib_records_options *o, nib_records **out,
                            nib_error *err)
{
    nib_records *r = nib_new(ctx, sizeof *r);
    nib_status status;

    if (!r) return no_memory(o->path, err);
    r->ctx = ctx;
    r->choose_columns = o->choose_columns;
    r->user = o->user;
    status = nib_record_files_find(ctx, o->path, o->config, o->split, &r->files, err);
    if (status) goto done;
    for (size_t i = 0; i < r->files.count; i++)
        r->where_bytes = nib_max(r->where_bytes, strlen(r->files.paths[i]) + 48);
    r->where = nib_alloc(ctx, r->where_bytes);
    r->field = o->field ? nib_strdup(ctx, o->field) : NULL;
    if (!r->where || (o->field && !r->field)) {
        status = no_memory(o->path, err);
        goto done;
    }
    status = open_file(r, err);
    if (status) goto done;
    *out = r;
    r = NULL; /* handed over */
done:
    nib_records_close(r);
    return status;
}

void nib_records_close(nib_records *r)
{
    if (!r) return;
    close_file(r);
    nib_record_files_free(r->ctx, &r->files);
    nib_free(r->ctx, r->where);
    nib_free(r->ctx, r->field);
    nib_free(r->ctx, r);
}

nib_status nib_records_next(nib_records *r, json_t **out, nib_error *err)
{
    json_t *record = NULL;
    nib_status status = NIB_OK;

    assert(!r->failed || r->can_go_on);
    while (!status && !record && (r->open || r->next_file < r->files.count)) {
        if (!r->open) status = open_file(r, err);
        if (!status) status = next_of_file(r, &record, err);
        if (!status && !record) close_file(r);
    }
    r->failed = status != NIB_OK;
    if (!status) *out = record;
    return status;
}

bool nib_records_can_go_on(const nib_records *r)
{
    return r->can_go_on;
}

const char *nib_records_where(const nib_records *r)
{
    return r->table ? nib_table_where(r->table) : r->where;
}

size_t nib_records_file_count(const nib_records *r)
{
    return r->files.count;
}

const char *nib_records_file(const nib_records *r, size_t i)
{
    assert(i < r->files.count);
    return r->files.paths[i];
}

bool nib_records_is_stream(const nib_records *r)
{
    return r->kind == NIB_RECORD_TEXT;
}
