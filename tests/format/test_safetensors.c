/* test_safetensors.c - reading what the reference library wrote, writing the same bytes,
 * and refusing everything of formats.md 1.6. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"
#include "test.h"

static const char *in(const char *dir, const char *name)
{
    static char path[8][600];
    static unsigned next;
    char *p = path[next++ % 8];
    if (snprintf(p, sizeof path[0], "%s/%s", dir, name) >= (int)sizeof path[0]) abort();
    return p;
}

static bool same_bytes(nib_ctx *ctx, const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    bool same = nib_file_read(ctx, a, 1 << 20, &x, &n, NULL) == NIB_OK &&
                nib_file_read(ctx, b, 1 << 20, &y, &m, NULL) == NIB_OK && n == m &&
                memcmp(x, y, n) == 0;
    nib_free(ctx, x);
    nib_free(ctx, y);
    return same;
}

/* The file of safetensors 0.8.0 (tests/golden/make/safetensors_golden.py). */
static void test_reads_the_reference(void)
{
    nib_ctx *ctx = test_ctx();
    nib_error err;
    nib_tensors *t;
    const nib_tensor *x;
    const uint8_t *u8;
    double f64;
    float f32;

    REQUIRE_OK(
        nib_tensors_open(ctx, test_data("tests/golden/format/every-type.safetensors"), &t, &err),
        err);
    CHECK(nib_tensors_count(t) == 16);
    CHECK(strcmp(nib_tensors_at(t, 0)->name, "k.u64") == 0, "%s", nib_tensors_at(t, 0)->name);
    CHECK(strcmp(nib_tensors_metadata(t, "format"), "pt") == 0);
    CHECK(nib_tensors_metadata(t, "other") == NULL);
    x = nib_tensors_find(t, "z.u8");
    REQUIRE(x && x->dtype == NIB_U8 && x->rank == 1 && x->shape[0] == 5 && x->bytes == 5);
    u8 = x->data;
    CHECK(u8[0] == 0 && u8[4] == 4);
    x = nib_tensors_find(t, "i.f64");
    REQUIRE(x && x->dtype == NIB_F64 && x->elements == 2);
    memcpy(&f64, (const char *)x->data + 8, 8);
    CHECK(f64 == 1.0);
    x = nib_tensors_find(t, "scalar");
    REQUIRE(x && x->rank == 0 && x->elements == 1 && x->bytes == 4);
    memcpy(&f32, x->data, 4);
    CHECK(f32 == 7.0f);
    x = nib_tensors_find(t, "empty");
    CHECK(x && x->rank == 2 && x->elements == 0 && x->bytes == 0);
    CHECK(nib_tensors_find(t, "quote\"back\\slash\ttab") != NULL);
    CHECK(nib_tensors_find(t, "gr\xc3\xb6\xc3\x9f" "e.\xe6\x97\xa5\xe6\x9c\xac") != NULL);
    CHECK(nib_tensors_find(t, "nothing") == NULL && nib_tensors_find(t, "") == NULL);
    CHECK(nib_tensors_unchanged(t, &err) == NIB_OK);
    nib_tensors_close(t);
}

/* Its tensors given in another order come out as the same file, byte for byte. */
static void test_writes_the_reference(void)
{
    nib_ctx *ctx = test_ctx();
    const char *golden = test_data("tests/golden/format/every-type.safetensors");
    const char *dir = test_tmpdir();
    nib_tensor_plan plans[16] = { 0 };
    nib_error err;
    nib_tensors *t;
    nib_tensor_writer *w;

    REQUIRE_OK(nib_tensors_open(ctx, golden, &t, &err), err);
    for (size_t i = 0; i < 16; i++) {
        const nib_tensor *x = nib_tensors_at(t, i * 5 % 16);
        plans[i] = (nib_tensor_plan){ .name = x->name, .dtype = x->dtype, .rank = x->rank };
        memcpy(plans[i].shape, x->shape, sizeof x->shape);
    }
    REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "model", plans, 16, 0, &w, &err), err);
    for (size_t i = 0; i < 16; i++) {
        const nib_tensor *x = nib_tensors_at(t, i * 5 % 16);
        for (uint64_t b = 0; b < x->bytes; b += 3) /* in pieces */
            REQUIRE_OK(nib_tensor_writer_put(w, (const char *)x->data + b,
                                             x->bytes - b < 3 ? x->bytes - b : 3, &err),
                       err);
    }
    REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
    CHECK(same_bytes(ctx, golden, in(dir, "model.safetensors")));
    nib_tensors_close(t);
}

