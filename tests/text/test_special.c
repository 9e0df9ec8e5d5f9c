/* test_special.c - special tokens and what a tokenizer's class changes, against transformers: each
 * key of each file in each form, and mixtures of files (tests/golden/make/special_golden.py).
 *
 * A directory that transformers refuses must be refused here, or warned of; any other must give its
 * ids, text and special tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/filemap.h"
#include "format/json.h"
#include "test.h"
#include "text/tokenizer.h"

static int warnings;
static char last_warning[300];

static void on_message(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    if (kind != NIB_MESSAGE_WARNING) return;
    warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", text);
}

static nib_ctx *listening_ctx(void)
{
    nib_ctx_options options = { .threads = 1, .message = on_message };
    nib_ctx *ctx = NULL;
    nib_error err;

    if (nib_ctx_create(&options, &ctx, &err)) CHECK(false, "%s", err.message);
    return ctx;
}

static void write_file(const char *dir, const char *name, const json_t *data)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK(json_dump_file(data, path, 0) == 0, "%s", path);
}

static void remove_files(const char *dir)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "added_tokens.json",
                                         "config.json", "generation_config.json" };
    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
}

/* "[1,2]", with a BOS before it that was left out because the text begins with one
 * (conventions.md). */
static void print_ids(const nib_tokens *tokens, bool had_bos, char *to, size_t room)
{
    size_t used = (size_t)snprintf(to, room, "[");

    for (size_t i = 0; i < tokens->count + had_bos && used + 16 < room; i++)
        used += (size_t)snprintf(to + used, room - used, "%s%u", i ? "," : "",
                                 tokens->items[had_bos && i ? i - 1 : i].id);
    snprintf(to + used, room - used, "]");
}

static void check_ids(nib_ctx *ctx, nib_tokenizer *t, const char *name, const char *text,
                      bool special, const json_t *expected)
{
    nib_tokens tokens = { 0 };
    char got[1024], *want = json_dumps(expected, JSON_COMPACT | JSON_ENCODE_ANY);
    bool had_bos = false;
    nib_error err;

    if (nib_tokenizer_encode(t, text, strlen(text), special, &tokens, &had_bos, &err))
        CHECK(false, "%s: %s", name, err.message);
    print_ids(&tokens, had_bos, got, sizeof got);
    CHECK(strcmp(got, want) == 0, "%s: '%s'%s: %s, expected %s", name, text,
          special ? "" : " without special tokens", got, want);
    free(want);
    nib_tokens_free(ctx, &tokens);
}

static void check_decoded(nib_ctx *ctx, nib_tokenizer *t, const char *name, const json_t *ids,
                          const char *expected)
{
    uint32_t list[256];
    size_t n = json_array_size(ids), bytes;
    char *text = NULL;
    nib_error err;

    for (size_t i = 0; i < n && i < NIB_COUNT(list); i++)
        list[i] = (uint32_t)json_integer_value(json_array_get(ids, i));
    if (nib_tokenizer_decode(t, list, n, true, &text, &bytes, &err))
        CHECK(false, "%s: %s", name, err.message);
    else CHECK(strcmp(text, expected) == 0, "%s: '%s', expected '%s'", name, text, expected);
    nib_free(ctx, text);
}

static void check_id(const char *name, const char *key, nib_special_token got, const json_t *case_)
{
    const json_t *v = json_object_get(case_, key);
    int64_t want = json_is_integer(v) ? json_integer_value(v) : -1;
    bool found_elsewhere = want < 0 && got.where && strcmp(got.where, "config.json") == 0;

    CHECK(got.id == want || found_elsewhere, "%s: %s is %d (%s), expected %d", name, key,
          (int)got.id, got.where ? got.where : "nowhere", (int)want);
    CHECK(got.id < 0 || got.where, "%s: nothing says where %s was found", name, key);
}

/* Keys that change nothing here may have any value. */
static bool is_without_effect(const char *name)
{
    return strncmp(name, "model_max_length", 16) == 0 || strncmp(name, "legacy", 6) == 0;
}

/* A flag that is neither true nor false: Python's truth of a list or number is not taken. */
static bool is_flag(const char *name)
{
    return strncmp(name, "add_", 4) == 0 || strncmp(name, "clean_up", 8) == 0;
}

