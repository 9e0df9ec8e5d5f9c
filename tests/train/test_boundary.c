/* test_boundary.c - a prompt that ends at each character of a text, under every style of tokenizer:
 * what is trained begins where TRL begins (tests/golden/make/boundary_golden.py). */
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "test.h"
#include "train/data.h"

/* A record for each row: the text, cut where the row says. */
static const char *write_records(const json_t *text, const json_t *rows)
{
    static char path[600];
    const char *all = json_string_value(text);
    const json_t *row;
    size_t i;
    FILE *f;

    snprintf(path, sizeof path, "%s/boundary.jsonl", test_tmpdir());
    f = fopen(path, "w");
    json_array_foreach(rows, i, row) {
        size_t at = (size_t)json_integer_value(json_array_get(row, 0));
        json_t *record = json_pack("{s:s%, s:s}", "prompt", all, at, "completion", all + at);
        if (f && record) json_dumpf(record, f, 0), fputc('\n', f);
        json_decref(record);
    }
    if (f) fclose(f);
    return path;
}

static void check_text(const char *style, nib_tokenizer *t, const json_t *text, const json_t *rows)
{
    nib_data_options o = { .data = write_records(text, rows), .max_seq_length = 1024 };
    nib_dataset_source source = { .options = &o, .tokenizer = t, .vocabulary = 1 << 20,
                                  .keep_all = true };
    nib_dataset *d = NULL;
    nib_error err = { .message = "" };
    uint64_t split = 0;
    int failures = 0;

    REQUIRE(nib_dataset_open(test_ctx(), &source, &d, &err) == NIB_OK,
            "%s: %s", style, err.message);
    CHECK(nib_dataset_count(d) == json_array_size(rows), "%s: %zu records of %zu", style,
          nib_dataset_count(d), json_array_size(rows));
    for (size_t i = 0; i < nib_dataset_count(d) && failures < 3; i++) {
        const json_t *row = json_array_get(rows, i);
        uint32_t want = (uint32_t)json_integer_value(json_array_get(row, 1)), first = 0;
        nib_record r = nib_dataset_record(d, i);

        split += (uint64_t)json_integer_value(json_array_get(row, 2));
        while (first < r.length && !r.trained[first]) first++;
        for (uint32_t k = first; k < r.length; k++)
            if (!r.trained[k]) first = UINT32_MAX; /* all behind the first is trained */
        if (first == want) continue;
        failures++;
        CHECK(false, "%s: '%.20s...' cut at byte %d: trained from token %d, TRL from %u", style,
              json_string_value(text), (int)json_integer_value(json_array_get(row, 0)), (int)first,
              want);
    }
    CHECK(failures || nib_dataset_counts(d).split == split,
          "%s: %d prompts end inside a token, TRL has %d",
          style, (int)nib_dataset_counts(d).split, (int)split);
    nib_dataset_close(d);
}

static void test_every_byte(void)
{
    nib_ctx *ctx = test_ctx();
    json_t *golden = NULL, *styles;
    const json_t *texts;
    nib_error err;
    const char *style;
    json_t *lists;
    size_t tried = 0;

    REQUIRE_OK(nib_json_read(ctx, test_data("tests/golden/train/boundary.json"), 0, &golden, &err),
               err);
    texts = json_object_get(golden, "texts");
    styles = json_object_get(golden, "styles");
    json_object_foreach(styles, style, lists) {
        char dir[256];
        nib_tokenizer *t = NULL;

        snprintf(dir, sizeof dir, "tests/golden/text/%s", style);
        REQUIRE(nib_tokenizer_open(ctx, test_data(dir), &t, &err) == NIB_OK, "%s", err.message);
        for (size_t i = 0; i < json_array_size(texts); i++, tried++)
            check_text(style, t, json_array_get(texts, i), json_array_get(lists, i));
        nib_tokenizer_close(t);
    }
    CHECK(tried >= 40, "%zu texts", tried);
    json_decref(golden);
}

int main(void)
{
    static const test_case cases[] = { { "every_byte", test_every_byte } };
    return test_main("boundary", cases, NIB_COUNT(cases));
}
