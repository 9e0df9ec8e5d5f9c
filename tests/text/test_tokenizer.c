/* test_tokenizer.c - every style of tokenizer against the `tokenizers` library: ids, byte ranges
 * and decoding of odd strings (tests/golden/make/tokenizers_golden.py); refusals; allocations that
 * fail. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/filemap.h"
#include "format/json.h"
#include "test.h"
#include "text/tidy.h"
#include "text/tokenizer.h"
#include "text/tokenizer_parse.h"

static char *read_file(nib_ctx *ctx, const char *path, size_t *bytes)
{
    char *text = NULL;
    nib_error err;
    if (nib_file_read(ctx, path, 64 << 20, &text, bytes, &err)) CHECK(false, "%s", err.message);
    return text;
}

/* What the library printed for one string, made of our tokens. */
static size_t describe(nib_tokenizer *t, const nib_tokens *tokens, nib_ctx *ctx, char *to,
                       size_t room)
{
    uint32_t *ids = nib_new_array(ctx, tokens->count, sizeof *ids);
    size_t used = 0, bytes = 0;
    char *text = NULL;
    nib_error err;

    for (size_t i = 0; i < tokens->count && used < room; i++) {
        const nib_token *k = &tokens->items[i];
        ids[i] = k->id;
        used += (size_t)snprintf(to + used, room - used, "%s%u:%zu-%zu", i ? " " : "", k->id,
                                 k->begin, k->end);
    }
    used += (size_t)snprintf(to + used, room - used, "|");
    if (nib_tokenizer_decode(t, ids, tokens->count, true, &text, &bytes, &err))
        CHECK(false, "%s", err.message);
    for (size_t i = 0; i < bytes && used + 3 < room; i++)
        used += (size_t)snprintf(to + used, room - used, "%02x", (uint8_t)text[i]);
    nib_free(ctx, text);
    nib_free(ctx, ids);
    return used;
}

static void check_style(nib_ctx *ctx, const char *dir, const char *style, const char *strings,
                        size_t bytes)
{
    char path[512], got[16384];
    nib_tokenizer *t = NULL;
    nib_tokens tokens = { 0 };
    nib_error err;
    size_t expected_bytes, at = 0;
    char *expected, *line;
    int failures = 0;

    snprintf(path, sizeof path, "%s/%s", dir, style);
    REQUIRE_OK(nib_tokenizer_open(ctx, path, &t, &err), err);
    snprintf(path, sizeof path, "%s/%s/expected", dir, style);
    line = expected = read_file(ctx, path, &expected_bytes);
    while (at < bytes && line && failures < 3) {
        size_t end = (size_t)((const char *)memchr(strings + at, 1, bytes - at) - strings);
        char *next = strchr(line, '\n');

        REQUIRE(next, "%s: too few lines", path);
        *next = 0;
        tokens.count = 0;
        if (nib_tokenizer_encode(t, strings + at, end - at, true, &tokens, NULL, &err))
            CHECK(false, "%s", err.message);
        describe(t, &tokens, ctx, got, sizeof got);
        if (strcmp(got, line) != 0) {
            failures++;
            CHECK(false, "%s: '%.*s':\n    %.300s\n    %.300s expected", style, (int)(end - at),
                  strings + at, got, line);
        }
        at = end + 1;
        line = next + 1;
    }
    nib_tokens_free(ctx, &tokens);
    nib_free(ctx, expected);
    nib_tokenizer_close(t);
}

static void check_styles(const char *dir, int styles)
{
    nib_ctx *ctx = test_ctx();
    char path[512];
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t bytes;
    char *strings;
    int count = 0;

    REQUIRE(d, "%s cannot be read", dir);
    snprintf(path, sizeof path, "%s/strings", dir);
    strings = read_file(ctx, path, &bytes);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.' && strcmp(e->d_name, "strings") != 0) {
            check_style(ctx, dir, e->d_name, strings, bytes);
            count++;
        }
    closedir(d);
    nib_free(ctx, strings);
    CHECK(count == styles, "%d styles", count);
}

