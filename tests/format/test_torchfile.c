/* test_torchfile.c - files of torch.save: the values are those of the safetensors file of the same
 * weights (tests/golden/make/adapter_files_golden.py), and what is none is refused by name. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/pickle.h"
#include "format/torchfile.h"

typedef struct path { char s[600]; } path;

static path golden(const char *name)
{
    path p;
    snprintf(p.s, sizeof p.s, "%s/%s", test_data("tests/golden/adapter-files"), name);
    return p;
}

static nib_tensors *opened(const char *name)
{
    nib_tensors *t = NULL;
    nib_error err;
    nib_status status = nib_tensors_open(test_ctx(), golden(name).s, &t, &err);

    CHECK(!status, "%s: %s", name, err.message);
    return t;
}

/* Views, a transposed tensor, one in the middle of another's storage and a Parameter. */
static void test_values(void)
{
    nib_tensors *want = opened("base"), *got = opened("bin");

    REQUIRE(want && got);
    CHECK(nib_tensors_count(got) == nib_tensors_count(want));
    for (size_t i = 0; i < nib_tensors_count(want); i++) {
        const nib_tensor *w = nib_tensors_at(want, i), *g = nib_tensors_find(got, w->name);
        REQUIRE(g, "%s is missing", w->name);
        CHECK(g->dtype == w->dtype && g->rank == w->rank && g->bytes == w->bytes &&
                  g->shape[0] == w->shape[0] && strcmp(g->dtype_name, w->dtype_name) == 0 &&
                  memcmp(g->data, w->data, w->bytes) == 0,
              "%s differs", w->name);
        nib_filemap_release(g->map, g->data, g->bytes);
        CHECK(memcmp(g->data, w->data, w->bytes) == 0, "%s: lost with its pages", w->name);
    }
    nib_tensors_close(got);
    nib_tensors_close(want);
}

static void test_shards(void)
{
    nib_tensors *want = opened("base"), *got = opened("bin-shards");

    REQUIRE(want && got);
    CHECK(nib_tensors_count(got) == nib_tensors_count(want));
    for (size_t i = 0; i < nib_tensors_count(want); i++) {
        const nib_tensor *w = nib_tensors_at(want, i), *g = nib_tensors_find(got, w->name);
        const uint8_t *exact = w->data, *rounded;
        REQUIRE(g && g->dtype == NIB_BF16 && g->elements == w->elements, "%s", w->name);
        rounded = g->data;
        for (uint64_t k = 0; k < w->elements; k++) { /* the nearest bfloat16: half a unit off */
            uint32_t x = nib_load_le32(exact + 4 * k), y = (uint32_t)nib_load_le16(rounded + 2 * k);
            uint32_t up = y << 16;
            CHECK((x > up ? x - up : up - x) <= 0x8000, "%s %zu", w->name, (size_t)k);
        }
    }
    nib_tensors_close(got);
    nib_tensors_close(want);
}

#define DICT "\x80\x02}("
#define KEY "X\1\0\0\0a"
#define CALL "ctorch._utils\n_rebuild_tensor_v2\n("
#define STORE(key, numel) "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" key \
                          "X\3\0\0\0cpuK" numel "tQ"
#define REST "\x89)tR"
#define END "u."

typedef struct bad { const char *text; size_t bytes; nib_status status; const char *says; } bad;
#define BAD(text, status, says) { text, sizeof text - 1, status, says }

