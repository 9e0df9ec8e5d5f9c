/* test_records.c - every kind of data file through one door, folders with splits, what is
 * refused. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

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
    CHECK_REFUSED("f.json: line 1, column 5: more text follows the value at '['", "f.json",
                  NULL, NULL);
    put_bytes("g.txt", "one\nok\xff", 7);
    CHECK_REFUSED("g.txt: line 2, byte 3 (0xff) is not UTF-8 text", "g.txt", NULL, NULL);
    put("h.jsonl.bz2", "x");
    CHECK_REFUSED("h.jsonl.bz2: a compressed file or archive: unpack it first", "h.jsonl.bz2", NULL,
                  NULL);
    put("h.parquet.gz", "x");
    CHECK_REFUSED("h.parquet.gz: a compressed file or archive: unpack it first",
                  "h.parquet.gz", NULL, NULL);
    put("i.yaml", "x");
    CHECK_REFUSED("i.yaml: known are .jsonl, .ndjson, .json, .csv, .tsv, "
                  ".txt (each also as .gz and .zst) and .parquet", "i.yaml", NULL, NULL);
    /* In plain words, whatever the library says. */
    put("j.jsonl", "{\"a\": 1}\n{'a': 1}\n");
    CHECK_REFUSED("j.jsonl: line 2, column 2: single quotes, where JSON has double quotes",
                  "j.jsonl", NULL, NULL);
    put("k.jsonl", "{\"a\": 1}\n{\"a\": 1\n");
    CHECK_REFUSED("k.jsonl: line 2, column 7: the text ends before the value does", "k.jsonl",
                  NULL, NULL);
    put("l.jsonl", "{\"a\": 1, \"a\": 2}\n");
    CHECK_REFUSED("the same key a second time at '\"a\"'", "l.jsonl", NULL, NULL);
    put("m.jsonl", "<!DOCTYPE html>\n");
    CHECK_REFUSED("m.jsonl: line 1, column 1: not JSON; it may be a page of HTML", "m.jsonl",
                  NULL, NULL);
    put("p.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 1\n");
    CHECK_REFUSED("p.csv: a git-lfs pointer, not the data itself", "p.csv", NULL, NULL);
    put("p.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 1\n");
    CHECK_REFUSED("p.parquet: a git-lfs pointer", "p.parquet", NULL, NULL);
    put("n.jsonl", "{\"a\": Infinity}\n");
    CHECK_REFUSED("a number that JSON does not have", "n.jsonl", NULL, NULL);
}

/* What `datasets` 5.0.1 reads from a file called .jsonl, with the records it gives. */
static void test_loose_json(void)
{
    put("a.jsonl", "[\n {\"a\": 1},\n {\"a\": 2}\n]");
    CHECK_RECORDS("a.jsonl: record 1|{\"a\":1}\na.jsonl: record 2|{\"a\":2}\n", "a.jsonl", NULL);
    put("b.jsonl", "\xef\xbb\xbf\n{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}{\"a\": 3}");
    CHECK_RECORDS("b.jsonl: line 2|{\"a\":1}\nb.jsonl: line 5|{\"a\":2}\n"
                  "b.jsonl: line 7|{\"a\":3}\n", "b.jsonl", NULL);
    CHECK_RECORDS("b.jsonl: line 2|{\"a\":1}\nb.jsonl: line 5|{\"a\":2}\n"
                  "b.jsonl: line 7|{\"a\":3}\n", "b.jsonl", NULL);
    put("c.jsonl", "{\"a\": 1} {\"a\": 2}\n{\"a\": 3}{\"a\": 4}\n");
    CHECK_RECORDS("c.jsonl: line 1|{\"a\":1}\nc.jsonl: line 1|{\"a\":2}\n"
                  "c.jsonl: line 2|{\"a\":3}\nc.jsonl: line 2|{\"a\":4}\n", "c.jsonl", NULL);
    put("d.jsonl", "{\"a\": NaN, \"b\": \"NaN \\\" NaN\"}\n{\"b\": [NaN, 1]}\n");
    CHECK_RECORDS("d.jsonl: line 1|{\"a\":null,\"b\":\"NaN \\\" NaN\"}\n"
                  "d.jsonl: line 2|{\"b\":[null,1]}\n", "d.jsonl", NULL);
    put("e.jsonl", "{\"a\": \"x\\u0000y\"}\n");
    CHECK_RECORDS("e.jsonl: line 1|{\"a\":\"x\\u0000y\"}\n", "e.jsonl", NULL);
    put("f.json", "{\n\"a\": NaN}\n{\n\"a\": 2}\n");
    CHECK_RECORDS("f.json: line 1|{\"a\":null}\nf.json: line 3|{\"a\":2}\n", "f.json", NULL);
    put("g.jsonl", "{\n\"a\": 1}\n{\n\"a\" 2}\n");
    CHECK_REFUSED("g.jsonl: record from line 3: line 2, column 5: not JSON", "g.jsonl", NULL, NULL);
    put("h.txt", "\xef\xbb\xbfone\n");
    CHECK_RECORDS("h.txt|{\"text\":\"one\\n\"}\n", "h.txt", NULL);
}

