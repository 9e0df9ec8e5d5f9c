/* test_gguf_tokenizer.c - tokenizers rebuilt of a GGUF's keys give the ids and the text of the
 * tokenizer.json that the keys were made of, which is held to the tokenizers library
 * (test_tokenizer.c); chat templates, end tokens, and what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/filemap.h"
#include "format/gguf.h"
#include "format/json.h"
#include "test.h"
#include "text/chat.h"
#include "text/gguf_pre.h"
#include "text/model_file.h"
#include "text/tokenizer.h"

/* --- a GGUF of keys alone --- */

typedef struct keys { uint8_t *at; size_t count, capacity; uint64_t keys; } keys;

static void put(keys *b, const void *data, size_t n)
{
    if (b->count + n > b->capacity) {
        b->capacity = 2 * (b->count + n);
        b->at = realloc(b->at, b->capacity);
    }
    if (n) memcpy(b->at + b->count, data, n);
    b->count += n;
}
static void put32(keys *b, uint32_t v) { put(b, &v, 4); }
static void put64(keys *b, uint64_t v) { put(b, &v, 8); }
static void put_text(keys *b, const char *s)
{
    put64(b, strlen(s));
    put(b, s, strlen(s));
}
static void key(keys *b, const char *name, uint32_t kind)
{
    put_text(b, name);
    put32(b, kind);
    b->keys++;
}
static void text_key(keys *b, const char *name, const char *value)
{
    key(b, name, NIB_GGUF_TEXT);
    put_text(b, value);
}
static void array_key(keys *b, const char *name, uint32_t entry, uint64_t count)
{
    key(b, name, NIB_GGUF_ARRAY);
    put32(b, entry);
    put64(b, count);
}

static void write_keys(const char *path, keys *b)
{
    FILE *f = fopen(path, "wb");
    uint32_t version = 3;
    uint64_t tensors = 0;

    REQUIRE(f, "%s", path);
    fwrite("GGUF", 1, 4, f);
    fwrite(&version, 4, 1, f);
    fwrite(&tensors, 8, 1, f);
    fwrite(&b->keys, 8, 1, f);
    fwrite(b->at, 1, b->count, f);
    fclose(f);
    free(b->at);
    *b = (keys){ 0 };
}

/* --- from a tokenizer.json --- */

static const char *merge_part(const json_t *merge, size_t i, char room[300])
{
    const char *both = json_string_value(merge), *space;

    if (!both) return json_string_value(json_array_get(merge, i));
    space = strchr(both, ' ');
    if (i) return space + 1;
    snprintf(room, 300, "%.*s", (int)(space - both), both);
    return room;
}

/* SentencePiece's scores: minus the rank of the first merge that makes the piece. */
static void put_scores(keys *b, const json_t *merges, const char **tokens, size_t count)
{
    array_key(b, "tokenizer.ggml.scores", NIB_GGUF_F32, count);
    for (size_t i = 0; i < count; i++) {
        float score = 0;
        for (size_t m = 0; m < json_array_size(merges); m++) {
            char joined[600], left[300], right[300];
            const json_t *one = json_array_get(merges, m);
            snprintf(joined, sizeof joined, "%s%s", merge_part(one, 0, left),
                     merge_part(one, 1, right));
            if (strcmp(joined, tokens[i]) != 0) continue;
            score = -(float)(m + 1);
            break;
        }
        put(b, &score, sizeof score);
    }
}

static void put_merges(keys *b, const json_t *merges)
{
    array_key(b, "tokenizer.ggml.merges", NIB_GGUF_TEXT, json_array_size(merges));
    for (size_t m = 0; m < json_array_size(merges); m++) {
        char both[600], left[300], right[300];
        const json_t *one = json_array_get(merges, m);
        snprintf(both, sizeof both, "%s %s", merge_part(one, 0, left), merge_part(one, 1, right));
        put_text(b, both);
    }
}

static void put_types(keys *b, const json_t *root, const char **tokens, size_t count, bool spm)
{
    const json_t *added = json_object_get(root, "added_tokens"), *one;
    size_t k;

    array_key(b, "tokenizer.ggml.token_type", NIB_GGUF_I32, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t type = 1;
        json_array_foreach(added, k, one)
            if (json_integer_value(json_object_get(one, "id")) == (json_int_t)i)
                type = json_is_true(json_object_get(one, "special")) ? 3 : 4;
        if (spm && strncmp(tokens[i], "<0x", 3) == 0) type = 6;
        put32(b, type);
    }
}

