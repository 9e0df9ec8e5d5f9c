/* test_records.c - every kind of data file through one door, folders with splits, what is
 * refused. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "format/records.h"
#include "test.h"

static char place[400];

/* "a/b/c.jsonl" below the case's directory, folders made on the way. */
static const char *put_bytes(const char *name, const char *text, size_t bytes)
{
    FILE *f;

    snprintf(place, sizeof place, "%s/%s", test_tmpdir(), name);
    for (char *slash = strchr(place + strlen(test_tmpdir()) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(place, 0700);
        *slash = '/';
    }
    f = fopen(place, "wb");
    if (!f || fwrite(text, 1, bytes, f) != bytes || fclose(f)) abort();
    return place;
}

static const char *put(const char *name, const char *text)
{
    return put_bytes(name, text, strlen(text));
}

/* Every record as "where|json" lines, with where below the case's directory; or the error. */
static const char *read_all(const char *path_below, const char *split, const char *field)
{
    static char text[8192];
    static nib_error err;
    char path[400];
    nib_records_options o = { .path = path, .split = split, .field = field };
    nib_records *r = NULL;
    size_t used = 0, top;
    nib_status status;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), path_below);
    top = strlen(test_tmpdir()) + 1;
    text[0] = 0;
    status = nib_records_open(test_ctx(), &o, &r, &err);
    while (!status) {
        json_t *record = NULL;
        char *line;

        status = nib_records_next(r, &record, &err);
        if (status || !record) break;
        line = json_dumps(record, JSON_COMPACT | JSON_ENCODE_ANY);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s|%s\n",
                                 nib_records_where(r) + top, line);
        free(line);
        json_decref(record);
    }
    nib_records_close(r);
    return status ? err.message : text;
}

#define CHECK_RECORDS(want, path, field) \
    do { \
        const char *got_ = read_all(path, NULL, field); \
        CHECK(!strcmp(got_, want), "%s", got_); \
    } while (0)
#define CHECK_REFUSED(want, path, split, field) \
    do { \
        const char *got_ = read_all(path, split, field); \
        CHECK(strstr(got_, want), "%s", got_); \
    } while (0)

static void test_kinds(void)
{
    put("a.jsonl", "\xef\xbb\xbf{\"a\": 1}\r\n\n  \t\n {\"a\": 2} \n[3]");
    CHECK_RECORDS("a.jsonl: line 1|{\"a\":1}\na.jsonl: line 4|{\"a\":2}\na.jsonl: line 5|[3]\n",
                  "a.jsonl", NULL);
    put("b.JSON", "[{\"a\": 1},\n {\"a\": 2}]");
    CHECK_RECORDS("b.JSON: record 1|{\"a\":1}\nb.JSON: record 2|{\"a\":2}\n", "b.JSON", NULL);
    put("c.json", "{\"version\": 1, \"data\": [{\"a\": 1}]}");
    CHECK_RECORDS("c.json: record 1|{\"a\":1}\n", "c.json", NULL);
    CHECK_RECORDS("c.json: record 1|{\"a\":1}\n", "c.json", "data");
    put("d.json", "{\"a\": 1}\n\n{\"a\": 2}\n");
    CHECK_RECORDS("d.json: line 1|{\"a\":1}\nd.json: line 3|{\"a\":2}\n", "d.json", NULL);
    put("e.json", "{\"text\":\n \"one\"}");
    CHECK_RECORDS("e.json|{\"text\":\"one\"}\n", "e.json", NULL);
    put("f.json", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}");
    CHECK_RECORDS("f.json|{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n", "f.json",
                  NULL);
    put("g.ndjson", "{\"a\": 1}");
    CHECK_RECORDS("g.ndjson: line 1|{\"a\":1}\n", "g.ndjson", NULL);
    put("h.csv", "a,b\n1,\n");
    CHECK_RECORDS("h.csv: line 2|{\"a\":\"1\",\"b\":null}\n", "h.csv", NULL);
    put("i.tsv", "a\tb\n1\tx,y\n");
    CHECK_RECORDS("i.tsv: line 2|{\"a\":\"1\",\"b\":\"x,y\"}\n", "i.tsv", NULL);
    put("j.txt", "one\ntwo\n");
    CHECK_RECORDS("j.txt|{\"text\":\"one\\ntwo\\n\"}\n", "j.txt", NULL);
    put("k.json", "[]");
    CHECK_RECORDS("", "k.json", NULL);
}