static bool parses(const void *bytes, size_t count, nib_error *err)
{
    nib_ctx *ctx = test_ctx();
    nib_safetensors_header h = { 0 };
    uint8_t *exact = test_guarded(count); /* a read past the end is a crash */
    bool ok;

    memcpy(exact, bytes, count);
    ok = nib_safetensors_parse(ctx, exact, count, "x", &h, err) == NIB_OK;
    nib_safetensors_header_free(ctx, &h);
    return ok;
}

/* A file with this header and so many bytes of data. */
static bool accepts(const char *header, size_t data_bytes, nib_error *err)
{
    size_t n = strlen(header);
    uint8_t *file = test_guarded(8 + n + data_bytes);
    nib_ctx *ctx = test_ctx();
    nib_safetensors_header h = { 0 };
    bool ok;

    memset(file, 0, 8);
    for (size_t i = 0; i < 4; i++) file[i] = (uint8_t)(n >> 8 * i);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0, data_bytes);
    ok = nib_safetensors_parse(ctx, file, 8 + n + data_bytes, "x", &h, err) == NIB_OK;
    nib_safetensors_header_free(ctx, &h);
    return ok;
}

static void test_refuses_every_truncation(void)
{
    nib_ctx *ctx = test_ctx();
    nib_error err;
    char *file;
    size_t bytes;

    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/format/small.safetensors"), 1 << 20,
                             &file, &bytes, &err),
               err);
    /* parse() makes a context each time; the case may make only so many */
    for (size_t n = 0; n < bytes; n++) {
        nib_safetensors_header h = { 0 };
        uint8_t *exact = test_guarded(n);
        memcpy(exact, file, n);
        CHECK(nib_safetensors_parse(ctx, exact, n, "x", &h, &err) == NIB_E_FORMAT, "%zu bytes", n);
    }
    CHECK(parses(file, bytes, &err), "whole: %s", err.message);
    nib_free(ctx, file);
}

static void test_accepts(void)
{
    static const struct { const char *header; size_t data; } good[] = {
        { "{}", 0 },
        { "{}      ", 0 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]}}", 0 },
        { "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},\"a\":{\"dtype\":\"U8\","
          "\"shape\":[1],\"data_offsets\":[0,1]}}", 2 },
        { "{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1 },
        { "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[0,3],\"more\":1}}", 3 },
        { "{\"__metadata__\":{\"k\":\"v\"}}", 0 },
    };
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(good); i++)
        CHECK(accepts(good[i].header, good[i].data, &err), "%s: %s", good[i].header, err.message);
}