/* What a pickle may not hold.  The first four would run a program in Python. */
static void test_pickles(void)
{
    static const bad list[] = {
        BAD("\x80\x02" "cposix\nsystem\nX\2\0\0\0id\x85R.", NIB_E_UNSUPPORTED, "posix.system"),
        BAD("\x80\x02" "cbuiltins\neval\nX\1\0\0\0" "1\x85R.", NIB_E_UNSUPPORTED, "builtins.eval"),
        BAD("\x80\x04\x8c\5posix\x8c\6system\x93)R.", NIB_E_UNSUPPORTED, "opcode 93"),
        BAD("(S'id'\niposix\nsystem\n.", NIB_E_UNSUPPORTED, "opcode 53"),
        BAD("\x80\x02" "ctorch\nload\n.", NIB_E_UNSUPPORTED, "torch.load"),
        BAD("\x80\x02" "ccollections\nOrderedDict\n)\x81.", NIB_E_UNSUPPORTED, "opcode 81"),
        BAD("\x80\x02}0.", NIB_E_UNSUPPORTED, "opcode 30"),
        BAD("\x80\x01}.", NIB_E_FORMAT, "protocol"),
        BAD("\x80\x02}", NIB_E_FORMAT, "truncated"),
        BAD("\x80\x02}.x", NIB_E_FORMAT, "bytes after its end"),
        BAD("\x80\x02.", NIB_E_FORMAT, "no"),
        BAD("\x80\x02].", NIB_E_FORMAT, "not one dictionary"),
        BAD("\x80\x02}}.", NIB_E_FORMAT, "not one dictionary"),
        BAD("\x80\x02t.", NIB_E_FORMAT, "mark is missing"),
        BAD("\x80\x02h\0.", NIB_E_FORMAT, "never set"),
        BAD("\x80\x02}r\xff\xff\xff\xff.", NIB_E_FORMAT, "memo index beyond"),
        BAD("\x80\x02}q\5h\4.", NIB_E_FORMAT, "never set"),
        BAD("\x80\x02X\xff\0\0\0a", NIB_E_FORMAT, "ends in a text"),
        BAD("\x80\x02K", NIB_E_FORMAT, "ends in a number"),
        BAD("\x80\x02K\1K\2K\3s.", NIB_E_FORMAT, "no dictionary"),
        BAD(DICT KEY "K\1" END, NIB_E_UNSUPPORTED, "a is no tensor"),
        BAD(DICT "K\1K\2" END, NIB_E_FORMAT, "no name"),
        BAD(DICT KEY CALL STORE("0", "\4") "K\0K\4\x85K\1\x85" REST
            KEY CALL STORE("0", "\4") "K\0K\4\x85K\1\x85" REST END, NIB_E_FORMAT, "comes twice"),
        BAD(DICT KEY CALL STORE("0", "\4") "K\1K\4\x85K\1\x85" REST END, NIB_E_FORMAT,
            "passes the end"),
        BAD(DICT KEY CALL STORE("0", "\4") "K\0K\4\x85K\2\x85" REST END, NIB_E_FORMAT,
            "passes the end"),
        BAD(DICT KEY CALL STORE("0", "\4") "K\0J\xff\xff\xff\xff\x85K\1\x85" REST END, NIB_E_FORMAT,
            "number from 0"),
        BAD(DICT KEY CALL STORE("0", "\4") "K\0K\4\x85K\1K\1\x86" REST END, NIB_E_FORMAT,
            "more strides"),
        BAD(DICT KEY CALL STORE("x", "\4") "K\0K\4\x85K\1\x85" REST END, NIB_E_FORMAT, "no number"),
        BAD(DICT KEY CALL STORE("0", "\4") "K\0\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85"
            "\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85" REST END, NIB_E_FORMAT, ""),
    };
    static const char good[] = DICT KEY CALL STORE("0", "\4") "K\1K\3\x85K\1\x85" REST END;
    nib_ctx *ctx = test_ctx();
    nib_pickle p = { 0 };
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(list); i++) {
        nib_status status;
        err.message[0] = 0;
        status = nib_pickle_read(ctx, (const uint8_t *)list[i].text, list[i].bytes, "x", &p, &err);
        CHECK(status == list[i].status && strstr(err.message, list[i].says), "%zu: %d %s", i,
              status, err.message);
    }
    REQUIRE_OK(nib_pickle_read(ctx, (const uint8_t *)good, sizeof good - 1, "x", &p, &err), err);
    CHECK(p.count == 1 && p.tensors[0].offset == 1 && p.tensors[0].elements == 3);
    nib_pickle_free(ctx, &p);
}

