/* test_csv.c - csv and tsv give what `datasets` reads, and refuse what it would spoil. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>

#include "format/csv.h"
#include "format/json.h"
#include "format/table.h"
#include "test.h"

/* The records of a file against the lines of FILE.jsonl. */
static void check_golden(nib_ctx *ctx, const char *name)
{
    char path[300], want_path[320], *want = NULL, *line, *rest;
    size_t want_bytes, count = 0;
    nib_table_kind kind;
    nib_table *t = NULL;
    nib_error err;

    snprintf(path, sizeof path, "tests/golden/containers/%s", name);
    snprintf(want_path, sizeof want_path, "%s.jsonl", path);
    REQUIRE(nib_table_kind_of(path, &kind), "%s", name);
    REQUIRE_OK(nib_file_read(ctx, test_data(want_path), 1 << 20, &want, &want_bytes, &err), err);
    REQUIRE_OK(nib_table_open(ctx, test_data(path), kind, &t, &err), err);
    for (line = strtok_r(want, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *expected = NULL, *got = NULL;

        count++;
        REQUIRE_OK(nib_json_parse(line, strlen(line), want_path, 0, &expected, &err), err);
        REQUIRE_OK(nib_table_next(t, &got, &err), err);
        REQUIRE(got, "%s: ended before record %zu", name, count);
        CHECK(json_equal(expected, got), "%s, record %zu: expected %s", name, count, line);
        json_decref(expected);
        json_decref(got);
    }
    CHECK(count > 1, "%s", name);
    for (int again = 0; again < 2; again++) {
        json_t *after = json_true();
        REQUIRE_OK(nib_table_next(t, &after, &err), err);
        CHECK(after == NULL, "%s: more than %zu records", name, count);
    }
    nib_table_close(t);
    nib_free(ctx, want);
}

/* tests/golden/make/csv_golden.py: datasets 5.0.1. */
static void test_equals_datasets(void)
{
    static const char *const names[] = { "excel.csv", "unix-bom.csv", "tabs.tsv", "blank-lines.csv",
                                         "one-column.csv", "index-old-mac.csv" };

    for (size_t i = 0; i < NIB_COUNT(names); i++) check_golden(test_ctx(), names[i]);
}

static void test_kind_of(void)
{
    nib_table_kind kind;

    CHECK(nib_table_kind_of("a/b.CSV", &kind) && kind == NIB_TABLE_CSV);
    CHECK(nib_table_kind_of("x.tsv", &kind) && kind == NIB_TABLE_TSV);
    CHECK(!nib_table_kind_of("csv", &kind) && !nib_table_kind_of("x.csv.gz", &kind));
}

/* Reads everything; the error's message, or NULL. */
static const char *refusal(const char *text, size_t bytes)
{
    static nib_error err;
    nib_table *t = NULL;
    json_t *record = NULL;
    nib_status status = nib_table_open_memory(test_ctx(), text, bytes, "d.csv", NIB_TABLE_CSV, &t,
                                              &err);

    while (!status) {
        status = nib_table_next(t, &record, &err);
        if (!status && !record) break;
        if (!status) json_decref(record);
    }
    nib_table_close(t);
    return status ? err.message : NULL;
}

static void test_refuses(void)
{
#define CASE(text, message) { text, sizeof text - 1, message }
    static const struct { const char *text; size_t bytes; const char *message;
    } cases[] = {
        CASE("", "d.csv: no header row"),
        CASE("\xef\xbb\xbf\n\n", "d.csv: no header row"),
        CASE("a,b\n1,2\n\n1\n", "d.csv: line 4: 1 fields, but the header names 2 columns"),
        CASE("a,b\n\"x\ny\",2\n1,2,3\n", "d.csv: line 4: 3 fields, but the header names 2 columns"),
        CASE("a,b\nx,\"y\nz\n", "d.csv: line 2: the quote that opens field 2 is never closed"),
        CASE("a,b\n\"x\"y\"z,w\n", "d.csv: line 2: field 1 has a quote after its closing quote"),
        CASE("a,b,a\n", "d.csv: line 1: two columns are named a"),
        CASE("a\nok\nno\xff\n", "d.csv: line 3: field 1, byte 3 (0xff) is not UTF-8"),
        CASE("a\n\xed\xa0\x80\n",
             "d.csv: line 2: field 1, byte 1 (0xed) is not UTF-8"), /* surrogate */
        CASE("a\nx\0y\n", "d.csv: line 2: field 1, byte 2 (0x00) is not UTF-8"),
        CASE("a\xc3\nx\n", "d.csv: line 1: field 1, byte 2 (0xc3) is not UTF-8"),
    };
#undef CASE

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        const char *message = refusal(cases[i].text, cases[i].bytes);
        CHECK(message && strstr(message, cases[i].message), "case %zu: %s", i,
              message ? message : "read");
    }
    CHECK(refusal("a\nx\n", 4) == NULL);
}

/* A quote left open in a large file is not taken as one huge field. */
static void test_record_limit(void)
{
    size_t bytes = NIB_TABLE_RECORD_BYTES + 100;
    char *text = malloc(bytes);
    const char *message;

    REQUIRE(text);
    memset(text, 'x', bytes);
    memcpy(text, "a\n\"", 3);
    text[bytes - 2] = '"';
    text[bytes - 1] = '\n';
    message = refusal(text, bytes);
    CHECK(message && strstr(message, "line 2: the row is longer than"), "%s",
          message ? message : "read");
    free(text);
}

static void test_where_and_columns(void)
{
    static const char text[] = "a,b,c\n\n1,\"x\ny\",3\n4,5,6\n";
    nib_table *t = NULL;
    json_t *r = NULL;
    nib_error err;

    REQUIRE_OK(
        nib_table_open_memory(test_ctx(), text, sizeof text - 1, "d.csv", NIB_TABLE_CSV, &t, &err),
        err);
    CHECK(nib_table_column_count(t) == 3 && !strcmp(nib_table_column_name(t, 2), "c"));
    nib_table_use_column(t, 0, false);
    REQUIRE_OK(nib_table_next(t, &r, &err), err);
    CHECK(!strcmp(nib_table_where(t), "d.csv: line 3"), "%s", nib_table_where(t));
    CHECK(json_object_size(r) == 2 && !json_object_get(r, "a"));
    json_decref(r);
    REQUIRE_OK(nib_table_next(t, &r, &err), err);
    CHECK(!strcmp(nib_table_where(t), "d.csv: line 5"), "%s", nib_table_where(t));
    json_decref(r);
    nib_table_close(t);
}

static void test_every_allocation_fails_once(void)
{
    for (size_t at = 1;; at++) {
        test_heap heap = { .fail_at = at };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_table *t = NULL;
        json_t *record = NULL;
        nib_error err;
        nib_status status;

        status = nib_table_open_memory(ctx, "a,b\nx,y\n", 8, "d.csv", NIB_TABLE_CSV, &t, &err);
        if (!status) status = nib_table_next(t, &record, &err);
        json_decref(record);
        nib_table_close(t);
        CHECK(heap.live == 0, "allocation %zu: %zu not given back", at, heap.live);
        test_ctx_release(ctx);
        if (!status) {
            CHECK(at > 5);
            break;
        }
        CHECK(status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "csv equals datasets", test_equals_datasets },
        { "table kinds", test_kind_of },
        { "csv refuses", test_refuses },
        { "csv record limit", test_record_limit },
        { "csv where and columns", test_where_and_columns },
        { "csv: every allocation fails once", test_every_allocation_fails_once },
    };
    return test_main("test_csv", cases, NIB_COUNT(cases));
}