static void make_gguf(const char *json, const char *pre, const char *path)
{
    json_t *root = NULL;
    const json_t *vocab, *merges, *added, *one;
    const char *token, **tokens;
    json_t *id;
    size_t count, k;
    keys b = { 0 };
    nib_error err;

    REQUIRE_OK(nib_json_read(test_ctx(), json, 0, &root, &err), err);
    vocab = json_object_get(json_object_get(root, "model"), "vocab");
    merges = json_object_get(json_object_get(root, "model"), "merges");
    added = json_object_get(root, "added_tokens");
    count = json_object_size(vocab);
    json_array_foreach(added, k, one) {
        json_int_t number = json_integer_value(json_object_get(one, "id"));
        if ((size_t)number + 1 > count) count = (size_t)number + 1;
    }
    tokens = calloc(count, sizeof *tokens);
    json_object_foreach((json_t *)(uintptr_t)vocab, token, id)
        tokens[json_integer_value(id)] = token;
    json_array_foreach(added, k, one)
        tokens[json_integer_value(json_object_get(one, "id"))] =
            json_string_value(json_object_get(one, "content"));
    text_key(&b, "tokenizer.ggml.model", pre ? "gpt2" : "llama");
    if (pre) text_key(&b, "tokenizer.ggml.pre", pre);
    array_key(&b, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, count);
    for (size_t i = 0; i < count; i++) put_text(&b, tokens[i]);
    put_types(&b, root, tokens, count, !pre);
    if (pre) {
        put_merges(&b, merges);
        key(&b, "tokenizer.ggml.bos_token_id", NIB_GGUF_U32);
        put32(&b, 0);
    } else {
        put_scores(&b, merges, tokens, count);
    }
    write_keys(path, &b);
    free(tokens);
    json_decref(root);
}

/* --- comparing --- */

static void check_text(nib_ctx *ctx, nib_tokenizer *want, nib_tokenizer *got, const char *text,
                       size_t bytes, const char *style)
{
    nib_tokens a = { 0 }, b = { 0 };
    uint32_t *ids;
    char *one = NULL, *other = NULL;
    size_t one_bytes = 0, other_bytes = 0;
    nib_error err;
    /* BOS is not added twice where it is known by its name, as only the GGUF says it */
    bool special = strncmp(text, "<|endoftext|>", 13) != 0 && strncmp(text, "<s>", 3) != 0;

    REQUIRE_OK(nib_tokenizer_encode(want, text, bytes, special, &a, NULL, &err), err);
    REQUIRE_OK(nib_tokenizer_encode(got, text, bytes, special, &b, NULL, &err), err);
    CHECK(a.count == b.count, "%s: '%.*s': %zu tokens, expected %zu", style, (int)bytes, text,
          b.count, a.count);
    ids = calloc(a.count + 1, sizeof *ids);
    for (size_t i = 0; i < a.count && i < b.count; i++) {
        ids[i] = a.items[i].id;
        CHECK(a.items[i].id == b.items[i].id,
              "%s: '%.*s': token %zu", style, (int)bytes, text, i);
    }
    REQUIRE_OK(nib_tokenizer_decode(want, ids, a.count, false, &one, &one_bytes, &err), err);
    REQUIRE_OK(nib_tokenizer_decode(got, ids, a.count, false, &other, &other_bytes, &err), err);
    CHECK(one_bytes == other_bytes && memcmp(one, other, one_bytes) == 0, "%s: '%s' and '%s'",
          style, one, other);
    free(ids);
    nib_free(ctx, one);
    nib_free(ctx, other);
    nib_tokens_free(ctx, &a);
    nib_tokens_free(ctx, &b);
}

static void check_style(const char *style, const char *pre)
{
    char dir[600], json[700], path[600], *strings = NULL;
    nib_tokenizer *want = NULL, *got = NULL;
    nib_ctx *ctx = test_ctx();
    size_t bytes = 0, checked = 0;
    nib_error err;

    snprintf(dir, sizeof dir, "%s/%s", test_data("tests/golden/text"), style);
    snprintf(json, sizeof json, "%s/tokenizer.json", dir);
    snprintf(path, sizeof path, "%s/%s.gguf", test_tmpdir(), style);
    make_gguf(json, pre, path);
    REQUIRE_OK(nib_tokenizer_open(ctx, dir, &want, &err), err);
    REQUIRE_OK(nib_tokenizer_open(ctx, path, &got, &err), err);
    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/text/strings"), 1 << 24, &strings, &bytes,
                             &err), err);
    for (char *at = strings, *end; at < strings + bytes; at = end + 1) {
        end = memchr(at, 1, (size_t)(strings + bytes - at));
        if (!end) end = strings + bytes;
        *end = 0;
        if (strstr(at, "FOO")) continue; /* a whole word there, which GGUF cannot say */
        check_text(ctx, want, got, at, (size_t)(end - at), style);
        checked++;
    }
    CHECK(checked > 200, "%s: %zu strings", style, checked);
    nib_free(ctx, strings);
    nib_tokenizer_close(want);
    nib_tokenizer_close(got);
}

