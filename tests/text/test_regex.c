/* test_regex.c - Oniguruma's patterns under PCRE2: the pieces that the `tokenizers` library makes
 * of many strings (tests/golden/make/regex_golden.py), and what is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "format/json.h"
#include "test.h"
#include "text/parts.h"
#include "text/tokenizer_parse.h"
#include "text/utf8.h"

/* A tokenizer that does nothing but split. */
static nib_status open_split(nib_ctx *ctx, const char *pattern, const char *behavior,
                             nib_tokenizer **out, nib_error *err)
{
    json_t *j = json_pack("{s:{s:s,s:{s:i},s:[]},s:{s:s,s:{s:s},s:s,s:b}}", "model", "type", "BPE",
                          "vocab", "a", 0, "merges", "pre_tokenizer", "type", "Split", "pattern",
                          "Regex", pattern, "behavior", behavior, "invert", 0);
    char *text = json_dumps(j, 0);
    nib_status status = nib_tokenizer_parse(ctx, text, strlen(text), "t.json", out, err);

    free(text);
    json_decref(j);
    return status;
}

static void check_text(nib_tokenizer *t, const char *pattern, const char *behavior,
                       const char *text, const json_t *expected)
{
    size_t bytes = strlen(text), k = 0;
    nib_error err;

    t->work.bytes = t->work.piece_count = 0;
    for (size_t i = 0; i < bytes; i += nib_utf8_length(text[i]))
        nib_work_add(t->ctx, &t->work, text + i, nib_utf8_length(text[i]),
                     (nib_range){ i, i + nib_utf8_length(text[i]) });
    nib_work_add_piece(t->ctx, &t->work, 0, bytes);
    if (nib_pretokenize(t, &err)) CHECK(false, "%s: %s", pattern, err.message);
    CHECK(t->work.piece_count * 2 == json_array_size(expected),
          "%s, %s: '%s': %zu pieces, expected %zu",
          pattern, behavior, text, t->work.piece_count, json_array_size(expected) / 2);
    for (; k < t->work.piece_count && 2 * k + 1 < json_array_size(expected); k++) {
        nib_range want = { (size_t)json_integer_value(json_array_get(expected, 2 * k)),
                           (size_t)json_integer_value(json_array_get(expected, 2 * k + 1)) };
        if (t->work.pieces[k].begin == want.begin && t->work.pieces[k].end == want.end) continue;
        CHECK(false, "%s, %s: '%s': piece %zu is %zu-%zu, expected %zu-%zu", pattern, behavior,
              text, k, t->work.pieces[k].begin, t->work.pieces[k].end, want.begin, want.end);
        break;
    }
}

static void check_pattern(nib_ctx *ctx, const json_t *case_, const json_t *texts)
{
    static const char *const names[] = { "Isolated", "Removed" };
    static const char *const keys[] = { "isolated", "removed" };
    const char *pattern = json_string_value(json_object_get(case_, "pattern"));
    bool refused = json_is_true(json_object_get(case_, "refused"));
    nib_error err;

    for (size_t b = 0; b < NIB_COUNT(names); b++) {
        nib_tokenizer *t = NULL;
        const json_t *lists = json_object_get(case_, keys[b]);
        nib_status status = open_split(ctx, pattern, names[b], &t, &err);

        if (refused) {
            CHECK(status && strstr(err.message, pattern),
                  "%s: %s", pattern, status ? err.message : "accepted");
        } else CHECK(!status, "%s", status ? err.message : "");
        for (size_t i = 0; t && !refused && i < json_array_size(texts); i++)
            check_text(t, pattern, names[b], json_string_value(json_array_get(texts, i)),
                       json_array_get(lists, i));
        nib_tokenizer_close(t);
    }
}

static void test_cases(void)
{
    nib_ctx *ctx = test_ctx();
    char *text = NULL, *line, *next;
    json_t *texts = NULL;
    size_t bytes, count = 0;
    nib_error err;

    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/regex/cases.jsonl"), 64 << 20, &text,
                             &bytes, &err), err);
    for (line = text; line && *line; line = next, count++) {
        json_t *case_ = NULL;

        next = strchr(line, '\n');
        if (next) *next++ = 0;
        REQUIRE_OK(nib_json_parse(line, strlen(line), "case", 0, &case_, &err), err);
        if (texts) check_pattern(ctx, case_, texts);
        else texts = json_incref(json_object_get(case_, "texts"));
        json_decref(case_);
    }
    CHECK(count > 150, "%zu patterns", count);
    json_decref(texts);
    nib_free(ctx, text);
}

int main(void)
{
    static const test_case cases[] = { { "patterns", test_cases } };
    return test_main("regex", cases, NIB_COUNT(cases));
}