static nib_status parse(nib_ctx *ctx, const uint8_t *data, size_t bytes, nib_error *err)
{
    nib_safetensors_header h = { 0 };
    nib_filemap copies = { 0 };
    nib_status status = nib_torchfile_parse(ctx, data, bytes, "x.bin", &h, &copies, err);

    nib_safetensors_header_free(ctx, &h);
    nib_filemap_close(&copies);
    return status;
}

/* Each truncation is refused; no changed byte is a crash (the sanitizers watch). */
static void test_broken_files(void)
{
    static const uint8_t old[] = { 0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                   0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.' };
    nib_ctx *ctx = test_ctx();
    char *text;
    uint8_t *copy;
    size_t bytes;
    nib_error err;

    REQUIRE_OK(nib_file_read(ctx, golden("bin-adapter/adapter_model.bin").s, 1 << 20, &text, &bytes,
                             &err), err);
    for (size_t n = 0; n < bytes; n++) {
        copy = test_guarded(n);
        memcpy(copy, text, n);
        CHECK(parse(ctx, copy, n, &err), "%zu of %zu bytes were taken", n, bytes);
    }
    copy = test_guarded(bytes);
    for (size_t i = 0; i < bytes; i++) {
        memcpy(copy, text, bytes);
        copy[i] ^= (uint8_t)(1 + test_rand() % 255);
        parse(ctx, copy, bytes, &err);
    }
    nib_free(ctx, text);
    CHECK(parse(ctx, old, sizeof old, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "before 1.6"), "%s", err.message);
    CHECK(parse(ctx, (const uint8_t *)"hello", 5, &err) == NIB_E_FORMAT, "%s", err.message);
}

/* A member that was packed, as zip does, and two storages of one name. */
static void test_archives(void)
{
    nib_ctx *ctx = test_ctx();
    char *text;
    size_t bytes, at = 0;
    nib_error err;

    REQUIRE_OK(nib_file_read(ctx, golden("bin-adapter/adapter_model.bin").s, 1 << 20, &text, &bytes,
                             &err), err);
    for (size_t i = 0; i + 4 < bytes && !at; i++)
        if (nib_load_le32((uint8_t *)text + i) == 0x02014b50) at = i;
    REQUIRE(at);
    text[at + 10] = 8;
    CHECK(parse(ctx, (uint8_t *)text, bytes, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "compressed"), "%s", err.message);
    text[at + 10] = 0;
    text[at + 8] |= 1;
    CHECK(parse(ctx, (uint8_t *)text, bytes, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "encrypted"), "%s", err.message);
    text[at + 8] = (char)(text[at + 8] & ~1);
    text[at + 46] = '/';
    CHECK(parse(ctx, (uint8_t *)text, bytes, &err) == NIB_E_FORMAT &&
              strstr(err.message, "leaves its folder"), "%s", err.message);
    nib_free(ctx, text);
}

static void test_allocations(void)
{
    char *text;
    size_t bytes, n = 1;
    nib_error err;
    bool ended = false;

    REQUIRE_OK(nib_file_read(test_ctx(), golden("bin/pytorch_model.bin").s, 1 << 20, &text, &bytes,
                             &err), err);
    for (; !ended && n < 2000; n++) {
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_status status;
        size_t before = heap.live;
        heap.fail_at = heap.calls + n;
        status = parse(ctx, (uint8_t *)text, bytes, &err);
        ended = heap.calls < heap.fail_at;
        CHECK(ended ? status == NIB_OK : status == NIB_E_NOMEM, "call %zu: %s", n, err.message);
        CHECK(heap.live == before, "call %zu: %zu are not given back", n, heap.live - before);
        test_ctx_release(ctx);
    }
    CHECK(ended && n > 20, "%zu allocations", n);
    free(text);
}

int main(void)
{
    static const test_case cases[] = {
        { "values", test_values },     { "shards", test_shards },
        { "pickles", test_pickles },   { "broken files", test_broken_files },
        { "archives", test_archives }, { "allocations", test_allocations },
    };
    return test_main("torchfile", cases, NIB_COUNT(cases));
}
