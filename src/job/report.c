/* report.c - see report.h. */
#include "job/report.h"

#include <stdio.h>

#include "format/json.h"

typedef struct sheet {
    nib_ctx *ctx;
    char *text;
    size_t bytes, capacity;
    bool failed; /* out of memory; reported once, at the end */
} sheet;

static void print(sheet *s, const char *format, ...) NIB_PRINTF(2, 3);
static void print(sheet *s, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || s->failed ||
        !nib_grow(s->ctx, &s->text, &s->capacity, s->bytes + (size_t)n + 1, 1)) {
        s->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf(s->text + s->bytes, (size_t)n + 1, format, args);
    va_end(args);
    s->bytes += (size_t)n;
}

static void print_size(sheet *s, double bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < NIB_COUNT(units)) {
        bytes /= 1024;
        unit++;
    }
    if (unit) print(s, " (%.2f %s)", bytes, units[unit]);
}

/* Numbers, words and lists of them; a list in a list, or an object, only as JSON. */
static void print_plain(sheet *s, const json_t *v)
{
    char *dumped;

    switch (json_typeof(v)) {
    case JSON_STRING: print(s, "%s", json_string_value(v)); break;
    case JSON_INTEGER: print(s, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: print(s, "%g", json_real_value(v)); break;
    case JSON_TRUE: print(s, "yes"); break;
    case JSON_FALSE: print(s, "no"); break;
    case JSON_NULL: print(s, "none"); break;
    default:
        dumped = nib_json_dump(s->ctx, v, 0);
        if (dumped) print(s, "%s", dumped);
        else s->failed = true;
        nib_free(s->ctx, dumped);
        break;
    }
}

static void print_value(sheet *s, const json_t *v)
{
    const char *key;
    size_t i = 0;
    json_t *item;

    if (json_is_array(v)) {
        json_array_foreach(v, i, item) {
            if (i) print(s, ", ");
            print_plain(s, item);
        }
    } else if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, item) {
            print(s, "%s%s ", i++ ? ", " : "", key);
            print_plain(s, item);
        }
    } else {
        print_plain(s, v);
    }
}

/* Columns as wide as their widest value. */
static void print_table(sheet *s, const json_t *rows)
{
    size_t i, width = 0;
    const char *key;
    json_t *row, *cell;

    json_array_foreach(rows, i, row)
        width = nib_max(width, json_string_length(json_object_get(row, "name")));
    json_array_foreach(rows, i, row) {
        bool first = true;
        print(s, "  ");
        json_object_foreach(row, key, cell) {
            if (first && json_is_string(cell)) {
                print(s, "%-*s", (int)nib_min(width, 200), json_string_value(cell));
            } else {
                print(s, "  ");
                print_plain(s, cell);
            }
            first = false;
        }
        print(s, "\n");
    }
}

static void print_report(sheet *s, const json_t *report)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)report, key, v) {
        size_t n = strlen(key);
        bool size = json_is_integer(v) && n >= 5 && strcmp(key + n - 5, "bytes") == 0;

        for (size_t i = 0; i < n; i++) print(s, "%c", key[i] == '_' ? ' ' : key[i]);
        print(s, ":");
        if (json_is_array(v) && json_is_object(json_array_get(v, 0))) {
            print(s, "\n");
            print_table(s, v);
            continue;
        }
        print(s, " ");
        print_value(s, v);
        if (size) print_size(s, (double)json_integer_value(v));
        print(s, "\n");
    }
}

nib_status nib_report_make(nib_ctx *ctx, const json_t *report, nib_report_form form, char **out,
                           nib_error *err)
{
    sheet s = { .ctx = ctx };
    char *dumped;

    if (form == NIB_REPORT_JSON) {
        dumped = nib_json_dump(ctx, report, JSON_INDENT(2));
        if (dumped) print(&s, "%s\n", dumped);
        else s.failed = true;
        nib_free(ctx, dumped);
    } else {
        print_report(&s, report);
    }
    if (s.failed || !s.text) {
        nib_free(ctx, s.text);
        return nib_fail(err, NIB_E_NOMEM, "report: out of memory");
    }
    *out = s.text;
    return NIB_OK;
}

void nib_report_free(nib_ctx *ctx, char *report) { nib_free(ctx, report); }
