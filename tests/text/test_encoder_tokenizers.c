/* test_encoder_tokenizers.c - the tokenizers of encoders against transformers' fast classes:
 * WordPiece and Unigram, from tokenizer.json and without it, what tokenizer_config.json overrides,
 * odd strings and the code points of two planes
 * (tests/golden/make/encoder_tokenizers_golden.py). */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "test.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static char *read_file(nib_ctx *ctx, const char *path, size_t *bytes)
{
    char *text = NULL;
    nib_error err;

    if (nib_file_read(ctx, path, 64 << 20, &text, bytes, &err)) CHECK(false, "%s", err.message);
    return text;
}

/* "id:begin-end ..."; grows *to. */
static size_t print_tokens(nib_ctx *ctx, const nib_tokens *tokens, char **to, size_t *room)
{
    size_t used = 0;

    if (!nib_grow(ctx, to, room, tokens->count * 48 + 1, 1)) CHECK(false, "out of memory");
    for (size_t i = 0; i < tokens->count; i++) {
        const nib_token *k = &tokens->items[i];
        used += (size_t)snprintf(*to + used, *room - used, "%s%u:%zu-%zu", i ? " " : "", k->id,
                                 k->begin, k->end);
    }
    return used;
}

static void print_decoded(nib_tokenizer *t, nib_ctx *ctx, const nib_tokens *tokens, char *to,
                          size_t room)
{
    uint32_t *ids = nib_new_array(ctx, tokens->count + 1, sizeof *ids);
    char *text = NULL;
    size_t bytes = 0, used = 0;
    nib_error err;

    for (size_t i = 0; i < tokens->count; i++) ids[i] = tokens->items[i].id;
    if (nib_tokenizer_decode(t, ids, tokens->count, true, &text, &bytes, &err))
        CHECK(false, "%s", err.message);
    for (size_t i = 0; i < bytes && used + 3 < room; i++)
        used += (size_t)snprintf(to + used, room - used, "%02x", (uint8_t)text[i]);
    to[used] = 0;
    nib_free(ctx, text);
    nib_free(ctx, ids);
}

static void check_strings(nib_tokenizer *t, nib_ctx *ctx, const char *style, char *expected)
{
    size_t bytes, room = 0, at = 0;
    char *strings = read_file(ctx, test_data("tests/golden/tokenizers/strings"), &bytes);
    char *got = NULL;
    char decoded[8192];
    nib_tokens tokens = { 0 };
    nib_error err;
    int failures = 0;

    for (char *line = expected, *next; at < bytes && failures < 3; line = next + 1) {
        size_t end = at + strlen(strings + at), used; /* each is ended by a 0 */
        bool had_bos;
        char *bar;

        next = strchr(line, '\n');
        REQUIRE(next, "%s: too few lines", style);
        *next = 0;
        bar = strchr(line, '|');
        tokens.count = 0;
        if (nib_tokenizer_encode(t, strings + at, end - at, true, &tokens, &had_bos, &err))
            CHECK(false, "%s: %s", style, err.message);
        used = print_tokens(ctx, &tokens, &got, &room);
        if (had_bos) { /* the one that nibble leaves out */
            line = strchr(line, ' ') ? strchr(line, ' ') + 1 : line;
        }
        print_decoded(t, ctx, &tokens, decoded, sizeof decoded);
        if (used != (size_t)(bar - line) || memcmp(got, line, used) != 0 ||
            strcmp(decoded, bar + 1) != 0) {
            failures++;
            CHECK(false, "%s: '%.*s':\n    %.300s|%.200s\n    %.500s expected", style,
                  (int)(end - at), strings + at, got, decoded, line);
        }
        at = end + 1;
    }
    nib_tokens_free(ctx, &tokens);
    nib_free(ctx, got);
    nib_free(ctx, strings);
}

