/* test_gguf_tokens.c - a tokenizer written as keys of a GGUF and read back gives the same ids of
 * odd strings; what has no form there is refused by name. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/filemap.h"
#include "test.h"
#include "text/gguf_tokens.h"

static nib_status write_keys(nib_ctx *ctx, nib_tokenizer *t, const char *dir, const char *path,
                             size_t vocabulary, const char *merged, nib_error *err)
{
    nib_gguf_writer *w = NULL;
    nib_status status = nib_gguf_writer_create(ctx, &w, err);

    if (!status) status = nib_gguf_put_tokenizer(t, dir, vocabulary, merged, w, err);
    if (!status) status = nib_gguf_writer_open(w, path, err);
    if (status) nib_gguf_writer_discard(w);
    return status ? status : nib_gguf_writer_commit(w, err);
}

/* What GGUF cannot say: that FOO is a whole word there, that no space is put before text that
 * begins with one (Metaspace), nor behind a special token (its scheme "first"). */
static bool is_unsayable(const char *style, const char *string, size_t n)
{
    bool first = strcmp(style, "mistral") == 0, metaspace = strcmp(style, "metaspace") == 0;

    return memmem(string, n, "FOO", 3) || (first && memchr(string, '<', n)) ||
           ((first || metaspace) && ((n && *string == ' ') || memmem(string, n, "> ", 2)));
}

/* Strings lie one after the other, a byte of 1 behind each. */
static void check_ids(nib_ctx *ctx, nib_tokenizer *t, nib_tokenizer *again, const char *style)
{
    char *strings = NULL;
    size_t bytes, at = 0, count = 0;
    nib_tokens a = { 0 }, b = { 0 };
    nib_error err;

    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/text/strings"), 16 << 20, &strings,
                             &bytes, &err), err);
    for (; at < bytes; count++) {
        const char *end = memchr(strings + at, 1, bytes - at);
        size_t n = (size_t)(end - (strings + at));
        bool same;
        a.count = b.count = 0;
        REQUIRE_OK(nib_tokenizer_encode(t, strings + at, n, false, &a, NULL, &err), err);
        REQUIRE_OK(nib_tokenizer_encode(again, strings + at, n, false, &b, NULL, &err), err);
        same = a.count == b.count;
        for (size_t i = 0; same && i < a.count; i++) same = a.items[i].id == b.items[i].id;
        same |= is_unsayable(style, strings + at, n);
        CHECK(same, "%s: string %zu, '%.*s': %zu tokens, %zu written", style, count, (int)n,
              strings + at, a.count, b.count);
        at += n + 1;
    }
    CHECK(count > 100, "%zu strings", count);
    nib_tokens_free(ctx, &a);
    nib_tokens_free(ctx, &b);
    nib_free(ctx, strings);
}

static void check_style(nib_ctx *ctx, const char *folder, const char *style, const char *merged)
{
    char dir[600], path[600], text[80];
    nib_tokenizer *t = NULL, *again = NULL;
    bool unigram = strcmp(style, "xlm-roberta") == 0 || strcmp(style, "t5") == 0;
    const char *pad;
    nib_error err;

    snprintf(text, sizeof text, "tests/golden/%s/%s", folder, style);
    snprintf(dir, sizeof dir, "%s", test_data(text));
    snprintf(path, sizeof path, "%s/%s.gguf", test_tmpdir(), style);
    REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
    REQUIRE_OK(write_keys(ctx, t, dir, path, nib_tokenizer_size(t) + 5, merged, &err), err);
    REQUIRE_OK(nib_tokenizer_open(ctx, path, &again, &err), err);
    check_ids(ctx, t, again, style);
    CHECK(nib_tokenizer_bos(t) < 0 || nib_tokenizer_bos(again) == nib_tokenizer_bos(t));
    pad = nib_tokenizer_token(again, (uint32_t)nib_tokenizer_size(t) + 4);
    CHECK(unigram ? !pad : pad && strncmp(pad, "[PAD", 4) == 0, "%s: %s", style,
          pad ? pad : "none"); /* a piece's score counts among the others */
    nib_tokenizer_close(t);
    nib_tokenizer_close(again);
}

