/* csv.c - a row is split into fields first, all their text in one buffer; a column's name and
 * field then become a member of the record. */
#include "format/csv.h"

enum {
    MOST_COLUMNS = 65536,
    FIELD_COST = 64,             /* of a record's limit: what an empty member takes in memory */
    RELEASE_EVERY = 16 << 20,    /* bytes read before their pages are given back */
};

typedef struct field {
    size_t begin, bytes; /* in c->text */
} field;

struct nib_csv {
    const nib_table_source *source;
    nib_ctx *ctx;
    char separator;
    size_t at, released; /* offsets in the file */
    uint64_t line;       /* the line that offset `at` is in */

    char *text; /* the row's fields one after another, unquoted */
    size_t text_bytes, text_room;
    field *fields;
    size_t field_count, field_room;

    char **names; /* [columns] */
    bool *unused;
    size_t columns;
};

static nib_status no_memory(const nib_csv *c, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: line %" PRIu64 ": out of memory", c->source->name,
                    c->line);
}

static bool at_end(const nib_csv *c)
{
    return c->at == c->source->bytes;
}

static bool is_line_end(char byte)
{
    return byte == '\n' || byte == '\r';
}

/* Steps over LF, CRLF or CR. */
static void end_line(nib_csv *c)
{
    const uint8_t *d = c->source->data;

    if (d[c->at] == '\r' && c->source->bytes - c->at > 1 && d[c->at + 1] == '\n') c->at++;
    c->at++;
    c->line++;
}

/* Whether the rest of the line is only spaces and tabs (the separator is neither). */
static bool line_is_blank(const nib_csv *c)
{
    for (size_t i = c->at; i < c->source->bytes; i++) {
        char byte = (char)c->source->data[i];

        if (is_line_end(byte)) return true;
        if (byte == c->separator || (byte != ' ' && byte != '\t')) return false;
    }
    return true;
}

/* Adds file bytes [begin, end) to the row's text. */
static nib_status take(nib_csv *c, size_t begin, size_t end, nib_error *err)
{
    size_t bytes = end - begin;

    if (bytes > NIB_TABLE_RECORD_BYTES - c->text_bytes)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: line %" PRIu64 ": the row is longer than %d bytes: is a "
                        "quote not closed?",
                        c->source->name, c->line, (int)NIB_TABLE_RECORD_BYTES);
    if (!nib_grow(c->ctx, &c->text, &c->text_room, c->text_bytes + bytes, 1))
        return no_memory(c, err);
    if (bytes) memcpy(c->text + c->text_bytes, c->source->data + begin, bytes);
    c->text_bytes += bytes;
    return NIB_OK;
}

/* After the opening quote: up to and past the closing one. */
static nib_status read_quoted(nib_csv *c, nib_error *err)
{
    const uint8_t *d = c->source->data;
    uint64_t opened = c->line;
    size_t begin = c->at;

    for (;;) {
        if (at_end(c))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: line %" PRIu64 ": the quote that opens field %zu is "
                            "never closed",
                            c->source->name, opened, c->field_count + 1);
        if (d[c->at] == '"') {
            bool doubled = c->source->bytes - c->at > 1 && d[c->at + 1] == '"';
            nib_status status = take(c, begin, c->at + doubled, err);

            c->at += 1 + (size_t)doubled;
            begin = c->at;
            if (status || !doubled) return status;
        } else if (is_line_end((char)d[c->at])) {
            /* refuses */
            if (c->at - begin > NIB_TABLE_RECORD_BYTES) return take(c, begin, c->at, err);
            end_line(c);
        } else {
            c->at++;
        }
    }
}

/* One field, up to the separator or the end of the line. */
static nib_status read_field(nib_csv *c, nib_error *err)
{
    const uint8_t *d = c->source->data;
    size_t text_begin = c->text_bytes, begin;
    bool quoted = !at_end(c) && d[c->at] == '"';
    nib_status status;

    if (quoted) {
        c->at++;
        status = read_quoted(c, err);
        if (status) return status;
    }
    begin = c->at;
    while (!at_end(c) && (char)d[c->at] != c->separator && !is_line_end((char)d[c->at])) {
        if (quoted && d[c->at] == '"')
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: line %" PRIu64 ": field %zu has a quote after its closing "
                            "quote: quotes inside a quoted field are doubled",
                            c->source->name, c->line, c->field_count + 1);
        c->at++;
    }
    status = take(c, begin, c->at, err);
    if (status) return status;
    if (c->field_count == MOST_COLUMNS)
        return nib_fail(err, NIB_E_FORMAT, "%s: line %" PRIu64 ": more than %d fields",
                        c->source->name, c->line, MOST_COLUMNS);
    if (!nib_grow(c->ctx, &c->fields, &c->field_room, c->field_count + 1, sizeof *c->fields))
        return no_memory(c, err);
    c->fields[c->field_count++] = (field){ text_begin, c->text_bytes - text_begin };
    return NIB_OK;
}

