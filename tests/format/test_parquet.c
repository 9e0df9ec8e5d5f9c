/* test_parquet.c - Parquet gives what pyarrow reads, and a broken file is refused, whatever
 * broke. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "format/json.h"
#include "format/parquet_bits.h"
#include "format/parquet_unpack.h"
#include "format/snappy.h"
#include "format/table.h"
#include "test.h"

static nib_ctx *ctx; /* of the case at hand */

static const char *golden_path(const char *name)
{
    static char path[400];

    snprintf(path, sizeof path, "tests/golden/containers/%s", name);
    return test_data(path);
}

/* The records of a file against the lines of FILE.jsonl. */
static void check_golden(const char *name)
{
    char lines[300], *want = NULL, *line, *rest;
    size_t want_bytes, count = 0;
    nib_table *t = NULL;
    nib_error err;

    snprintf(lines, sizeof lines, "%s.jsonl", name);
    REQUIRE_OK(nib_file_read(ctx, golden_path(lines), 1 << 20, &want, &want_bytes, &err), err);
    REQUIRE_OK(nib_table_open(ctx, golden_path(name), NIB_TABLE_PARQUET, &t, &err), err);
    for (line = strtok_r(want, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *expected = NULL, *got = NULL;
        char *text;

        count++;
        REQUIRE_OK(nib_json_parse(line, strlen(line), lines, 0, &expected, &err), err);
        REQUIRE_OK(nib_table_next(t, &got, &err), err);
        REQUIRE(got, "%s: ended before record %zu", name, count);
        text = json_dumps(got, JSON_COMPACT);
        CHECK(json_equal(expected, got), "%s, record %zu: %s, expected %s", name, count, text,
              line);
        free(text);
        json_decref(expected);
        json_decref(got);
    }
    for (int again = 0; again < 2; again++) {
        json_t *after = json_true();
        REQUIRE_OK(nib_table_next(t, &after, &err), err);
        CHECK(after == NULL, "%s: more than %zu records", name, count);
    }
    nib_table_close(t);
    nib_free(ctx, want);
}

/* tests/golden/make/parquet_golden.py: pyarrow 26.0.1, datasets 5.0.1. */
static void test_equals_pyarrow(void)
{
    static const char *const names[] = {
        "snappy-v1.parquet",     "none-v1-plain.parquet", "gzip-v2.parquet",
        "zstd-v2-plain.parquet", "none-v2.parquet",       "mixed-checksums.parquet",
        "groups-pages.parquet",  "nested.parquet",        "nested-old-names.parquet",
        "maps.parquet",          "types.parquet",         "int96.parquet",
        "deltas.parquet",        "empty.parquet",         "datasets.parquet",
        "old-lists.parquet",     "datasets-json.parquet", "brotli.parquet",
        "lz4-raw.parquet",
    };

    ctx = test_ctx();
    for (size_t i = 0; i < NIB_COUNT(names); i++) check_golden(names[i]);
}

/* Reads everything, or only the column `only`; the error's message, or NULL.  *rows: how many
 * came. */
static const char *read_all(const void *data, size_t bytes, const char *only, size_t *rows)
{
    static nib_error err;
    nib_table *t = NULL;
    nib_status status = nib_table_open_memory(ctx, data, bytes, "d.parquet", NIB_TABLE_PARQUET, &t,
                                              &err);

    *rows = 0;
    for (size_t i = 0; !status && only && i < nib_table_column_count(t); i++)
        nib_table_use_column(t, i, !strcmp(nib_table_column_name(t, i), only));
    while (!status) {
        json_t *record = NULL;

        status = nib_table_next(t, &record, &err);
        if (status || !record) break;
        ++*rows;
        json_decref(record);
    }
    nib_table_close(t);
    return status ? err.message : NULL;
}

static char *load(const char *name, size_t *bytes)
{
    char *data = NULL, *guarded;
    nib_error err;

    if (nib_file_read(ctx, golden_path(name), 1 << 20, &data, bytes, &err)) abort();
    guarded = test_guarded(*bytes);
    memcpy(guarded, data, *bytes);
    nib_free(ctx, data);
    return guarded;
}

static void check_refused(const char *name, const char *only, const char *want)
{
    size_t bytes, rows;
    char *data = load(name, &bytes);
    const char *message = read_all(data, bytes, only, &rows);

    CHECK(message && strstr(message, want), "%s: %s", name, message ? message : "read");
}

static void test_refuses(void)
{
    size_t bytes, rows;
    char *data;

    ctx = test_ctx();
    check_refused("refused-values.parquet", "raw",
                  "column raw: values of this type cannot be read: bytes of a fixed");
    check_refused("refused-values.parquet", "image",
                  "d.parquet: row 1: column image: bytes that are not UTF-8 text");
    check_refused("refused-values.parquet", "far",
                  "d.parquet: row 1: column far: a number that is infinite");
    check_refused("refused-values.parquet", "much",
                  "d.parquet: row 1: column much: an unsigned number beyond 63 bits");
    check_refused("refused-values.parquet", "by_number",
                  "column by_number.key_value.key: a key of a map that is not text");
    /* What is not used does no harm. */
    data = load("refused-values.parquet", &bytes);
    CHECK(!read_all(data, bytes, "id", &rows) && rows == 2);
}

/* Brotli and LZ4 in both its forms: exact lengths only, whatever the bytes. */
static void test_codecs(void)
{
    /* "abcabcabcabcabcabcabcabc" by the reference programs */
    static const uint8_t block[] = { 0x3a, 'a', 'b', 'c', 3, 0, 0x50, 'b', 'c', 'a', 'b', 'c' };
    uint8_t framed[sizeof block + 8] = { 0, 0, 0, 22, 0, 0, 0, sizeof block }, out[64];
    const char *wrong;

    ctx = test_ctx();
    memcpy(framed + 8, block, sizeof block);
    CHECK(!nib_parquet_codec_known(NIB_PARQUET_LZO) && !nib_parquet_codec_known(9));
    wrong = nib_parquet_unpack(ctx, NIB_PARQUET_LZ4_RAW, block, sizeof block, out, 22);
    CHECK(!wrong && !memcmp(out, "abcabcabcabcabcabbcabc", 22),
          "%s: %.22s", wrong ? wrong : "", out);
    wrong = nib_parquet_unpack(ctx, NIB_PARQUET_LZ4, framed, sizeof framed, out, 22);
    CHECK(!wrong && !memcmp(out, "abcabcabcabcabcabbcabc", 22),
          "Hadoop's frame: %s", wrong ? wrong : "");
    CHECK(!nib_parquet_unpack(ctx, NIB_PARQUET_LZ4, block, sizeof block, out, 22), "a bare block");
    for (size_t n = 0; n < 40; n++) {
        if (n == 22) continue;
        CHECK(nib_parquet_unpack(ctx, NIB_PARQUET_LZ4_RAW, block, sizeof block, out, n), "%zu", n);
        CHECK(nib_parquet_unpack(ctx, NIB_PARQUET_LZ4, framed, sizeof framed, out, n), "%zu", n);
    }
    for (int i = 0; i < 2000; i++) {
        uint8_t *junk = test_guarded(40), *to = test_guarded(64);
        for (int k = 0; k < 40; k++) junk[k] = (uint8_t)test_rand();
        nib_parquet_unpack(ctx, NIB_PARQUET_BROTLI, junk, 40, to, 64);
        nib_parquet_unpack(ctx, NIB_PARQUET_LZ4, junk, 40, to, 64);
        nib_parquet_unpack(ctx, NIB_PARQUET_LZ4_RAW, junk, 40, to, 64);
    }
}

static void test_refuses_containers(void)
{
    size_t bytes, rows;
    const char *message;
    char *data;

    ctx = test_ctx();
    data = load("mixed-checksums.parquet", &bytes);
    CHECK(strstr(read_all("a,b\n1,2\n3,4\n", 12, NULL, &rows), "not a Parquet file"));
    CHECK(strstr(read_all("", 0, NULL, &rows), "not a Parquet file"));
    CHECK(strstr(read_all(data, bytes - 1, NULL, &rows), "does not end with PAR1: it is cut off"));
    data[bytes - 1] = 'E';
    CHECK(strstr(read_all(data, bytes, NULL, &rows), "an encrypted Parquet file"));
    data[bytes - 1] = '1';
    data[bytes - 5] = 0x7f;
    CHECK(strstr(read_all(data, bytes, NULL, &rows), "d.parquet: a footer of"));
    data = load("mixed-checksums.parquet", &bytes);
    /* in the first page, which is gzip: without the checksum, gzip's own would tell */
    data[60] ^= 1;
    message = read_all(data, bytes, "id", &rows);
    CHECK(message && strstr(message, "d.parquet: column id: a page whose checksum is wrong"), "%s",
          message ? message : "read");
}

/* Cut at every byte, and with every byte missing: refused, or read where the byte did not
 * matter. */
static void test_cut_short(void)
{
    static const char *const names[] = { "nested.parquet", "gzip-v2.parquet",
                                         "mixed-checksums.parquet", "deltas.parquet" };

    ctx = test_ctx();
    for (size_t k = 0; k < NIB_COUNT(names); k++) {
        size_t bytes, rows;
        char *data = load(names[k], &bytes), *piece = test_guarded(bytes);

        for (size_t cut = 0; cut < bytes; cut++) {
            memcpy(piece + bytes - cut, data, cut); /* its end is the guard */
            CHECK(read_all(piece + bytes - cut, cut, NULL, &rows), "%s cut to %zu bytes was read",
                  names[k], cut);
            memcpy(piece + 1, data, cut);
            memcpy(piece + 1 + cut, data + cut + 1, bytes - cut - 1);
            read_all(piece + 1, bytes - 1, NULL, &rows);
        }
    }
}

/* One bit of every byte, then another: whatever a flip makes of the file, it hurts nobody. */
static void test_flipped_bits(void)
{
    static const char *const names[] = { "nested.parquet",       "snappy-v1.parquet",
                                         "groups-pages.parquet", "deltas.parquet",
                                         "types.parquet",        "zstd-v2-plain.parquet",
                                         "maps.parquet",         "old-lists.parquet" };
    size_t refused = 0, read = 0;

    ctx = test_ctx();
    for (size_t k = 0; k < NIB_COUNT(names); k++) {
        size_t bytes, rows;
        char *data = load(names[k], &bytes);

        for (size_t i = 0; i < bytes; i++) {
            char flip = (char)(1u << (test_rand() & 7));

            data[i] ^= flip;
            if (read_all(data, bytes, NULL, &rows)) refused++;
            else read++;
            data[i] ^= flip;
        }
        CHECK(!read_all(data, bytes, NULL, &rows));
    }
    CHECK(refused > 1000 && read > 100, "%zu refused, %zu read", refused, read);
}

static bool unsnap(const char *in, size_t in_bytes, const char *want)
{
    char out[64];
    size_t bytes = strlen(want);

    memset(out, '?', sizeof out);
    return nib_snappy_decode((const uint8_t *)in, in_bytes, (uint8_t *)out, bytes) &&
           !memcmp(out, want, bytes) && out[bytes] == '?';
}

/* 300 bytes as they are, then six from 299 back: the offset's high bits are in the tag. */
static void test_snappy_far(void)
{
    uint8_t in[4 + 300 + 3] = { 0xb2, 0x02, 0xf4, 0x2b }, out[306];

    in[4] = 0x01; /* the second byte of the literal's length */
    for (size_t i = 0; i < 300; i++) in[5 + i] = (uint8_t)(i * 7 + i / 256);
    in[305] = 1 << 5 | (6 - 4) << 2 | 1;
    in[306] = 299 - 256;
    CHECK(nib_snappy_decode(in, sizeof in, out, sizeof out));
    for (size_t i = 0; i < 306; i++)
        CHECK(out[i] == in[5 + (i < 300 ? i : i - 299)], "byte %zu: %u", i, out[i]);
}

static void test_snappy(void)
{
    CHECK(unsnap("\x00", 1, ""));
    CHECK(unsnap("\x03\x08" "abc", 5, "abc"));
    CHECK(unsnap("\x03\xf0\x02" "abc", 6, "abc"));          /* the length in a byte of its own */
    CHECK(unsnap("\x08\x08" "abc\x05\x03", 7, "abcabcab")); /* 5 from 3 back: over its own bytes */
    CHECK(unsnap("\x06\x08" "abc\x0a\x03\x00", 8, "abcabc"));
    CHECK(unsnap("\x06\x08" "abc\x0b\x03\x00\x00\x00", 10, "abcabc"));
    CHECK(!unsnap("", 0, ""));
    CHECK(!unsnap("\x04\x08" "abc", 5, "abc"));               /* another length */
    CHECK(!unsnap("\x03\x0c" "abc", 5, "abc"));               /* a literal past the end */
    CHECK(!unsnap("\x08\x08" "abc\x05\x04", 7, "abcabcab")); /* from before the beginning */
    CHECK(!unsnap("\x08\x08" "abc\x05\x00", 7, "abcabcab"));
    CHECK(!unsnap("\x07\x08" "abc\x05\x03", 7, "abcabca"));  /* a copy past the end */
    CHECK(!unsnap("\x08\x08" "abc\x05", 6, "abcabcab"));
    CHECK(!unsnap("\xff\xff\xff\xff\xff\xff", 6, "a"));
}

/* The examples of Encodings.md: 0 .. 7 in three bits, lowest first and highest first. */
static void test_bits(void)
{
    static const int64_t want[] = { 7, 5, 3, 1, 2, 3, 4, 5 };
    nib_rle rle = nib_rle_open((const uint8_t *)"\x03\x88\xc6\xfa\x06\x05\x00", 7, 3);
    nib_rle old = nib_bit_packed_open((const uint8_t *)"\x05\x39\x77", 3, 3);
    nib_delta d;
    uint32_t got;
    int64_t value;

    for (uint32_t i = 0; i < 8; i++) {
        CHECK(nib_rle_next(&rle, &got) && got == i, "%u: %u", i, got);
        CHECK(nib_rle_next(&old, &got) && got == i, "%u: %u", i, got);
    }
    for (uint32_t i = 0; i < 3; i++) CHECK(nib_rle_next(&rle, &got) && got == 5);
    CHECK(!nib_rle_next(&rle, &got) && !nib_rle_next(&old, &got));
    CHECK(nib_bit_width(0) == 0 && nib_bit_width(1) == 1 && nib_bit_width(4) == 3);
    /* 7, 5, 3, 1, 2, 3, 4, 5: the deltas -2, -2, -2, 1, 1, 1, 1 less -2 are 0, 0, 0, 3, 3, 3, 3 in
     * two bits. */
    REQUIRE(nib_delta_open((const uint8_t *)"\x08\x01\x08\x0e\x03\x02\xc0\x3f", 8, &d));
    for (size_t i = 0; i < 8; i++)
        CHECK(nib_delta_next(&d, &value) && value == want[i], "%zu: %d", i, (int)value);
    CHECK(!nib_delta_next(&d, &value));
    /* 8 values in 3 miniblocks */
    CHECK(!nib_delta_open((const uint8_t *)"\x08\x03\x08\x0e", 4, &d));
    CHECK(!nib_delta_open((const uint8_t *)"\x08\x00\x08\x0e", 4, &d));
}

static void test_where_and_columns(void)
{
    nib_table *t = NULL;
    json_t *r = NULL;
    nib_error err;

    ctx = test_ctx();
    REQUIRE_OK(
        nib_table_open(ctx, golden_path("groups-pages.parquet"), NIB_TABLE_PARQUET, &t, &err), err);
    CHECK(nib_table_column_count(t) == 5 && !strcmp(nib_table_column_name(t, 4), "messages"));
    nib_table_use_column(t, 2, false);
    for (int i = 0; i < 7; i++) {
        json_decref(r);
        REQUIRE_OK(nib_table_next(t, &r, &err), err);
    }
    CHECK(strstr(nib_table_where(t), "groups-pages.parquet: row 7"), "%s", nib_table_where(t));
    CHECK(json_object_size(r) == 4 && !json_object_get(r, "ok"));
    json_decref(r);
    nib_table_close(t);
}

static void test_every_allocation_fails_once(void)
{
    size_t bytes;
    char *data;

    ctx = test_ctx();
    data = load("groups-pages.parquet", &bytes);
    for (size_t at = 1;; at++) {
        test_heap heap = { .fail_at = at };
        nib_ctx *failing = test_ctx_heap(&heap);
        nib_table *t = NULL;
        nib_error err;
        nib_status status = nib_table_open_memory(failing, data, bytes, "d.parquet",
                                                  NIB_TABLE_PARQUET, &t, &err);

        while (!status) {
            json_t *record = NULL;

            status = nib_table_next(t, &record, &err);
            if (status || !record) break;
            json_decref(record);
        }
        nib_table_close(t);
        CHECK(heap.live == 0, "allocation %zu: %zu not given back", at, heap.live);
        test_ctx_release(failing);
        if (!status) {
            CHECK(at > 20, "only %zu allocations", at);
            break;
        }
        CHECK(status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "parquet equals pyarrow", test_equals_pyarrow },
        { "parquet refuses what it cannot read", test_refuses },
        { "parquet refuses broken containers", test_refuses_containers },
        { "parquet cut short", test_cut_short },
        { "parquet with flipped bits", test_flipped_bits },
        { "Brotli and LZ4", test_codecs },
        { "snappy", test_snappy },
        { "snappy from far back", test_snappy_far },
        { "packed integers", test_bits },
        { "parquet where and columns", test_where_and_columns },
        { "parquet: every allocation fails once", test_every_allocation_fails_once },
    };
    return test_main("test_parquet", cases, NIB_COUNT(cases));
}