/* What chat templates see; where transformers has no list of further tokens it has none. */
static void check_named(nib_tokenizer *t, const char *name, const json_t *want)
{
    const json_t *named = nib_tokenizer_named(t);
    json_t *got = named ? json_copy((json_t *)(uintptr_t)named) : json_object();
    char *shown = json_dumps(got, JSON_COMPACT), *wanted = json_dumps(want, JSON_COMPACT);

    CHECK(json_equal(got, want), "%s: named %s, expected %s", name, shown, wanted);
    free(shown);
    free(wanted);
    json_decref(got);
}

static void check_case(nib_ctx *ctx, const char *dir, const json_t *texts, const json_t *case_)
{
    const char *name = json_string_value(json_object_get(case_, "name"));
    bool refused = json_is_true(json_object_get(case_, "refused"));
    nib_tokenizer *t = NULL;
    nib_error err;
    nib_status status;
    const nib_special_tokens *s;

    warnings = 0;
    nib_ctx_warnings_clear(ctx); /* one that was sent before is not sent again */
    status = nib_tokenizer_open(ctx, dir, &t, &err);
    CHECK(!refused || status || warnings || is_without_effect(name),
          "%s: transformers refuses it, and nothing is reported", name);
    if (!refused && !(status && is_flag(name)))
        CHECK(status == NIB_OK, "%s: %s", name, status ? err.message : "");
    if (refused || status) {
        nib_tokenizer_close(t);
        return;
    }
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        const json_t *ids = json_array_get(json_object_get(case_, "ids"), i);
        check_ids(ctx, t, name, text, true, ids);
        check_ids(ctx, t, name, text, false, json_array_get(json_object_get(case_, "plain"), i));
        check_decoded(ctx, t, name, ids,
                      json_string_value(json_array_get(json_object_get(case_, "decoded"), i)));
    }
    check_named(t, name, json_object_get(case_, "map"));
    CHECK(nib_tokenizer_cleans_up(t) == json_is_true(json_object_get(case_, "tidy")),
          "%s: clean_up_tokenization_spaces", name);
    s = nib_tokenizer_special(t);
    check_id(name, "bos", s->bos, case_);
    check_id(name, "eos", s->eos, case_);
    check_id(name, "unk", s->unk, case_);
    check_id(name, "pad", s->pad, case_);
    nib_tokenizer_close(t);
}

static void test_cases(void)
{
    const char *path = getenv("NIB_SPECIAL_CASES"), *dir = test_tmpdir(); /* or other cases */
    nib_ctx *ctx = listening_ctx();
    char top[512], line_name[600], *text = NULL, *line, *next;
    json_t *texts = NULL;
    size_t bytes, count = 0;
    nib_error err;

    snprintf(top, sizeof top, "%s", path ? path : test_data("tests/golden/special"));
    snprintf(line_name, sizeof line_name, "%s/cases.jsonl", top);
    REQUIRE_OK(nib_file_read(ctx, line_name, 64 << 20, &text, &bytes, &err), err);
    for (line = text; line && *line; line = next, count++) {
        json_t *case_ = NULL, *base = NULL, *data;
        const char *file;
        char name[600];

        next = strchr(line, '\n');
        if (next) *next++ = 0;
        if (nib_json_parse(line, strlen(line), "case", 0, &case_, &err))
            CHECK(false, "%s", err.message);
        if (!texts) {
            texts = json_incref(json_object_get(case_, "texts"));
            json_decref(case_);
            continue;
        }
        remove_files(dir);
        snprintf(name, sizeof name, "%s/base-%d.json", top,
                 (int)json_integer_value(json_object_get(case_, "base")));
        if (nib_json_read(ctx, name, 0, &base, &err)) CHECK(false, "%s", err.message);
        write_file(dir, "tokenizer.json", base);
        json_object_foreach(json_object_get(case_, "files"), file, data)
            write_file(dir, file, data);
        check_case(ctx, dir, texts, case_);
        json_decref(base);
        json_decref(case_);
    }
    CHECK(count > 200, "%zu cases", count);
    json_decref(texts);
    nib_free(ctx, text);
    nib_ctx_destroy(ctx);
}

/* The ends of a text: every id of generation_config.json's list, else config.json's, else the
 * tokenizer's; the first of them ends records where the tokenizer names none. */