/* FNV-1a of id, begin and end of each token, as little-endian numbers of 32 bits. */
static uint64_t hash_tokens(const nib_tokens *tokens)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < tokens->count; i++) {
        const nib_token *k = &tokens->items[i];
        uint64_t parts[] = { k->id, k->begin, k->end };

        for (int p = 0; p < 3; p++)
            for (int b = 0; b < 32; b += 8) h = (h ^ (parts[p] >> b & 255)) * 0x100000001b3u;
    }
    return h;
}

/* A word with the character inside, and the character alone, of 1024 code points. */
static size_t point_text(uint32_t block, char *to)
{
    size_t n = 0;

    for (uint32_t c = block; c < block + 1024; c++) {
        if (c == 0 || (c >= 0xd800 && c < 0xe000)) continue;
        to[n++] = 'a';
        n += nib_utf8_write(c, to + n);
        to[n++] = 'b';
        to[n++] = ' ';
        n += nib_utf8_write(c, to + n);
        to[n++] = ' ';
    }
    return n;
}

static void check_points(nib_tokenizer *t, nib_ctx *ctx, const char *style, const char *expected)
{
    char *text = nib_alloc(ctx, 1024 * 16);
    size_t blocks = 0;
    nib_tokens tokens = { 0 };
    nib_error err;

    for (const char *line = expected; *line; line = strchr(line, '\n') + 1, blocks++) {
        size_t n = point_text((uint32_t)blocks * 1024, text);

        tokens.count = 0;
        if (nib_tokenizer_encode(t, text, n, true, &tokens, NULL, &err))
            CHECK(false, "%s: %s", style, err.message);
        CHECK(hash_tokens(&tokens) == strtoull(line, NULL, 16),
              "%s: code points from U+%04zX differ", style, blocks * 1024);
    }
    CHECK(blocks == 64 || blocks == 128 || blocks == 1088, "%s: %zu blocks", style, blocks);
    nib_tokens_free(ctx, &tokens);
    nib_free(ctx, text);
}

/* The tokenizer of DIR against what is expected of `style`. */
static void check_directory(nib_ctx *ctx, const char *dir, const char *style)
{
    char path[512];
    nib_tokenizer *t = NULL;
    size_t bytes;
    char *expected;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
    snprintf(path, sizeof path, "%s/%s/expected", test_data("tests/golden/tokenizers"), style);
    expected = read_file(ctx, path, &bytes);
    check_strings(t, ctx, style, expected);
    nib_free(ctx, expected);
    snprintf(path, sizeof path, "%s/%s/points", test_data("tests/golden/tokenizers"), style);
    if (!strstr(dir, "slow") && nib_file_exists(path)) {
        expected = read_file(ctx, path, &bytes);
        check_points(t, ctx, style, expected);
        nib_free(ctx, expected);
    }
    nib_tokenizer_close(t);
}

static void each_style(bool slow, int styles)
{
    char top[200];
    nib_ctx *ctx = test_ctx();
    DIR *d;
    struct dirent *e;
    int count = 0;

    snprintf(top, sizeof top, "%s", test_data("tests/golden/tokenizers"));
    d = opendir(top);
    REQUIRE(d, "%s cannot be read", top);
    while ((e = readdir(d))) {
        char path[600];

        if (e->d_name[0] == '.' || strcmp(e->d_name, "strings") == 0) continue;
        snprintf(path, sizeof path, "%s/%s%s", top, e->d_name,
                 slow ? "/slow/config.json" : "/tokenizer.json");
        if (!nib_file_exists(path)) continue;
        *strrchr(path, '/') = 0;
        check_directory(ctx, path, e->d_name);
        count++;
    }
    closedir(d);
    CHECK(count == styles, "%d styles", count);
}

static void test_fast(void) { each_style(false, 29); }
static void test_slow(void) { each_style(true, 23); }

int main(void)
{
    static const test_case cases[] = { { "fast", test_fast }, { "slow", test_slow } };
    return test_main("encoder-tokenizers", cases, NIB_COUNT(cases));
}