static void test_gpt2(void) { check_style("gpt2", "gpt-2"); }
static void test_llama3(void) { check_style("llama3", "llama-bpe"); }
static void test_qwen2(void) { check_style("qwen2", "qwen2"); }
static void test_smollm(void) { check_style("smollm", "smollm"); }
static void test_falcon(void) { check_style("falcon", "falcon"); }
static void test_sentencepiece(void) { check_style("llama2", NULL); }

/* --- the rest of the keys --- */

static void begin_small(keys *b, const char *model, const char *pre)
{
    static const char *const tokens[] = { "a", "b", "ab", "<s>", "<|im_end|>", "</s>" };
    static const uint32_t types[] = { 1, 1, 1, 3, 3, 3 };

    text_key(b, "tokenizer.ggml.model", model);
    if (pre) text_key(b, "tokenizer.ggml.pre", pre);
    array_key(b, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, 6);
    for (size_t i = 0; i < 6; i++) put_text(b, tokens[i]);
    array_key(b, "tokenizer.ggml.token_type", NIB_GGUF_I32, 6);
    for (size_t i = 0; i < 6; i++) put32(b, types[i]);
    array_key(b, "tokenizer.ggml.merges", NIB_GGUF_TEXT, 1);
    put_text(b, "a b");
}

static void test_special(void)
{
    char path[600];
    nib_tokenizer *t = NULL;
    nib_chat *chat = NULL;
    keys b = { 0 };
    nib_ctx *ctx = test_ctx();
    nib_tokens tokens = { 0 };
    const nib_special_tokens *special;
    nib_error err;

    begin_small(&b, "gpt2", "gpt-2");
    key(&b, "tokenizer.ggml.bos_token_id", NIB_GGUF_U32), put32(&b, 3);
    key(&b, "tokenizer.ggml.eos_token_id", NIB_GGUF_U32), put32(&b, 5);
    key(&b, "tokenizer.ggml.add_bos_token", NIB_GGUF_BOOL), put(&b, "\1", 1);
    text_key(&b, "tokenizer.chat_template", "{{ bos_token }}plain");
    text_key(&b, "tokenizer.chat_template.tool_use", "tools");
    snprintf(path, sizeof path, "%s/m.gguf", test_tmpdir());
    write_keys(path, &b);
    REQUIRE_OK(nib_tokenizer_open(ctx, path, &t, &err), err);
    special = nib_tokenizer_special(t);
    CHECK(nib_tokenizer_bos(t) == 3 && nib_tokenizer_eos(t) == 5 && special->end_count == 2 &&
          nib_special_ends(special, 4) && nib_special_ends(special, 5));
    REQUIRE_OK(nib_tokenizer_encode(t, "ab<|im_end|>", 12, true, &tokens, NULL, &err), err);
    CHECK(tokens.count == 3 && tokens.items[0].id == 3 && tokens.items[1].id == 2 &&
          tokens.items[2].id == 4);
    REQUIRE_OK(nib_chat_open(ctx, &(nib_chat_source){ .model_dir = path }, &chat, &err), err);
    CHECK(strcmp(nib_chat_text(chat), "{{ bos_token }}plain") == 0, "%s", nib_chat_text(chat));
    nib_chat_close(chat);
    nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
}

static void check_refused(nib_ctx *ctx, keys *b, nib_status status, const char *says)
{
    char path[600];
    nib_tokenizer *t = NULL;
    nib_status got;
    nib_error err = { 0 };

    snprintf(path, sizeof path, "%s/bad.gguf", test_tmpdir());
    write_keys(path, b);
    got = nib_tokenizer_open(ctx, path, &t, &err);
    CHECK(got == status && strstr(err.message, says) && strstr(err.message, "bad.gguf"), "%d: %s",
          (int)got, err.message);
    if (!got) nib_tokenizer_close(t);
}