static void test_styles(void) { check_styles(test_data("tests/golden/text"), 9); }

/* Normal forms that compose, sort and take characters apart; added tokens that take the blanks
 * around them, beside each other and beside trimmed ranges
 * (tests/golden/make/offsets_golden.py). */
static void test_offsets(void) { check_styles(test_data("tests/golden/offsets"), 8); }

/* Many texts on one thread and on three: what each gives alone, a bad one only its own error. */
static void test_encode_all(void)
{
    enum { TEXTS = 300 };
    static const char *const words[] = { "Hello", " world", "\n", " caf\xc3\xa9", "123",
                                         "<|endoftext|>", "FOO", " x" };
    char texts[TEXTS][64];

    for (size_t i = 0; i < TEXTS; i++) {
        texts[i][0] = 0;
        for (uint32_t n = test_rand() % 7; n; n--)
            strcat(texts[i], words[test_rand() % NIB_COUNT(words)]);
    }
    strcpy(texts[7], "bad \xff");
    for (int threads = 1; threads <= 3; threads += 2) {
        nib_ctx *ctx = test_ctx_threads(threads, NULL);
        nib_tokenizer *t;
        nib_tokens alone = { 0 };
        nib_encoding *jobs = nib_new_array(ctx, TEXTS, sizeof *jobs);
        nib_error err;

        REQUIRE_OK(nib_tokenizer_open(ctx, test_data("tests/golden/text/qwen2"), &t, &err), err);
        for (size_t i = 0; i < TEXTS; i++)
            jobs[i] = (nib_encoding){ .text = texts[i], .bytes = strlen(texts[i]),
                                      .special = i % 2 };
        for (int round = 0; round < 2; round++)
            REQUIRE_OK(nib_tokenizer_encode_all(t, jobs, TEXTS, &err), err);
        for (size_t i = 0; i < TEXTS; i++) {
            nib_status status;
            alone.count = 0;
            status = nib_tokenizer_encode(t, texts[i], jobs[i].bytes, jobs[i].special, &alone,
                                          NULL, &err);
            CHECK(jobs[i].status == status && (status == NIB_OK) == (i != 7),
                  "text %zu: status %d", i, (int)jobs[i].status);
            if (status) continue;
            CHECK(alone.count == jobs[i].tokens.count,
                  "text %zu: %zu tokens", i, jobs[i].tokens.count);
            for (size_t k = 0; k < alone.count && k < jobs[i].tokens.count; k++)
                CHECK(alone.items[k].id == jobs[i].tokens.items[k].id &&
                      alone.items[k].end == jobs[i].tokens.items[k].end,
                      "text %zu, token %zu", i, k);
        }
        for (size_t i = 0; i < TEXTS; i++) nib_tokens_free(ctx, &jobs[i].tokens);
        nib_free(ctx, jobs);
        nib_tokens_free(ctx, &alone);
        nib_tokenizer_close(t);
    }
}

/* Streamed text is the decoded text, piece by piece, in whole characters. */
static void test_stream(void)
{
    static const char text[] = "One \xf0\x9f\x99\x82 two\n\xe4\xbd\xa0\xe5\xa5\xbd";
    nib_ctx *ctx = test_ctx();
    nib_tokenizer *t;
    nib_text_stream *s;
    nib_tokens tokens = { 0 };
    nib_error err;
    char all[128] = "";
    const char *piece;
    size_t n;

    REQUIRE_OK(nib_tokenizer_open(ctx, test_data("models/pico"), &t, &err), err);
    REQUIRE_OK(nib_tokenizer_encode(t, text, sizeof text - 1, false, &tokens, NULL, &err), err);
    REQUIRE_OK(nib_text_stream_create(t, true, &s, &err), err);
    for (size_t i = 0; i < tokens.count; i++) {
        REQUIRE_OK(nib_text_stream_push(s, tokens.items[i].id, &piece, &n, &err), err);
        strncat(all, piece, n);
        CHECK(n == 0 || ((uint8_t)piece[0] & 0xc0) != 0x80, "a piece begins inside a character");
    }
    REQUIRE_OK(nib_text_stream_finish(s, &piece, &n, &err), err);
    strncat(all, piece, n);
    CHECK(strcmp(all, text) == 0, "'%s'", all);
    nib_text_stream_destroy(s);
    nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
}