static void test_styles(void)
{
    static const char *const styles[] = { "falcon", "gpt2", "llama2", "llama3", "metaspace",
                                          "mistral", "qwen2", "smollm" };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(styles); i++) check_style(ctx, "text", styles[i], NULL);
}

static void test_wordpiece(void)
{
    static const char *const styles[] = { "bert-uncased", "bert-cased", "bert-multilingual" };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(styles); i++) check_style(ctx, "tokenizers", styles[i], NULL);
}

static void test_unigram(void)
{
    static const char *const styles[] = { "xlm-roberta", "t5" };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(styles); i++) check_style(ctx, "tokenizers", styles[i], NULL);
}

/* The same tokenizer with scores, and with its merges. */
static void test_merged(void)
{
    check_style(test_ctx(), "tokenizers", "gemma", NULL);
    check_style(test_ctx(), "tokenizers", "gemma", "gemma4");
}

static void test_refused(void)
{
    nib_ctx *ctx = test_ctx();
    char dir[600], path[600];
    nib_tokenizer *t = NULL;
    nib_error err = { 0 };

    snprintf(path, sizeof path, "%s/refused.gguf", test_tmpdir());
    snprintf(dir, sizeof dir, "%s", test_data("tests/golden/text/gpt2-prefix"));
    REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
    CHECK(write_keys(ctx, t, dir, path, nib_tokenizer_size(t), NULL, &err) == NIB_E_UNSUPPORTED &&
          strstr(err.message, "tokenizer.ggml.pre"), "%s", err.message);
    nib_tokenizer_close(t);
    snprintf(dir, sizeof dir, "%s", test_data("models/pico"));
    REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
    CHECK(write_keys(ctx, t, dir, path, 5, NULL, &err) == NIB_E_MISMATCH &&
          strstr(err.message, "the embedding 5 rows"), "%s", err.message);
    nib_tokenizer_close(t);
    snprintf(dir, sizeof dir, "%s", test_data("tests/golden/tokenizers/albert"));
    REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
    CHECK(write_keys(ctx, t, dir, path, 500, NULL, &err) == NIB_E_UNSUPPORTED &&
          strstr(err.message, "beside Unigram"), "%s", err.message);
    nib_tokenizer_close(t);
    CHECK(!nib_file_exists(path));
}

/* What a Unigram tokenizer.json may ask for and no key says. */
static void test_unigram_refused(void)
{
#define TAIL "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}}"
#define MODEL "\"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": []}, "
    static const struct { const char *json, *says; } bad[] = {
        { "{\"model\": {\"type\": \"Unigram\", \"vocab\": []}, " TAIL, "unk_id" },
        { "{\"model\": {\"type\": \"Unigram\", \"unk_id\": null, \"vocab\": []}, " TAIL,
          "unk_id" },
        { "{" MODEL "\"normalizer\": {\"type\": \"Strip\", \"strip_left\": false, "
          "\"strip_right\": true}, " TAIL, "Strip" },
        { "{" MODEL "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": "
          "\" {2,}\"}, \"content\": \"\"}, " TAIL, "normalizer Replace" },
        { "{" MODEL "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": "
          "\" {2,}\"}, \"content\": \" \"}, " TAIL, NULL },
    };

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        json_t *json = json_loads(bad[i].json, 0, NULL);
        nib_gguf_unigram u = { 0 };
        nib_error err = { 0 };
        nib_status status;

        REQUIRE(json, "%zu", i);
        status = nib_gguf_unigram_read(test_ctx(), json, "dir", &u, &err);
        CHECK(bad[i].says ? status == NIB_E_UNSUPPORTED && strstr(err.message, bad[i].says)
                          : !status && u.squeezes && u.unknown == 0, "%zu: %s", i, err.message);
        json_decref(json);
    }
}

static const test_case cases[] = { { "styles", test_styles }, { "WordPiece", test_wordpiece },
                                   { "Unigram", test_unigram }, { "merges", test_merged },
                                   { "Unigram that is refused", test_unigram_refused },
                                   { "refused", test_refused } };

int main(void) { return test_main("test_gguf_tokens", cases, NIB_COUNT(cases)); }