/* Rows that pad the embedding are no pieces, and do not lower the score of what is unknown; scores
 * are finite. */
static void test_unigram(void)
{
    static const char *const tokens[] = { "<pad>", "</s>", "<unk>", "a", "[PAD4]", "[PAD5]" };
    static const uint32_t types[] = { 3, 3, 2, 1, 5, 5 };
    static const float scores[] = { 0, 0, 0, -2, -10000, -10000 };
    char path[600];
    nib_ctx *ctx = test_ctx();

    for (int bad = 0; bad < 3; bad++) {
        keys b = { 0 };
        nib_tokenizer *t = NULL;
        nib_error err = { 0 };

        text_key(&b, "tokenizer.ggml.model", "t5");
        array_key(&b, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, 6);
        for (size_t i = 0; i < 6; i++) put_text(&b, tokens[i]);
        array_key(&b, "tokenizer.ggml.token_type", NIB_GGUF_I32, 6);
        for (size_t i = 0; i < 6; i++) put32(&b, types[i]);
        array_key(&b, "tokenizer.ggml.scores", NIB_GGUF_F32, 6);
        for (size_t i = 0; i < 6; i++) {
            float score = i == 3 && bad ? bad == 1 ? NAN : -INFINITY : scores[i];
            put(&b, &score, sizeof score);
        }
        if (bad) {
            check_refused(ctx, &b, NIB_E_FORMAT, "of token 3, 'a', is no finite number");
            continue;
        }
        snprintf(path, sizeof path, "%s/unigram.gguf", test_tmpdir());
        write_keys(path, &b);
        REQUIRE_OK(nib_tokenizer_open(ctx, path, &t, &err), err);
        CHECK(nib_tokenizer_find(t, "a") == 3 && nib_tokenizer_find(t, "[PAD4]") == -1 &&
                  nib_tokenizer_size(t) == 4, "%zu", nib_tokenizer_size(t));
        nib_tokenizer_close(t);
    }
}

static void test_refusals(void)
{
    nib_ctx *ctx = test_ctx();
    keys b = { 0 };

    begin_small(&b, "rwkv", NULL);
    check_refused(ctx, &b, NIB_E_UNSUPPORTED, "rwkv, known are gpt2");
    begin_small(&b, "t5", NULL);
    check_refused(ctx, &b, NIB_E_FORMAT, "tokenizer.ggml.scores is missing");
    begin_small(&b, "gpt2", NULL);
    check_refused(ctx, &b, NIB_E_UNSUPPORTED, "tokenizer.ggml.pre is missing, known are gpt-2");
    begin_small(&b, "gpt2", "default");
    check_refused(ctx, &b, NIB_E_UNSUPPORTED, "'default'");
    begin_small(&b, "llama", NULL);
    check_refused(ctx, &b, NIB_E_FORMAT, "tokenizer.ggml.scores is missing");
    begin_small(&b, "llama", NULL);
    array_key(&b, "tokenizer.ggml.scores", NIB_GGUF_F32, 1), put32(&b, 0);
    check_refused(ctx, &b, NIB_E_FORMAT, "tokenizer.ggml.scores has 1 entries");
    text_key(&b, "tokenizer.ggml.model", "gpt2");
    text_key(&b, "tokenizer.ggml.pre", "gpt-2");
    array_key(&b, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, 2);
    put_text(&b, "a"), put_text(&b, "a");
    array_key(&b, "tokenizer.ggml.merges", NIB_GGUF_TEXT, 0);
    check_refused(ctx, &b, NIB_E_FORMAT, "token 1, 'a', is there twice");
    text_key(&b, "tokenizer.ggml.model", "gpt2");
    text_key(&b, "tokenizer.ggml.pre", "gpt-2");
    array_key(&b, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, 1);
    put_text(&b, "\xff");
    check_refused(ctx, &b, NIB_E_FORMAT, "token 0");
    text_key(&b, "general.architecture", "llama");
    check_refused(ctx, &b, NIB_E_IO, "no tokenizer");
}

int main(void)
{
    static const test_case cases[] = {
        { "gpt-2", test_gpt2 }, { "llama-bpe", test_llama3 }, { "qwen2", test_qwen2 },
        { "smollm", test_smollm }, { "falcon", test_falcon },
        { "sentencepiece", test_sentencepiece }, { "special tokens", test_special },
        { "Unigram", test_unigram },
        { "refusals", test_refusals },
    };
    return test_main("text/test_gguf_tokenizer", cases, NIB_COUNT(cases));
}
