/* test_sentencepiece.c - SentencePiece models: what a file holds, and what is refused of broken
 * ones.  That the tokenizers made of them are transformers' is in test_encoder_tokenizers.c. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "test.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

static char *read_model(nib_ctx *ctx, const char *path, size_t *bytes)
{
    char *text = NULL;
    nib_error err;

    if (nib_file_read(ctx, test_data(path), 64 << 20, &text, bytes, &err))
        CHECK(false, "%s", err.message);
    return text;
}

static void test_contents(void)
{
    nib_ctx *ctx = test_ctx();
    size_t bytes;
    char *text = read_model(ctx, "tests/golden/tokenizers/t5/slow/spiece.model", &bytes);
    nib_spm m = { 0 };
    nib_error err;

    REQUIRE_OK(nib_spm_read(ctx, (uint8_t *)text, bytes, "m", &m, &err), err);
    CHECK(m.count > 300 && m.model_type == NIB_SPM_UNIGRAM && m.unk_id == 2,
          "%zu pieces, type %d, unk %d", m.count, (int)m.model_type, (int)m.unk_id);
    CHECK(m.pieces[1].bytes == 4 && memcmp(m.pieces[1].text, "</s>", 4) == 0 &&
              m.pieces[1].type == NIB_PIECE_CONTROL,
          "piece 1");
    CHECK(m.charsmap_bytes > 1000, "%zu bytes of charsmap", m.charsmap_bytes);
    nib_spm_free(ctx, &m);
    nib_free(ctx, text);
}

/* A file that ends anywhere: refused, or read as far as whole fields go; never past its end, which
 * is an unreadable page. */
static void test_short(void)
{
    nib_ctx *ctx = test_ctx();
    size_t bytes, refused = 0;
    char *text = read_model(ctx, "fuzz/seeds/sentencepiece/llama", &bytes);
    nib_error err;

    for (size_t n = 0; n < bytes; n++) {
        uint8_t *copy = test_guarded(n);
        nib_spm m = { 0 };

        memcpy(copy, text + 1, n);
        if (nib_spm_read(ctx, copy, n, "m", &m, &err)) refused++;
        else nib_spm_free(ctx, &m);
    }
    CHECK(refused > bytes / 2, "%zu of %zu refused", refused, bytes);
    nib_free(ctx, text);
}

static void test_refusals(void)
{
    static const struct { const char *bytes; size_t count; const char *says; } bad[] = {
        { "", 0, "no pieces" },
        { "\x0a\x05\x0a\x03" "a", 5, "byte 2: a field passes the end" },
        { "\x0a\x03\x0a\x01\xff", 5, "piece 0 is no UTF-8" },
        { "\x0a\x03\x0a\x01\x00", 5, "piece 0 is no UTF-8" },
        { "\x0a\x05\x15\x00\x00\x80\x7f", 7, "a score that is not finite" },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, "more than ten bytes" },
        { "\x07", 1, "byte 1: field 0" },
        { "\x0f", 1, "unknown kind" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_spm m = { 0 };
        nib_error err;
        nib_status status = nib_spm_read(ctx, (const uint8_t *)bad[i].bytes, bad[i].count, "m", &m,
                                         &err);
        CHECK(status == NIB_E_FORMAT && strstr(err.message, bad[i].says), "case %zu: %s", i,
              status ? err.message : "accepted");
    }
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    REQUIRE(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

/* Directories: what stands in the way is named with its line or its key. */
static void test_directories(void)
{
    static const struct { const char *class, *name, *text, *says; } bad[] = {
        { "RobertaTokenizer", "vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2}", "merges.txt" },
        { "BertTokenizer", "vocab.txt", "", "no tokens" },
        { "BertTokenizer", "vocab.txt", "a\nb\xff\n", "vocab.txt:2" },
        { "BertTokenizer", "vocab.txt", "a\nb\n", "id -1 is no token" },
        { "T5Tokenizer", "spiece.model", "x", "byte 1" },
        { "T5Tokenizer", "tokenizer.model", "x", "not read for the class" },
    };
    nib_ctx *ctx = test_ctx();
    const char *top = test_tmpdir();

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        char dir[256], config[100];
        nib_tokenizer *t = NULL;
        nib_error err;

        snprintf(dir, sizeof dir, "%s/%zu", top, i);
        REQUIRE(mkdir(dir, 0700) == 0, "%s", dir);
        snprintf(config, sizeof config, "{\"tokenizer_class\": \"%s\"}", bad[i].class);
        write_file(dir, "tokenizer_config.json", config);
        write_file(dir, bad[i].name, bad[i].text);
        CHECK(nib_tokenizer_open(ctx, dir, &t, &err) && !t && strstr(err.message, bad[i].says),
              "case %zu: %s", i, t ? "accepted" : err.message);
    }
}

int main(void)
{
    static const test_case cases[] = { { "contents", test_contents },
                                       { "short", test_short },
                                       { "refusals", test_refusals },
                                       { "directories", test_directories } };
    return test_main("sentencepiece", cases, NIB_COUNT(cases));
}