static void test_refuses(void)
{
#define T(name, dtype, shape, from, to) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
    static const struct { const char *header; size_t data; const char *says; } bad[] = {
        { "{", 0, "at least 2" },
        { " {}", 0, "one JSON object" },
        { "{}\n", 0, "one JSON object" },
        { "[]", 0, "one JSON object" },
        { "{}{}", 0, "" },
        { "{\"a\":\"\xff\"}", 0, "a byte that is not UTF-8 text (0xff)" },
        { "{}", 1, "the file has 1" },
        { "{" T("a", "U8", "[1]", "0", "1") "," T("a", "U8", "[1]", "0", "1") "}", 1,
          "the same key a second time" },
        { "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
          "the same key a second time" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype is missing" },
        { "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "shape is missing" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "data_offsets is missing" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "has 1 numbers" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 1, "at most 2" },
        { "{\"a\":1}", 0, "not an object" },
        { "{" T("a", "F99", "[1]", "0", "1") "}", 1, "unknown dtype F99" },
        { "{" T("a", "U8", "[-1]", "0", "1") "}", 1, "non-negative" },
        { "{" T("a", "U8", "[1.0]", "0", "1") "}", 1, "non-negative" },
        { "{" T("a", "U8", "[9223372036854775808]", "0", "1") "}", 1, "" },
        { "{" T("a", "U8", "[1]", "1", "0") "}", 1, "1 to 0" },
        { "{" T("a", "U8", "[2]", "0", "2") "}", 1,
          "its tensors end at byte 63 (data_offsets), the file has 62 bytes" },
        { "{" T("a", "U8", "[2]", "0", "1") "}", 1, "need 2" },
        { "{" T("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0, "2^64" },
        { "{" T("a", "F32", "[4294967296,4294967296,0]", "0", "0") "}", 0, "2^64" },
        { "{" T("a", "F32", "[4611686018427387904]", "0", "0") "}", 0, "2^64" },
        { "{" T("a", "F4", "[3]", "0", "1") "}", 1, "whole number" },
        { "{" T("a", "U8", "[1]", "1", "2") "}", 2, "hole" },
        { "{" T("a", "U8", "[1]", "0", "1") "," T("b", "U8", "[1]", "2", "3") "}", 3, "hole" },
        { "{" T("a", "U8", "[2]", "0", "2") "," T("b", "U8", "[2]", "1", "3") "}", 3, "overlap" },
        { "{" T("a", "U8", "[1]", "0", "1") "}", 2, "the file has 2" },
        { "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "0", "1") "}", 1, "at most 16" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "not a string" },
        { "{\"__metadata__\":[]}", 0, "not an object" },
        { "{\"a\\u0000\":{}}", 0, "" },
        { "{\"a\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", 0, "deeper" },
    };
    static const uint8_t huge[16] = { 0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}' };
    static const uint8_t wraps[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}' };
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        err.message[0] = 0;
        CHECK(!accepts(bad[i].header, bad[i].data, &err), "accepted: %s", bad[i].header);
        CHECK(strstr(err.message, bad[i].says), "%s: says: %s", bad[i].header, err.message);
    }
    CHECK(!parses(huge, sizeof huge, &err) && strstr(err.message, "100000001"), "%s", err.message);
    CHECK(!parses(wraps, sizeof wraps, &err), "a length of 2^64 - 1");
}

static void put_shard(nib_ctx *ctx, const char *dir, const char *file, const char *text)
{
    nib_error err = { 0 };
    CHECK(nib_outfile_replace(ctx, in(dir, file), text, strlen(text), &err) == NIB_OK, "%s",
          err.message);
}

/* Greedy in the order given, a limit met exactly still fits, one too large stands alone. */
static void test_shards(void)
{
    /* limit 10: {6 4} full; {30}; {3 7}; {1} */
    static const uint64_t sizes[] = { 6, 4, 3, 30, 7, 1 };
    static const char *const where[] = { "1", "1", "3", "2", "3", "4" };
    nib_ctx *ctx = test_ctx();
    const char *dir = test_tmpdir();
    nib_tensor_plan plans[6] = { 0 };
    char names[6][8], index[2048];
    uint8_t data[64];
    nib_error err;
    nib_tensor_writer *w;
    nib_tensors *t;
    char *text;
    size_t bytes;

    for (int i = 0; i < 6; i++) {
        snprintf(names[i], sizeof names[i], "t%d", 5 - i);
        plans[i] = (nib_tensor_plan){ .name = names[i], .dtype = NIB_U8, .rank = 1,
                                      .shape = { sizes[i] } };
    }
    REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "model", plans, 6, 10, &w, &err), err);
    for (int i = 0; i < 6; i++) {
        memset(data, i + 1, sizeof data);
        REQUIRE_OK(nib_tensor_writer_put(w, data, sizes[i], &err), err);
    }
    CHECK(!nib_file_exists(in(dir, "model.safetensors.index.json")));
    REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
    REQUIRE_OK(
        nib_file_read(ctx, in(dir, "model.safetensors.index.json"), 1 << 20, &text, &bytes, &err),
        err);
    strcpy(index, "{\n  \"metadata\": {\n    \"total_size\": 51\n  },\n  \"weight_map\": {");
    for (int i = 5; i >= 0; i--)
        sprintf(index + strlen(index), "%s\n    \"%s\": \"model-0000%s-of-00004.safetensors\"",
                i < 5 ? "," : "", names[i], where[i]);
    strcat(index, "\n  }\n}\n");
    CHECK(strcmp(text, index) == 0, "%s", text);
    nib_free(ctx, text);

    REQUIRE_OK(nib_tensors_open(ctx, dir, &t, &err), err);
    CHECK(nib_tensors_count(t) == 6);
    for (int i = 0; i < 6; i++) {
        const nib_tensor *x = nib_tensors_find(t, names[i]);
        REQUIRE(x && x->bytes == sizes[i]);
        for (uint64_t b = 0; b < x->bytes; b++) CHECK(((const uint8_t *)x->data)[b] == i + 1);
    }
    nib_tensors_close(t);
}

static void test_refuses_indexes(void)
{
    static const struct { const char *index, *says; } bad[] = {
        { "{}", "weight_map is missing" },
        { "[]", "weight_map is missing" },
        { "{\"weight_map\":{\"a\":1}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"x\\\\y\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "plain file name" },
        { "{\"weight_map\":{\"a\":\"missing.safetensors\"}}", "No such file" },
        { "{\"weight_map\":{\"b\":\"one.safetensors\"}}", "does not have it" },
        { "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}",
          "does not have it" },
    };
    nib_ctx *ctx = test_ctx();
    const char *dir = test_tmpdir();
    nib_tensor_plan plan = { .name = "a", .dtype = NIB_U8, .rank = 1, .shape = { 3 } };
    nib_error err;
    nib_tensor_writer *w;
    nib_tensors *t;

    REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "one", &plan, 1, 0, &w, &err), err);
    REQUIRE_OK(nib_tensor_writer_put(w, "abc", 3, &err), err);
    REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        err.message[0] = 0;
        put_shard(ctx, dir, "model.safetensors.index.json", bad[i].index);
        CHECK(nib_tensors_open(ctx, dir, &t, &err) != NIB_OK, "accepted %s", bad[i].index);
        CHECK(strstr(err.message, bad[i].says), "%s: says: %s", bad[i].index, err.message);
    }
    put_shard(ctx, dir, "model.safetensors.index.json",
              "{\"metadata\":{\"total_size\":1e300},\"weight_map\":{\"a\":\"one.safetensors\"}}");
    REQUIRE_OK(nib_tensors_open(ctx, dir, &t, &err), err);
    CHECK(nib_tensors_count(t) == 1 && strcmp(nib_tensors_find(t, "a")->data, "") != 0);
    nib_tensors_close(t);
}

