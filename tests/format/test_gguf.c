/* test_gguf.c - GGUF files: keys and tensors where they lie, and every lie about them refused, at
 * once however large the number is. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/outfile.h"
#include "format/gguf.h"

/* --- a file under construction --- */

typedef struct bytes { uint8_t at[4096]; size_t count; } bytes;

static void put(bytes *b, const void *data, size_t n)
{
    if (n) memcpy(b->at + b->count, data, n);
    b->count += n;
}
static void put8(bytes *b, uint8_t v) { put(b, &v, 1); }
static void put32(bytes *b, uint32_t v) { put(b, &v, 4); }
static void put64(bytes *b, uint64_t v) { put(b, &v, 8); }
static void put_text(bytes *b, const char *s)
{
    put64(b, strlen(s));
    put(b, s, strlen(s));
}
static void pad(bytes *b, size_t alignment)
{
    while (b->count % alignment) put8(b, 0);
}
static void begin(bytes *b, uint64_t tensors, uint64_t keys)
{
    b->count = 0;
    put(b, "GGUF", 4);
    put32(b, 3);
    put64(b, tensors);
    put64(b, keys);
}
static void key(bytes *b, const char *name, uint32_t kind)
{
    put_text(b, name);
    put32(b, kind);
}
static void tensor(bytes *b, const char *name, uint64_t d0, uint64_t d1, uint32_t type,
                   uint64_t offset)
{
    put_text(b, name);
    put32(b, 2);
    put64(b, d0);
    put64(b, d1);
    put32(b, type);
    put64(b, offset);
}

/* Of each case; behind the room one byte is a crash. */
static uint8_t *room;
static nib_ctx *ctx;

static void begin_case(void)
{
    room = test_guarded(sizeof(bytes));
    ctx = test_ctx();
}

static nib_status parse(const bytes *b, nib_gguf *g, nib_error *err)
{
    uint8_t *end = room + sizeof b->at - b->count;

    memcpy(end, b->at, b->count);
    err->message[0] = 0;
    return nib_gguf_parse(ctx, end, b->count, "x.gguf", g, err);
}

#define REFUSED(b, status, ...)                                                                    \
    do {                                                                                           \
        const char *const says[] = { __VA_ARGS__ };                                                \
        nib_gguf g_ = { 0 };                                                                       \
        nib_error err_;                                                                            \
        nib_status got_ = parse(b, &g_, &err_);                                                    \
        CHECK(got_ == (status), "status %d: %s", (int)got_, err_.message);                         \
        for (size_t i_ = 0; i_ < NIB_COUNT(says); i_++)                                            \
            CHECK(strstr(err_.message, says[i_]), "'%s' does not say '%s'", err_.message,          \
                  says[i_]);                                                                       \
        nib_gguf_free(ctx, &g_);                                                            \
    } while (0)

/* Every kind of value, an array of texts, and two tensors. */
static void good(bytes *b)
{
    begin(b, 2, 5);
    key(b, "general.architecture", NIB_GGUF_TEXT);
    put_text(b, "llama");
    key(b, "a.count", NIB_GGUF_U32);
    put32(b, 7);
    key(b, "a.flag", NIB_GGUF_BOOL);
    put8(b, 1);
    key(b, "tokens", NIB_GGUF_ARRAY);
    put32(b, NIB_GGUF_TEXT);
    put64(b, 3);
    put_text(b, "x");
    put_text(b, "");
    put_text(b, "yz");
    key(b, "types", NIB_GGUF_ARRAY);
    put32(b, NIB_GGUF_I32);
    put64(b, 2);
    put32(b, (uint32_t)-3);
    put32(b, 5);
    tensor(b, "one.weight", 32, 2, 8, 0); /* Q8_0: 2 blocks of 34 bytes */
    tensor(b, "two.weight", 3, 1, 0, 96);
    pad(b, 32);
    for (int i = 0; i < 96 + 12; i++) put8(b, (uint8_t)i);
}