/* A run of byte tokens is one, however long: characters where all of it is UTF-8, else a
 * replacement character a byte (as tokenizers 0.22.2 decodes it). */
static void test_byte_run(void)
{
    enum { CHARACTERS = 344 };
    static const uint8_t one[] = { 0xe9, 0xa7, 0x85 };
    nib_ctx *ctx = test_ctx();
    nib_tokenizer *t;
    uint32_t ids[3 * CHARACTERS + 1];
    char *text;
    size_t bytes;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(ctx, test_data("tests/golden/text/llama2"), &t, &err), err);
    for (size_t i = 0; i < NIB_COUNT(ids); i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", one[i % 3]);
        ids[i] = (uint32_t)nib_tokenizer_find(t, name);
    }
    REQUIRE_OK(nib_tokenizer_decode(t, ids, 3 * CHARACTERS, false, &text, &bytes, &err), err);
    CHECK(bytes == 3 * CHARACTERS, "%zu bytes", bytes);
    for (size_t i = 0; i < bytes; i++)
        CHECK((uint8_t)text[i] == one[i % 3], "byte %zu", i);
    nib_free(ctx, text);
    REQUIRE_OK(nib_tokenizer_decode(t, ids, NIB_COUNT(ids), false, &text, &bytes, &err), err);
    CHECK(bytes == 3 * NIB_COUNT(ids) && memcmp(text, "\xef\xbf\xbd", 3) == 0, "%zu bytes", bytes);
    nib_free(ctx, text);
    nib_tokenizer_close(t);
}

/* StripAccents takes every combining mark, those that space (Mc) too: a Devanagari vowel sign is
 * one (as tokenizers 0.22.2 does). */
