/* test_pair.c - one text and two with every post-processor, truncated every way, and the windows of
 * what was cut off, against the tokenizers library (tests/golden/make/pairs_golden.py). */
#include <stdio.h>
#include <string.h>

#include "base/filemap.h"
#include "format/json.h"
#include "test.h"
#include "text/tokenizer.h"
#include "text/tokenizer_parse.h"

enum { POSTS = 10 };

static char *read_file(nib_ctx *ctx, const char *path, size_t *bytes)
{
    char *text = NULL;
    nib_error err;

    if (nib_file_read(ctx, path, 64 << 20, &text, bytes, &err)) CHECK(false, "%s", err.message);
    return text;
}

static void open_posts(nib_ctx *ctx, nib_tokenizer *posts[POSTS])
{
    for (int i = 0; i < POSTS; i++) {
        char path[512];
        size_t bytes;
        char *text;
        nib_error err;

        snprintf(path, sizeof path, "%s/%d.json", test_data("tests/golden/pairs"), i);
        text = read_file(ctx, path, &bytes);
        REQUIRE_OK(nib_tokenizer_parse(ctx, text, bytes, path, &posts[i], &err), err);
        nib_free(ctx, text);
    }
}

static nib_inputs inputs_of(const json_t *c)
{
    static const char *const names[] = { "longest_first", "only_first", "only_second" };
    const json_t *texts = json_object_get(c, "texts");
    nib_inputs in = {
        .text = json_string_value(json_array_get(texts, 0)),
        .bytes = json_string_length(json_array_get(texts, 0)),
        .pair = json_string_value(json_array_get(texts, 1)),
        .pair_bytes = json_string_length(json_array_get(texts, 1)),
        .special = json_is_true(json_object_get(c, "special")),
        .max_length = (size_t)json_integer_value(json_object_get(c, "max_length")),
        .from_left = json_is_true(json_object_get(c, "left")),
        .windows = true,
        .stride = (size_t)json_integer_value(json_object_get(c, "stride")),
    };

    for (int i = 0; i < 3; i++)
        if (strcmp(names[i], json_string_value(json_object_get(c, "strategy"))) == 0)
            in.truncation = (nib_truncation)i;
    return in;
}

static bool same_number(const json_t *list, size_t i, size_t want)
{
    return json_integer_value(json_array_get(list, i)) == (json_int_t)want;
}

/* Window `number` against [ids, types, ranges or null]. */
static bool same_window(const nib_windows *w, size_t number, const json_t *c)
{
    const json_t *want = json_array_get(json_object_get(c, "windows"), number),
                 *ids = json_array_get(want, 0), *types = json_array_get(want, 1),
                 *ranges = json_array_get(want, 2), *of = json_object_get(c, "texts_of");
    size_t begin = number ? w->ends[number - 1] : 0, n = w->ends[number] - begin;
    bool same = n == json_array_size(ids);

    for (size_t i = 0; i < n && same; i++) {
        const nib_token *k = &w->tokens.items[begin + i];

        same = same_number(ids, i, k->id) && same_number(types, i, k->type);
        if (!json_is_array(ranges)) continue;
        same &= same_number(json_array_get(ranges, i), 0, k->begin) &&
                same_number(json_array_get(ranges, i), 1, k->end) &&
                json_integer_value(json_array_get(of, i)) ==
                    (k->added_by_template ? -1 : (int)k->text);
    }
    return same;
}

static void check_case(nib_tokenizer *t, const json_t *c, size_t number, nib_windows *w)
{
    nib_inputs in = inputs_of(c);
    size_t want = json_array_size(json_object_get(c, "windows"));
    nib_error err;
    nib_status status = nib_tokenizer_encode_inputs(t, &in, w, &err);

    if (json_object_get(c, "refused")) {
        CHECK(status == NIB_E_INVALID, "case %zu: status %d, expected a refusal", number,
              (int)status);
        return;
    }
    REQUIRE_OK(status, err);
    CHECK(w->count == want, "case %zu: %zu windows, expected %zu", number, w->count, want);
    for (size_t i = 0; i < w->count && i < want; i++)
        CHECK(same_window(w, i, c), "case %zu: window %zu differs", number, i);
    in.windows = false; /* the first alone */
    REQUIRE_OK(nib_tokenizer_encode_inputs(t, &in, w, &err), err);
    CHECK(w->count == 1 && same_window(w, 0, c), "case %zu without windows", number);
}

static void test_library(void)
{
    nib_ctx *ctx = test_ctx();
    nib_tokenizer *posts[POSTS] = { 0 };
    nib_windows w = { 0 };
    size_t bytes, number = 0;
    char *text = read_file(ctx, test_data("tests/golden/pairs/cases.jsonl"), &bytes);
    nib_error err;

    open_posts(ctx, posts);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, number++) {
        json_t *c = NULL;
        REQUIRE_OK(nib_json_parse(line, (size_t)(end - line), "cases.jsonl", 0, &c, &err), err);
        check_case(posts[json_integer_value(json_object_get(c, "post"))], c, number, &w);
        json_decref(c);
    }
    CHECK(number == 400, "%zu cases", number);
    nib_windows_free(ctx, &w);
    nib_free(ctx, text);
    for (int i = 0; i < POSTS; i++) nib_tokenizer_close(posts[i]);
}

static void test_refusals(void)
{
    static const struct { nib_inputs in; const char *says; } bad[] = {
        { { "a", "b", 1, 1, true, 2, NIB_LONGEST_FIRST, false, false, 0 },
          "max_length is 2, but 3 special tokens" },
        { { "a words", "b", 7, 1, true, 4, NIB_ONLY_SECOND, false, false, 0 }, "the second text" },
        { { "a\xff", NULL, 2, 0, true, 0, NIB_LONGEST_FIRST, false, false, 0 }, "byte 1" },
        { { "a words of", NULL, 10, 0, true, 4, NIB_LONGEST_FIRST, false, true, 2 },
          "stride is 2" },
        { { "a words of", NULL, 10, 0, true, 4, NIB_ONLY_SECOND, false, true, 2 },
          "only_second of one text" },
    };
    nib_ctx *ctx = test_ctx();
    nib_tokenizer *posts[POSTS] = { 0 };
    nib_windows w = { 0 };
    nib_error err = { 0 };

    open_posts(ctx, posts);
    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_status status = nib_tokenizer_encode_inputs(posts[4], &bad[i].in, &w, &err);
        CHECK(status && strstr(err.message, bad[i].says), "case %zu: %s", i,
              status ? err.message : "accepted");
    }
    nib_windows_free(ctx, &w);
    for (int i = 0; i < POSTS; i++) nib_tokenizer_close(posts[i]);
}

int main(void)
{
    static const test_case cases[] = { { "library", test_library }, { "refusals", test_refusals } };
    return test_main("pair", cases, NIB_COUNT(cases));
}