static void test_good(void)
{
    bytes b;
    nib_gguf g = { 0 };
    nib_gguf_text text;
    const nib_gguf_value *tokens;
    nib_error err;
    uint64_t count;
    double number;
    size_t at = 0;

    begin_case();
    good(&b);
    REQUIRE_OK(parse(&b, &g, &err), err);
    REQUIRE(g.count == 2 && g.value_count == 5);
    CHECK(strcmp(g.tensors[0].name, "one.weight") == 0 && g.tensors[0].shape[0] == 2 &&
          g.tensors[0].shape[1] == 32 && g.tensors[0].rank == 2 && g.tensors[0].bytes == 68 &&
          strcmp(g.tensors[0].dtype_name, "Q8_0") == 0 &&
          g.tensors[0].dtype == NIB_DTYPE_OTHER && *(const uint8_t *)g.tensors[0].data == 0);
    CHECK(g.tensors[1].dtype == NIB_F32 && g.tensors[1].bytes == 12 &&
          *(const uint8_t *)g.tensors[1].data == 96);
    CHECK(nib_gguf_one_text(nib_gguf_find(&g, "general.architecture"), &text) &&
          nib_gguf_text_is(text, "llama"));
    CHECK(nib_gguf_count(nib_gguf_find(&g, "a.count"), 0, &count) && count == 7);
    CHECK(!nib_gguf_count(nib_gguf_find(&g, "a.count"), 1, &count));
    CHECK(nib_gguf_number(nib_gguf_find(&g, "a.flag"), 0, &number) && number == 1);
    CHECK(!nib_gguf_find(&g, "a") && !nib_gguf_number(NULL, 0, &number));
    CHECK(nib_gguf_number(nib_gguf_find(&g, "types"), 0, &number) && number == -3);
    CHECK(!nib_gguf_count(nib_gguf_find(&g, "types"), 0, &count));
    tokens = nib_gguf_find(&g, "tokens");
    CHECK(tokens && tokens->count == 3 && !nib_gguf_one_text(tokens, &text));
    CHECK(nib_gguf_next_text(tokens, &at, &text) && nib_gguf_text_is(text, "x"));
    CHECK(nib_gguf_next_text(tokens, &at, &text) && nib_gguf_text_is(text, ""));
    CHECK(nib_gguf_next_text(tokens, &at, &text) && nib_gguf_text_is(text, "yz"));
    CHECK(!nib_gguf_next_text(tokens, &at, &text));
    nib_gguf_free(ctx, &g);
    b.at[4] = 2; /* read the same way */
    REQUIRE_OK(parse(&b, &g, &err), err);
    nib_gguf_free(ctx, &g);
}

/* Cut anywhere it is refused; so is every byte behind the magic changed, or nothing breaks. */
static void test_cut_and_changed(void)
{
    bytes b, cut;
    nib_gguf g = { 0 };
    nib_error err;

    begin_case();
    good(&b);
    for (size_t n = 0; n < b.count; n++) {
        cut = b;
        cut.count = n;
        CHECK(parse(&cut, &g, &err) != NIB_OK, "cut at %zu", n);
        nib_gguf_free(ctx, &g);
    }
    for (size_t n = 4; n < b.count; n++) {
        cut = b;
        cut.at[n] ^= 0x81;
        if (!parse(&cut, &g, &err)) CHECK(g.count == 2);
        else CHECK(strstr(err.message, "x.gguf"), "%s", err.message);
        nib_gguf_free(ctx, &g);
    }
}

static void test_headers(void)
{
    bytes b;

    begin_case();
    good(&b);
    b.at[4] = 1;
    REFUSED(&b, NIB_E_UNSUPPORTED, "version 1", "2 and 3");
    b.at[4] = 4;
    REFUSED(&b, NIB_E_FORMAT, "version 4");
    memcpy(b.at + 4, "\0\0\0\3", 4);
    REFUSED(&b, NIB_E_UNSUPPORTED, "big-endian");
    begin(&b, 1000000000, 0);
    REFUSED(&b, NIB_E_FORMAT, "1000000000 tensors");
    begin(&b, (uint64_t)-1, (uint64_t)-1);
    REFUSED(&b, NIB_E_FORMAT, "-1 tensors and -1 keys");
    begin(&b, 0, 0);
    b.at[0] = 'g';
    REFUSED(&b, NIB_E_FORMAT, "do not begin");
}