static void test_accents(void)
{
    static const char json[] =
        "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": {\"type\": \"Sequence\", "
        "\"normalizers\": [{\"type\": \"NFD\"}, {\"type\": \"StripAccents\"}]}, "
        "\"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": null, \"model\": {"
        "\"type\": \"BPE\", \"vocab\": {\"e\": 0, \"\u0915\": 1, \"\u093f\": 2, \"a\": 3}, "
        "\"merges\": []}}";
    static const char text[] = "\xc3\xa9\xe0\xa4\x95\xe0\xa4\xbf" "a"; /* e with acute, ki, a */
    static const uint32_t want[] = { 0, 1, 3 };
    nib_ctx *ctx = test_ctx();
    nib_tokenizer *t = NULL;
    nib_tokens tokens = { 0 };
    nib_error err;

    REQUIRE_OK(nib_tokenizer_parse(ctx, json, sizeof json - 1, "t.json", &t, &err), err);
    REQUIRE_OK(nib_tokenizer_encode(t, text, sizeof text - 1, false, &tokens, NULL, &err), err);
    CHECK(tokens.count == NIB_COUNT(want), "%zu tokens", tokens.count);
    for (size_t i = 0; i < nib_min(tokens.count, NIB_COUNT(want)); i++)
        CHECK(tokens.items[i].id == want[i], "token %zu: %u", i, tokens.items[i].id);
    nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
}

/* The tiny model's tokenizer, whose texts are to be cleaned. */
static const char *tidy_directory(void)
{
    const char *dir = test_tmpdir();
    char path[512], target[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    if (!realpath(test_data("models/pico/tokenizer.json"), target) || symlink(target, path))
        CHECK(false, "%s", path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    f = fopen(path, "w");
    if (f) fputs("{\"clean_up_tokenization_spaces\": true}", f), fclose(f);
    return dir;
}

/* clean_up_tokenization_spaces against transformers (make/tidy_golden.py), whole and byte by byte;
 * then as decoding obeys it. */
static void test_tidy(void)
{
    nib_ctx *ctx = test_ctx();
    json_t *all = NULL, *one;
    nib_tokenizer *t;
    nib_tokens tokens = { 0 };
    uint32_t ids[64];
    char *text;
    size_t i, bytes;
    nib_error err;

    REQUIRE_OK(nib_json_read(ctx, test_data("tests/golden/special/tidy.json"), 0, &all, &err), err);
    json_array_foreach(all, i, one)
    {
        const char *from = json_string_value(json_array_get(one, 0)),
                   *want = json_string_value(json_array_get(one, 1));
        char out[256];
        nib_tidy y = { .on = true };
        size_t n = nib_tidy_push(&y, from, strlen(from), out);

        n += nib_tidy_finish(&y, out + n);
        CHECK(n == strlen(want) && !memcmp(out, want, n), "'%s': '%.*s'", from, (int)n, out);
        n = 0;
        for (const char *p = from; *p; p++) n += nib_tidy_push(&y, p, 1, out + n);
        n += nib_tidy_finish(&y, out + n);
        CHECK(n == strlen(want) && !memcmp(out, want, n), "'%s' by bytes: '%.*s'", from, (int)n,
              out);
    }
    CHECK(i > 400, "%zu cases", i);
    REQUIRE_OK(nib_tokenizer_open(ctx, test_data("models/pico"), &t, &err), err);
    CHECK(!nib_tokenizer_cleans_up(t), "nothing asks for it");
    nib_tokenizer_close(t);
    REQUIRE_OK(nib_tokenizer_open(ctx, tidy_directory(), &t, &err), err);
    REQUIRE_OK(nib_tokenizer_encode(t, "I do n't , he 's .", 18, false, &tokens, NULL, &err), err);
    REQUIRE(tokens.count <= NIB_COUNT(ids), "%zu tokens", tokens.count);
    for (size_t k = 0; k < tokens.count; k++) ids[k] = tokens.items[k].id;
    REQUIRE_OK(nib_tokenizer_decode(t, ids, tokens.count, true, &text, &bytes, &err), err);
    CHECK(bytes == 14 && !strcmp(text, "I don't, he's."), "'%s'", text);
    nib_free(ctx, text);
    nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
    json_decref(all);
}

static void test_refusals(void)
{
    static const struct { const char *json, *says; } bad[] = {
        { "{", "line 1" }, { "[]", "not an object" }, { "{}", "model is missing" },
        { "{\"version\": \"2.0\", \"model\": {}}", "2.0" },
        { "{\"model\": {\"type\": \"Chars\", \"vocab\": {}}}",
          "known: BPE, WordPiece, WordLevel, Unigram" },
        { "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {}}}", "unk_token is missing" },
        { "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {}, \"unk_token\": null}}",
          "unk_token is null" },
        { "{\"model\": {\"type\": \"BPE\", \"dropout\": 0.1, \"vocab\": {\"a\": 0}, "
          "\"merges\": []}}", "dropout is 0.1: the tokenizers library then leaves out merges" },
        { "{\"model\": {\"type\": \"BPE\", \"dropout\": 1.5, \"vocab\": {\"a\": 0}, "
          "\"merges\": []}}", "dropout is 1.5, expected 0 to 1" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}}",
          "not all in the vocabulary" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", "'a'" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
          "\"normalizer\": {\"type\": \"Magic\"}}", "Magic" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
          "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, "
          "\"behavior\": \"Isolated\", \"invert\": false}}", "pattern" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}",
          "both have id 0" },
        { "{\"foo\": 1, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
          "unknown key 'foo'; known: version" },
        { "{\"added_tokens\": null, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, "
          "\"merges\": []}}", "added_tokens is null, expected a list" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], "
          "\"ignore_merge\": true}}", "unknown key 'ignore_merge'" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
          "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": null, "
          "\"trim_offsets\": true}}", "add_prefix_space is null, expected true or false" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
          "\"decoder\": {\"type\": \"Word\"}}",
          "decoder 'Word' is unknown; known: Sequence, Replace, ByteLevel" },
        { "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
          "\"added_tokens\": [{\"id\": 1, \"content\": \"x\"}]}",
          "single_word is missing" },
    };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_tokenizer *t = NULL;
        nib_status status = nib_tokenizer_parse(ctx, bad[i].json, strlen(bad[i].json), "t.json", &t,
                                                &err);
        CHECK(status && !t && strstr(err.message, bad[i].says), "%s: %s", bad[i].json,
              status ? err.message : "accepted");
    }
}