static void test_refused_files(void)
{
    CHECK_REFUSED("nothing.jsonl: No such file", "nothing.jsonl", NULL, NULL);
    put("a.jsonl", "");
    CHECK_REFUSED("a.jsonl: empty", "a.jsonl", NULL, NULL);
    put("b.jsonl", "{\"a\": 1}\n{\"a\": }\n");
    CHECK_REFUSED("b.jsonl: line 2, column 7: ", "b.jsonl", NULL, NULL);
    put("c.json", "[{\"a\": 1},\n {\"a\" 2}]");
    CHECK_REFUSED("c.json: line 2, column 7: ", "c.json", NULL, NULL);
    put("d.json", "{\"a\": [], \"b\": []}");
    CHECK_REFUSED("d.json: an object with 2 lists: name the field that holds the records", "d.json",
                  NULL, NULL);
    CHECK_REFUSED("d.json: there is no field 'c' to take the records from", "d.json", NULL, "c");
    put("e.json", "{\"a\": {}}");
    CHECK_REFUSED("e.json: no list is in the field 'a'", "e.json", NULL, "a");
    CHECK_REFUSED("b.jsonl: only a .json file has a field", "b.jsonl", NULL, "a");
    put("f.json", "[1] [2]");
    CHECK_REFUSED("f.json: line 1, column 5: ", "f.json", NULL, NULL);
    put_bytes("g.txt", "one\nok\xff", 7);
    CHECK_REFUSED("g.txt: line 2, byte 3 (0xff) is not UTF-8 text", "g.txt", NULL, NULL);
    put("h.jsonl.gz", "x");
    CHECK_REFUSED("h.jsonl.gz: a compressed file or archive: unpack it first", "h.jsonl.gz", NULL,
                  NULL);
    put("i.yaml", "x");
    CHECK_REFUSED("i.yaml: known are .jsonl, .ndjson, .json, .csv, .tsv, .parquet and .txt",
                  "i.yaml", NULL, NULL);
}

/* A line that is no JSON can be stepped over; a table with a bad row cannot. */
static void test_going_on(void)
{
    nib_records *r = NULL;
    json_t *record = NULL;
    nib_error err;

    REQUIRE_OK(nib_records_open(test_ctx(),
                                &(nib_records_options){ .path = put("a.jsonl", "{\n{\"a\":1}\n") },
                                &r, &err), err);
    CHECK(nib_records_next(r, &record, &err) == NIB_E_FORMAT && nib_records_can_go_on(r));
    REQUIRE_OK(nib_records_next(r, &record, &err), err);
    CHECK(json_object_size(record) == 1 && strstr(nib_records_where(r), "a.jsonl: line 2"), "%s",
          nib_records_where(r));
    json_decref(record);
    nib_records_close(r);
    REQUIRE_OK(nib_records_open(test_ctx(),
                                &(nib_records_options){ .path = put("a.csv", "a\n1,2\n3\n") }, &r,
                                &err), err);
    CHECK(nib_records_next(r, &record, &err) == NIB_E_FORMAT && !nib_records_can_go_on(r));
    nib_records_close(r);
}

/* Each entry: the split asked for and the files that datasets 5.0.1 reads, in its order by name
 * (get_data_patterns() on such a folder). */
static void check_split(const char *folder, const char *split, const char *want)
{
    char path[400], got[1000] = "";
    nib_records *r = NULL;
    nib_error err;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), folder);
    REQUIRE_OK(nib_records_open(test_ctx(), &(nib_records_options){ .path = path, .split = split },
                                &r, &err), err);
    for (size_t i = 0; i < nib_records_file_count(r); i++) {
        strncat(got, i ? " " : "", sizeof got - strlen(got) - 1);
        strncat(got, nib_records_file(r, i) + strlen(path) + 1, sizeof got - strlen(got) - 1);
    }
    CHECK(!strcmp(got, want), "%s, %s: %s", folder, split ? split : "no split", got);
    nib_records_close(r);
}

static void put_names(const char *folder, const char *const *names)
{
    for (; *names; names++) {
        char name[200];
        snprintf(name, sizeof name, "%s/%s", folder, *names);
        put(name, strstr(*names, ".csv") ? "a\n1\n" : "{\"a\": 1}\n");
    }
}