static void test_keys(void)
{
    bytes b;

    begin_case();
    begin(&b, 0, 1);
    key(&b, "tokens", NIB_GGUF_ARRAY);
    put32(&b, NIB_GGUF_TEXT);
    put64(&b, 1000000000);
    put_text(&b, "x");
    REFUSED(&b, NIB_E_FORMAT, "tokens", "1000000000 entries");
    begin(&b, 0, 1);
    key(&b, "sizes", NIB_GGUF_ARRAY);
    put32(&b, NIB_GGUF_U64);
    put64(&b, (uint64_t)1 << 61); /* times 8 is 0 */
    REFUSED(&b, NIB_E_FORMAT, "sizes");
    begin(&b, 0, 1);
    key(&b, "nested", NIB_GGUF_ARRAY);
    put32(&b, NIB_GGUF_ARRAY);
    put64(&b, 1);
    REFUSED(&b, NIB_E_FORMAT, "array of arrays");
    begin(&b, 0, 1);
    key(&b, "strange", 13);
    put64(&b, 1);
    REFUSED(&b, NIB_E_FORMAT, "strange", "type 13");
    begin(&b, 0, 1);
    key(&b, "flag", NIB_GGUF_BOOL);
    put8(&b, 2);
    REFUSED(&b, NIB_E_FORMAT, "flag", "bool of 2");
    begin(&b, 0, 1);
    key(&b, "text", NIB_GGUF_TEXT);
    put64(&b, (uint64_t)-8);
    REFUSED(&b, NIB_E_FORMAT, "text", "where 0 are left");
    begin(&b, 0, 2);
    for (int i = 0; i < 2; i++) key(&b, "same", NIB_GGUF_U8), put8(&b, 1);
    REFUSED(&b, NIB_E_FORMAT, "same", "twice");
    begin(&b, 0, 1);
    key(&b, "", NIB_GGUF_U8);
    put8(&b, 1);
    REFUSED(&b, NIB_E_FORMAT, "empty");
    begin(&b, 0, 1);
    key(&b, "general.alignment", NIB_GGUF_U32);
    put32(&b, 24);
    REFUSED(&b, NIB_E_FORMAT, "general.alignment", "power of two");
}

static void test_tensors(void)
{
    static const struct { uint64_t d0, d1; uint32_t type; nib_status status; const char *says; }
    wrong[] = {
        { 32, 1, 4, NIB_E_UNSUPPORTED, "tensor type 4" },
        { 32, 1, 99, NIB_E_UNSUPPORTED, "tensor type 99" },
        { 33, 1, 8, NIB_E_FORMAT, "no whole blocks of Q8_0" },
        { 0, 1, 0, NIB_E_FORMAT, "dimension 0 is 0" },
        { 4, (uint64_t)-1, 0, NIB_E_FORMAT, "dimension 1 is -1" },
        { (uint64_t)1 << 40, (uint64_t)1 << 40, 0, NIB_E_FORMAT, "too large" },
        { (uint64_t)1 << 62, 1, 0, NIB_E_FORMAT, "too large" },
        { 1000, 1, 0, NIB_E_FORMAT, "4000 bytes from offset 0" },
    };
    bytes b;

    begin_case();
    for (size_t i = 0; i < NIB_COUNT(wrong); i++) {
        begin(&b, 1, 0);
        tensor(&b, "t", wrong[i].d0, wrong[i].d1, wrong[i].type, 0);
        pad(&b, 32);
        for (int k = 0; k < 64; k++) put8(&b, 0);
        REFUSED(&b, wrong[i].status, wrong[i].says);
    }
    begin(&b, 2, 0); /* overlapping */
    tensor(&b, "t", 16, 1, 0, 0);
    tensor(&b, "u", 16, 1, 0, 32);
    pad(&b, 32);
    for (int k = 0; k < 256; k++) put8(&b, 0);
    REFUSED(&b, NIB_E_FORMAT, "u lies at offset 32, expected 64");
    begin(&b, 2, 0);
    tensor(&b, "t", 8, 1, 0, 0);
    tensor(&b, "t", 8, 1, 0, 32);
    pad(&b, 32);
    for (int k = 0; k < 64; k++) put8(&b, 0);
    REFUSED(&b, NIB_E_FORMAT, "two tensors are called t");
    begin(&b, 1, 0);
    tensor(&b, "a name of sixty-four bytes is longer than ggml has room for, ok.", 8, 1, 0, 0);
    REFUSED(&b, NIB_E_FORMAT, "64 bytes", "at most 63");
    begin(&b, 1, 0);
    put_text(&b, "t");
    put32(&b, 5);
    for (int k = 0; k < 64; k++) put8(&b, 1);
    REFUSED(&b, NIB_E_FORMAT, "5 dimensions");
}