/* A git-lfs pointer in place of the weights, and a file cut short, are called what they are. */
static void test_no_weights(void)
{
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:"
                                  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                                  "\nsize 157640\n";
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}";
    const char *dir = test_tmpdir();
    nib_ctx *ctx = test_ctx();
    nib_tensors *t = NULL;
    char cut[8 + sizeof header + 3] = { (char)(sizeof header - 1) };
    nib_error err;

    put_shard(ctx, dir, "model.safetensors", pointer);
    CHECK(nib_tensors_open(ctx, dir, &t, &err) == NIB_E_FORMAT, "a pointer is opened");
    CHECK(strstr(err.message, "model.safetensors: a git-lfs pointer") &&
              strstr(err.message, "git lfs pull"),
          "%s", err.message);
    memcpy(cut + 8, header, sizeof header - 1);
    REQUIRE_OK(nib_outfile_replace(ctx, in(dir, "model.safetensors"), cut, sizeof header + 10,
                                   &err), err);
    CHECK(nib_tensors_open(ctx, dir, &t, &err) == NIB_E_FORMAT, "a file cut short is opened");
    CHECK(strstr(err.message, "model.safetensors: truncated: its tensors end at byte ") &&
              strstr(err.message, "download or copy it again"),
          "%s", err.message);
}