static void test_splits(void)
{
    put_names("files",
              (const char *[]){ "train.jsonl", "my_val-2.jsonl", "testing.jsonl", "README.md",
                                ".hidden.jsonl", "dataset_info.json", "trainer.jsonl", NULL });
    check_split("files", NULL, "train.jsonl");
    check_split("files", "train", "train.jsonl");
    check_split("files", "validation", "my_val-2.jsonl");
    check_split("files", "dev", "my_val-2.jsonl");
    check_split("files", "test", "testing.jsonl");
    check_split("files", "trainer", "trainer.jsonl");
    CHECK_REFUSED(
        "files: no file of the split extra: there are my_val-2.jsonl, testing.jsonl, train.jsonl, "
        "trainer.jsonl",
        "files", "extra", NULL);
    put_names("folders", (const char *[]){ "train/b.jsonl", "train/a.jsonl", "my-test/train.jsonl",
                                           "valid/x/y.jsonl", "__pycache__/train/z.jsonl", NULL });
    check_split("folders", NULL, "train/a.jsonl train/b.jsonl");
    check_split("folders", "test", "my-test/train.jsonl");
    check_split("folders", "validation", "valid/x/y.jsonl");
    put_names("shards", (const char *[]){ "data/train-00000-of-00002.csv",
                                          "data/train-00001-of-00002-abc.csv",
                                          "data/random-00000-of-00001.csv", "train.csv", NULL });
    check_split("shards", NULL, "data/train-00000-of-00002.csv data/train-00001-of-00002-abc.csv");
    check_split("shards", "random", "data/random-00000-of-00001.csv");
    put_names("plain", (const char *[]){ "b.jsonl", "a.json", "LICENSE.txt", "NOTES.txt", "c.txt",
                                         "x.yaml", NULL });
    check_split("plain", NULL, "a.json b.jsonl");
    check_split("plain", "train", "a.json b.jsonl");
    CHECK_REFUSED("plain: no file of the split test", "plain", "test", NULL);
    CHECK_RECORDS("plain/a.json|{\"a\":1}\nplain/b.jsonl: line 1|{\"a\":1}\n", "plain", NULL);
    put_names("no-train", (const char *[]){ "test.csv", NULL });
    CHECK_REFUSED("no-train: no file of the split train: there are test.csv", "no-train", NULL,
                  NULL);
    put_names("unknown", (const char *[]){ "a.bin", "b/c.yaml", NULL });
    CHECK_REFUSED(".txt; there are a.bin, b/c.yaml", "unknown", NULL, NULL);
    put_names("packed", (const char *[]){ "train.jsonl.gz", "README.md", NULL });
    CHECK_REFUSED("packed/train.jsonl.gz: a compressed file", "packed", NULL, NULL);
    put_names("empty", (const char *[]){ "README.md", NULL });
    CHECK_REFUSED("empty: a folder without a data file", "empty", NULL, NULL);
}

static void test_every_allocation_fails_once(void)
{
    char path[400];

    put_names("f", (const char *[]){ "train/a.jsonl", "train/b.json", "train/c.txt", "test/d.csv",
                                     NULL });
    snprintf(path, sizeof path, "%s/f", test_tmpdir());
    for (size_t at = 1;; at++) {
        test_heap heap = { .fail_at = at };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_records *r = NULL;
        json_t *record = NULL;
        nib_error err;
        size_t live = heap.live, count = 0;
        nib_status status = nib_records_open(ctx, &(nib_records_options){ .path = path }, &r, &err);

        while (!status) {
            status = nib_records_next(r, &record, &err);
            if (status || !record) break;
            count++;
            json_decref(record);
        }
        nib_records_close(r);
        CHECK(heap.live == live, "allocation %zu: %zu blocks are left", at, heap.live - live);
        CHECK(status == NIB_OK || status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
        CHECK(status || count == 2, "%zu records", count);
        test_ctx_release(ctx);
        if (!status) break;
    }
}

static const test_case cases[] = {
    { "kinds", test_kinds },
    { "refused files", test_refused_files },
    { "going on", test_going_on },
    { "splits", test_splits },
    { "every allocation fails once", test_every_allocation_fails_once },
};

int main(void) { return test_main("test_records", cases, NIB_COUNT(cases)); }