/* The next row that is not blank into c->fields; *line 0 at the end of the file. */
static nib_status read_row(nib_csv *c, uint64_t *line, nib_error *err)
{
    nib_status status;

    c->text_bytes = c->field_count = 0;
    while (!at_end(c) && line_is_blank(c)) {
        while (!at_end(c) && !is_line_end((char)c->source->data[c->at])) c->at++;
        if (!at_end(c)) end_line(c);
    }
    *line = at_end(c) ? 0 : c->line;
    if (at_end(c)) return NIB_OK;
    for (;;) {
        status = read_field(c, err);
        if (status) return status;
        if (at_end(c)) break;
        if (is_line_end((char)c->source->data[c->at])) {
            end_line(c);
            break;
        }
        c->at++; /* the separator */
    }
    if (c->at - c->released >= RELEASE_EVERY) {
        nib_table_release(c->source, c->released, c->at);
        c->released = c->at;
    }
    return NIB_OK;
}

/* Text of field i must be UTF-8 without NUL.  The line is the row's: a byte's own would have to
 * be counted again. */
static nib_status check_text(const nib_csv *c, size_t i, uint64_t line, nib_error *err)
{
    const uint8_t *text = c->text ? (const uint8_t *)c->text + c->fields[i].begin : NULL;
    size_t bytes = c->fields[i].bytes, bad = nib_text_invalid(text, bytes);

    if (bad == bytes) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: line %" PRIu64 ": field %zu, byte %zu (0x%02x) is not UTF-8 text",
                    c->source->name, line, i + 1, bad + 1, text[bad]);
}

static nib_status check_names_differ(const nib_csv *c, uint64_t line, nib_error *err)
{
    json_t *seen = json_object();
    nib_status status = NIB_OK;

    for (size_t i = 0; i < c->columns && !status; i++) {
        if (json_object_get(seen, c->names[i]))
            status = nib_fail(err, NIB_E_FORMAT, "%s: line %" PRIu64 ": two columns are named %s",
                              c->source->name, line, c->names[i]);
        else if (json_object_set_new(seen, c->names[i], json_true()))
            status = no_memory(c, err);
    }
    json_decref(seen);
    return status;
}

static nib_status read_header(nib_csv *c, nib_error *err)
{
    uint64_t line;
    nib_status status;

    if (c->source->bytes >= 3 && !memcmp(c->source->data, "\xef\xbb\xbf", 3)) c->at = 3;
    status = read_row(c, &line, err);
    if (status) return status;
    if (!line)
        return nib_fail(err, NIB_E_FORMAT, "%s: no header row: the file is empty", c->source->name);

    c->names = nib_new_array(c->ctx, c->field_count, sizeof *c->names);
    c->unused = nib_new_array(c->ctx, c->field_count, sizeof *c->unused);
    if (!c->names || !c->unused) return no_memory(c, err);
    c->columns = c->field_count;
    for (size_t i = 0; i < c->columns; i++) {
        status = check_text(c, i, line, err);
        if (status) return status;
        c->names[i] = c->fields[i].bytes
                          ? nib_strndup(c->ctx, c->text + c->fields[i].begin, c->fields[i].bytes)
                          : nib_sprintf(c->ctx, "Unnamed: %zu", i);
        if (!c->names[i]) return no_memory(c, err);
    }
    return check_names_differ(c, line, err);
}

nib_status nib_csv_open(const nib_table_source *source, char separator, nib_csv **out,
                        nib_error *err)
{
    nib_csv *c = nib_new(source->ctx, sizeof *c);
    nib_status status;

    if (!c) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", source->name);
    c->source = source;
    c->ctx = source->ctx;
    c->separator = separator;
    c->line = 1;
    status = read_header(c, err);
    if (status) goto done;
    *out = c;
    c = NULL; /* handed over */
done:
    nib_csv_close(c);
    return status;
}

void nib_csv_close(nib_csv *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->columns; i++) nib_free(c->ctx, c->names[i]);
    nib_free(c->ctx, c->names);
    nib_free(c->ctx, c->unused);
    nib_free(c->ctx, c->fields);
    nib_free(c->ctx, c->text);
    nib_free(c->ctx, c);
}

size_t nib_csv_column_count(const nib_csv *c)
{
    return c->columns;
}

const char *nib_csv_column_name(const nib_csv *c, size_t i)
{
    return c->names[i];
}

void nib_csv_use_column(nib_csv *c, size_t i, bool use)
{
    c->unused[i] = !use;
}

nib_status nib_csv_next(nib_csv *c, json_t **out, uint64_t *line, nib_error *err)
{
    json_t *record = NULL;
    nib_status status = read_row(c, line, err);

    if (status) goto done;
    if (!*line) goto finish;
    if (c->field_count != c->columns) {
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: line %" PRIu64 ": %zu fields, but the header names %zu columns",
                          c->source->name, *line, c->field_count, c->columns);
        goto done;
    }
    if (c->text_bytes + c->columns * FIELD_COST > NIB_TABLE_RECORD_BYTES) {
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: line %" PRIu64 ": the record is larger than %d bytes",
                          c->source->name, *line, (int)NIB_TABLE_RECORD_BYTES);
        goto done;
    }
    record = json_object();
    for (size_t i = 0; i < c->columns; i++) {
        json_t *value;

        if (c->unused[i]) continue;
        status = check_text(c, i, *line, err);
        if (status) goto done;
        value = c->fields[i].bytes
                    ? json_stringn_nocheck(c->text + c->fields[i].begin, c->fields[i].bytes)
                    : json_null();
        if (json_object_set_new_nocheck(record, c->names[i], value)) {
            status = no_memory(c, err);
            goto done;
        }
    }
finish:
    *out = record;
    record = NULL; /* handed over */
done:
    json_decref(record);
    return status;
}