/* Packed with gzip, in one member and in two; cut short and damaged. */
static void put_gzip(const char *name, const char *text, size_t members)
{
    uint8_t packed[4096];
    size_t used = 0;

    for (size_t i = 0; i < members; i++) {
        z_stream z = { .next_in = (Bytef *)(uintptr_t)text, .avail_in = (unsigned)strlen(text) };

        if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
        z.next_out = packed + used;
        z.avail_out = (unsigned)(sizeof packed - used);
        CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
        used = sizeof packed - z.avail_out;
        deflateEnd(&z);
    }
    put_bytes(name, (const char *)packed, used);
    put_bytes("cut.jsonl.gz", (const char *)packed, used - 9);
    packed[14] ^= 0x40;
    put_bytes("damaged.jsonl.gz", (const char *)packed, used);
}

static void test_gzip(void)
{
    put_gzip("a.jsonl.gz", "{\"a\": 1}\n", 2);
    CHECK_RECORDS("a.jsonl.gz: line 1|{\"a\":1}\na.jsonl.gz: line 2|{\"a\":1}\n",
                  "a.jsonl.gz", NULL);
    put_gzip("b.json.gz", "[{\"a\": 1}]", 1);
    CHECK_RECORDS("b.json.gz: record 1|{\"a\":1}\n", "b.json.gz", NULL);
    put_gzip("c.CSV.GZ", "a\n1\n", 1);
    CHECK_RECORDS("c.CSV.GZ: line 2|{\"a\":\"1\"}\n", "c.CSV.GZ", NULL);
    put_gzip("d.jsonl", "{\"a\": 1}\n", 1); /* whatever its name */
    CHECK_RECORDS("d.jsonl: line 1|{\"a\":1}\n", "d.jsonl", NULL);
    CHECK_REFUSED("cut.jsonl.gz: the gzip data ends in the middle", "cut.jsonl.gz", NULL, NULL);
    CHECK_REFUSED("damaged.jsonl.gz: ", "damaged.jsonl.gz", NULL, NULL);
    put_gzip("e.jsonl.gz", "", 1);
    CHECK_REFUSED("e.jsonl.gz: empty", "e.jsonl.gz", NULL, NULL);
}

/* Packed with Zstandard, in one frame and in two; cut short and damaged. */
static void put_zstd(const char *name, const char *text, size_t frames)
{
    char packed[4096];
    size_t used = 0;

    for (size_t i = 0; i < frames; i++)
        used += ZSTD_compress(packed + used, sizeof packed - used, text, strlen(text), 3);
    put_bytes(name, packed, used);
    put_bytes("cut.jsonl.zst", packed, used - 3);
    packed[5] ^= 0x55;
    packed[used / 2] ^= 0x40;
    put_bytes("damaged.jsonl.zst", packed, used);
}

static void test_zstd(void)
{
    put_zstd("a.jsonl.zst", "{\"a\": 1}\n", 2);
    CHECK_RECORDS("a.jsonl.zst: line 1|{\"a\":1}\na.jsonl.zst: line 2|{\"a\":1}\n",
                  "a.jsonl.zst", NULL);
    CHECK_REFUSED("cut.jsonl.zst: the Zstandard data ends in the middle", "cut.jsonl.zst", NULL,
                  NULL);
    CHECK_REFUSED("damaged.jsonl.zst: damaged Zstandard data at byte", "damaged.jsonl.zst", NULL,
                  NULL);
    put_zstd("c.CSV.ZST", "a\n1\n", 1);
    CHECK_RECORDS("c.CSV.ZST: line 2|{\"a\":\"1\"}\n", "c.CSV.ZST", NULL);
    put_zstd("e.jsonl.zst", "", 1);
    CHECK_REFUSED("e.jsonl.zst: empty", "e.jsonl.zst", NULL, NULL);
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
    CHECK_REFUSED(".parquet; there are a.bin, b/c.yaml", "unknown", NULL, NULL);
    put_names("packed", (const char *[]){ "train.jsonl.xz", "README.md", NULL });
    CHECK_REFUSED("packed/train.jsonl.xz: a compressed file", "packed", NULL, NULL);
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
    { "kinds", test_kinds }, { "loose_json", test_loose_json },
    { "gzip", test_gzip }, { "zstd", test_zstd },
    { "refused files", test_refused_files },
    { "continuing", test_going_on },
    { "splits", test_splits },
    { "every allocation fails once", test_every_allocation_fails_once },
};

int main(void) { return test_main("test_records", cases, NIB_COUNT(cases)); }