/* WordLevel without a type, as old files have it; a word that is not there where the unknown one is
 * not either. */
static void test_words(void)
{
    static const char json[] = "{\"model\": {\"vocab\": {\"ab\": 0, \"[U]\": 1}, \"unk_token\": "
                               "\"%s\"}, \"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}}";

    for (int known = 0; known < 2; known++) {
        nib_tokenizer *t = NULL;
        nib_tokens tokens = { 0 };
        char text[300];
        nib_error err;
        nib_status status;
        int n = snprintf(text, sizeof text, json, known ? "[U]" : "[V]");

        REQUIRE_OK(nib_tokenizer_parse(test_ctx(), text, (size_t)n, "t.json", &t, &err), err);
        REQUIRE_OK(nib_tokenizer_encode(t, "  ab", 4, true, &tokens, NULL, &err), err);
        CHECK(tokens.count == 1 && tokens.items[0].id == 0 && tokens.items[0].begin == 2,
              "%zu tokens", tokens.count);
        status = nib_tokenizer_encode(t, "c", 1, true, &tokens, NULL, &err);
        if (known) CHECK(!status && tokens.count == 2 && tokens.items[1].id == 1, "no [U]");
        else CHECK(status == NIB_E_FORMAT && strstr(err.message, "'[V]'"), "%s", err.message);
        nib_tokens_free(test_ctx(), &tokens);
        nib_tokenizer_close(t);
    }
}

static void test_allocations(void)
{
    const char *dir = test_data("tests/golden/text/qwen2");
    int refused = 0;

    for (size_t n = 1; n < 4000; n += n < 100 ? 1 : 37) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_tokenizer *t = NULL;
        nib_tokens tokens = { 0 };
        nib_error err;
        nib_status status = nib_tokenizer_open(ctx, dir, &t, &err);

        if (!status)
            status = nib_tokenizer_encode(t, "caf\xc3\xa9 12", 8, true, &tokens, NULL, &err);
        nib_tokens_free(ctx, &tokens);
        nib_tokenizer_close(t);
        CHECK(heap.live == 0, "allocation %zu: %zu blocks leaked", n, heap.live);
        if (heap.calls < n) break; /* all went well: there are no more */
        /* Compiling a pattern to machine code may fail: then PCRE2 interprets it, and all goes
         * well. */
        CHECK(status == NIB_E_NOMEM || status == NIB_OK, "allocation %zu failed, status %d", n,
              (int)status);
        refused += status == NIB_E_NOMEM;
        if (n > 60) break; /* a context a round: the harness keeps 64 */
    }
    CHECK(refused > 20, "%d failures were noticed", refused);
}

int main(void)
{
    static const test_case cases[] = { { "styles", test_styles },
                                       { "offsets", test_offsets },
                                       { "stream", test_stream },
                                       { "encode-all", test_encode_all },
                                       { "byte-run", test_byte_run },
                                       { "tidy", test_tidy },
                                       { "accents", test_accents },
                                       { "refusals", test_refusals },
                                       { "words", test_words },
                                       { "allocations", test_allocations } };
    return test_main("tokenizer", cases, NIB_COUNT(cases));
}