/* --- split files --- */

static void split(bytes *b, unsigned no, unsigned count, const char *name)
{
    begin(b, 1, 3);
    key(b, "split.no", NIB_GGUF_U16);
    put(b, &(uint16_t){ (uint16_t)no }, 2);
    key(b, "split.count", NIB_GGUF_U16);
    put(b, &(uint16_t){ (uint16_t)count }, 2);
    key(b, "split.tensors.count", NIB_GGUF_I32);
    put32(b, 2);
    tensor(b, name, 8, 1, 0, 0);
    pad(b, 32);
    for (int k = 0; k < 32; k++) put8(b, (uint8_t)no);
}

static void write_file(const char *path, const bytes *b)
{
    FILE *f = fopen(path, "wb");

    REQUIRE(f && fwrite(b->at, 1, b->count, f) == b->count && !fclose(f), "%s", path);
}

static void test_splits(void)
{
    char first[600], second[600];
    bytes a, b;
    nib_tensors *t = NULL;
    nib_error err;

    snprintf(first, sizeof first, "%s/m-00001-of-00002.gguf", test_tmpdir());
    snprintf(second, sizeof second, "%s/m-00002-of-00002.gguf", test_tmpdir());
    split(&a, 0, 2, "one");
    split(&b, 1, 2, "two");
    write_file(first, &a);
    CHECK(nib_tensors_open(test_ctx(), first, &t, &err) == NIB_E_IO &&
          strstr(err.message, "00002-of-00002"), "%s", err.message);
    write_file(second, &b);
    REQUIRE_OK(nib_tensors_open(test_ctx(), first, &t, &err), err);
    CHECK(nib_tensors_count(t) == 2 && nib_tensors_find(t, "one") && nib_tensors_find(t, "two") &&
          *(const uint8_t *)nib_tensors_find(t, "two")->data == 1 && nib_tensors_gguf(t) &&
          strstr(nib_tensors_find(t, "one")->file, "00001") &&
          nib_tensors_find(t, "one")->map != nib_tensors_find(t, "two")->map);
    CHECK(!nib_tensors_unchanged(t, &err));
    nib_tensors_close(t);
    CHECK(nib_tensors_open(test_ctx(), second, &t, &err) == NIB_E_INVALID &&
          strstr(err.message, "the first"), "%s", err.message);
    split(&b, 0, 2, "two");
    write_file(second, &b);
    CHECK(nib_tensors_open(test_ctx(), first, &t, &err) == NIB_E_FORMAT &&
          strstr(err.message, "part 1 of 2"), "%s", err.message);
    split(&b, 1, 2, "one"); /* the same name in both */
    write_file(second, &b);
    CHECK(nib_tensors_open(test_ctx(), first, &t, &err) == NIB_E_FORMAT &&
          strstr(err.message, "twice"), "%s", err.message);
}

static void test_no_memory(void)
{
    bytes b;

    good(&b);
    for (size_t fail = 1;; fail++) {
        test_heap heap = { .fail_at = fail };
        nib_ctx *failing = test_ctx_heap(&heap);
        nib_gguf g = { 0 };
        nib_error err;
        nib_status status;
        status = nib_gguf_parse(failing, b.at, b.count, "x.gguf", &g, &err);
        CHECK(!status || status == NIB_E_NOMEM, "%s", err.message);
        nib_gguf_free(failing, &g);
        CHECK(heap.live == 0, "%zu blocks were not freed", heap.live);
        test_ctx_release(failing);
        if (!status) break;
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "good", test_good }, { "cut and changed", test_cut_and_changed },
        { "headers", test_headers }, { "keys", test_keys }, { "tensors", test_tensors },
        { "splits", test_splits }, { "no memory", test_no_memory },
    };
    return test_main("format/test_gguf", cases, NIB_COUNT(cases));
}