static void test_writer_refuses(void)
{
    nib_ctx *ctx = test_ctx();
    const char *dir = test_tmpdir();
    nib_tensor_plan twice[2] = { { "a", NIB_U8, 1, { 1 } }, { "a", NIB_F32, 1, { 1 } } };
    nib_tensor_plan large = { "a", NIB_U8, 3, { 1ull << 40, 1ull << 40, 0 } };
    nib_tensor_plan reserved = { "__metadata__", NIB_U8, 1, { 1 } };
    nib_error err;
    nib_tensor_writer *w;

    CHECK(nib_tensor_writer_create(ctx, dir, "m", twice, 2, 0, &w, &err) == NIB_E_INVALID);
    CHECK(nib_tensor_writer_create(ctx, dir, "m", &large, 1, 0, &w, &err) == NIB_E_INVALID);
    CHECK(nib_tensor_writer_create(ctx, dir, "m", &reserved, 1, 0, &w, &err) == NIB_E_INVALID);
    REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "m", twice, 1, 0, &w, &err), err);
    CHECK(nib_tensor_writer_commit(w, &err) == NIB_E_INVALID, "committed without its data");
    REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "m", twice, 1, 0, &w, &err), err);
    CHECK(nib_tensor_writer_put(w, "xy", 2, &err) == NIB_E_INVALID, "took too much");
    CHECK(nib_tensor_writer_commit(w, &err) == NIB_E_INVALID, "forgot the failure");
    CHECK(!nib_file_exists(in(dir, "m.safetensors")));
    REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "none", NULL, 0, 5, &w, &err), err);
    REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
    CHECK(nib_file_exists(in(dir, "none.safetensors")));
}

/* Each allocation fails once, reading and writing; nothing is left behind. */
static void test_allocations(void)
{
    const char *dir = test_tmpdir();

    for (size_t n = 1; n < 60; n++) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_tensor_plan plans[2] = { { "a", NIB_U8, 1, { 6 } }, { "b", NIB_F32, 1, { 1 } } };
        nib_tensor_writer *w;
        nib_tensors *t;
        nib_error err;
        nib_status status = nib_tensor_writer_create(ctx, dir, "model", plans, 2, 8, &w, &err);

        if (!status) {
            status = nib_tensor_writer_put(w, "0123456789", 10, &err);
            if (status) nib_tensor_writer_discard(w);
            else status = nib_tensor_writer_commit(w, &err);
        }
        if (!status) {
            status = nib_tensors_open(ctx, dir, &t, &err);
            if (!status) nib_tensors_close(t);
        }
        CHECK(heap.live == 0, "allocation %zu: %zu blocks left", n, heap.live);
        CHECK(status == (heap.calls < n ? NIB_OK : NIB_E_NOMEM), "allocation %zu: status %d", n,
              status);
        if (heap.calls < n) return;
    }
    CHECK(false, "more allocations than this test knows");
}

int main(void)
{
    static const test_case cases[] = {
        { "reads_the_reference", test_reads_the_reference },
        { "writes_the_reference", test_writes_the_reference },
        { "refuses_every_truncation", test_refuses_every_truncation },
        { "accepts", test_accepts },
        { "refuses", test_refuses },
        { "shards", test_shards },
        { "refuses_indexes", test_refuses_indexes },
        { "no_weights", test_no_weights },
        { "writer_refuses", test_writer_refuses },
        { "allocations", test_allocations },
    };
    return test_main("safetensors", cases, NIB_COUNT(cases));
}