static void test_ends(void)
{
    static const struct { const char *config, *generation, *tokenizer; int64_t eos, first, second;
                          const char *where; } cases[] = {
        { "{\"eos_token_id\": 1}", "{\"eos_token_id\": [7, 2]}", "{}", 7, 7, 2,
          "generation_config.json" },
        { "{\"eos_token_id\": [1, 3]}", NULL, "{}", 1, 1, 3, "config.json" },
        { "{\"text_config\": {\"eos_token_id\": [1, 3]}}", NULL, "{}", 1, 1, 3, "config.json" },
        { "{\"eos_token_id\": 1}", "{\"eos_token_id\": null}", "{}", 1, 1, -1, "config.json" },
        { "{\"eos_token_id\": 1}", NULL, "{\"eos_token\": \"</s>\"}", 2, 1, -1, "config.json" },
        { "{}", NULL, "{\"eos_token\": \"</s>\"}", 2, 2, -1, "tokenizer_config.json" },
        { "{}", NULL, "{\"eos_token\": null}", -1, -1, -1, NULL },
    };
    const char *dir = test_tmpdir();
    nib_ctx *ctx = listening_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        json_t *base = NULL, *files[3];
        nib_tokenizer *t = NULL;
        const nib_special_tokens *s;
        nib_error err;

        remove_files(dir);
        REQUIRE_OK(nib_json_read(ctx, test_data("tests/golden/special/base-0.json"), 0, &base,
                                 &err), err);
        write_file(dir, "tokenizer.json", base);
        files[0] = json_loads(cases[i].config, 0, NULL);
        files[1] = cases[i].generation ? json_loads(cases[i].generation, 0, NULL) : NULL;
        files[2] = json_loads(cases[i].tokenizer, 0, NULL);
        write_file(dir, "config.json", files[0]);
        if (files[1]) write_file(dir, "generation_config.json", files[1]);
        write_file(dir, "tokenizer_config.json", files[2]);
        REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
        s = nib_tokenizer_special(t);
        CHECK(s->eos.id == cases[i].eos, "case %zu: eos %d", i, (int)s->eos.id);
        CHECK(s->end_count == (size_t)(cases[i].first >= 0) + (cases[i].second >= 0),
              "case %zu: %zu ends", i, s->end_count);
        CHECK(s->end_count < 1 || s->ends[0] == cases[i].first,
              "case %zu: ends at %d", i, (int)s->ends[0]);
        CHECK(s->end_count < 2 || s->ends[1] == cases[i].second,
              "case %zu: ends at %d", i, (int)s->ends[1]);
        CHECK(!s->ends_where == !cases[i].where &&
              (!s->ends_where || strcmp(s->ends_where, cases[i].where) == 0),
              "case %zu: found in %s", i, s->ends_where ? s->ends_where : "nothing");
        CHECK(cases[i].second < 0 || nib_special_ends(s, cases[i].second), "case %zu", i);
        CHECK(!nib_special_ends(s, 250), "case %zu: 250 ends", i);
        nib_tokenizer_close(t);
        for (size_t k = 0; k < NIB_COUNT(files); k++) json_decref(files[k]);
        json_decref(base);
    }
    nib_ctx_destroy(ctx);
}

/* A directory with a tokenizer of another format: the message names the file and the way. */
static void test_other_formats(void)
{
    static const char *const names[] = { "tokenizer.model", "vocab.json", "spiece.model" };
    const char *dir = test_tmpdir();
    nib_ctx *ctx = listening_ctx();

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        char path[512];
        nib_tokenizer *t = NULL;
        nib_error err;
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        REQUIRE((f = fopen(path, "w")), "%s", path);
        fclose(f);
        CHECK(nib_tokenizer_open(ctx, dir, &t, &err) == NIB_E_UNSUPPORTED,
              "%s: accepted", names[i]);
        CHECK(strstr(err.message, names[i]) && strstr(err.message, "save_pretrained"), "%s",
              err.message);
        unlink(path);
    }
    nib_ctx_destroy(ctx);
}

int main(void)
{
    static const test_case cases[] = { { "cases", test_cases },
                                       { "ends", test_ends },
                                       { "other-formats", test_other_formats } };
    return test_main("special", cases, NIB_COUNT(cases));
}
