/* test_judge.c - nibble evaluate --generate: base and adapters answer held-out records. */
#include "program.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static double score(const json_t *report, size_t contestant, const char *what, const char *name)
{
    const json_t *one = json_array_get(json_object_get(report, "contestants"), contestant);
    return json_number_value(
        json_object_get(json_object_get(json_object_get(one, what), name), "score"));
}

static const char *answer(const json_t *record, const char *who)
{
    return json_string_value(
        json_object_get(json_object_get(json_object_get(record, "answers"), who), "text"));
}

/* Records are asked in the tokens of training, so an adapter that has learned five answers by heart
 * gives them, and what is reported is what generate says. */
static void test_answers(void)
{
    const char *model = test_data("models/pico");
    char data[600], adapter[600], predictions[700];
    program_end e, other;
    json_t *report, *line;
    FILE *f;
    size_t lines = 0;

    snprintf(data, sizeof data, "%s/five.jsonl", test_tmpdir());
    snprintf(adapter, sizeof adapter, "%s/tuned", test_tmpdir());
    snprintf(predictions, sizeof predictions, "%s/written.jsonl", test_tmpdir());
    REQUIRE(f = fopen(data, "w"));
    for (int i = 0; i < 5; i++)
        fprintf(f, "{\"prompt\": \"Question: number %d?\\nAnswer:\", "
                   "\"completion\": \" bike %d\"}\n", i, i * 7);
    fclose(f);
    REQUIRE(NIBBLE(&e, "train", model, "--data", data, "-o", adapter, "--max-steps", "60", "--lr",
                   "1e-2", "--rank", "8", "--alpha", "16", "--target-modules", "all-linear",
                   "--batch-size", "5"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data, "--adapter", adapter,
                   "--predictions", predictions, "--regex", " ?bike [0-9]+", "--json"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(report = json_loads(e.out, 0, NULL));
    CHECK(score(report, 0, "scores", "exact_match") == 0 &&
              score(report, 1, "scores", "exact_match") > .7 &&
              score(report, 1, "scores", "regex") > .7 &&
              score(report, 1, "difference", "exact_match") > .7,
          "%s", e.out);
    json_decref(report);
    REQUIRE(f = fopen(predictions, "r"));
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL))) {
        char *without;
        REQUIRE(NIBBLE(&other, "generate", model,
                       json_string_value(json_object_get(line, "prompt")), "--max-new-tokens", "16",
                       "--temperature", "0", "--float32-matmul-precision", "highest", "--raw"));
        without = strdup(answer(line, "base"));
        CHECK(without && strncmp(other.out, without, strlen(without)) == 0, "'%s' and '%s'",
              other.out, without);
        free(without);
        CHECK(answer(line, "tuned"), "no answer of the adapter");
        json_decref(line);
        lines++;
    }
    fclose(f);
    CHECK(lines == 5, "%zu lines", lines);

    REQUIRE(NIBBLE(&e, "evaluate", "--generate", model, "--data", data, "--adapter", adapter,
                   "--no-base"));
    CHECK(e.exit_code == 0 && has(e.out, "tuned: ") && !has(e.out, "base: ") &&
              !has(e.out, "against"),
          "%s%s", e.out, e.said);
    snprintf(predictions, sizeof predictions, "second=%s", adapter);
    REQUIRE(NIBBLE(&e, "evaluate", "--generate", model, "--data", data, "--adapter", adapter,
                   "--adapter", predictions, "--against", "tuned", "--worst", "0"));
    CHECK(e.exit_code == 0 && has(e.out, "second: ") && has(e.out, "against tuned: worse") &&
              has(e.out, "against tuned: no clear difference") && !has(e.out, "worst"),
          "%s%s", e.out, e.said);
}

static void test_refused(void)
{
    static const struct { const char *more[4], *error; } runs[] = {
        { { "--against", "other" }, "against: 'other' does not answer; who does: base" },
        { { "--no-base" }, "without an adapter nobody is left to answer" },
        { { "--regex", "(" }, "regex" },
        { { "--logits", "x.safetensors" }, "unknown option --logits" },
        { { "--predictions", "/no/such/place/x.jsonl" }, "/no/such/place" },
        { { "--adapter", "base=models/pico" }, "an adapter called 'base'" },
    };
    const char *model = test_data("models/pico");
    char data[600];
    program_end e;
    FILE *f;

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data",
                       test_data("models/shop-test.jsonl"), runs[i].more[0], runs[i].more[1]));
        CHECK(e.exit_code != 0 && has(e.said, runs[i].error) && !*e.out, "%zu: %d %s", i,
              e.exit_code, e.said);
    }
    snprintf(data, sizeof data, "%s/texts.jsonl", test_tmpdir());
    REQUIRE(f = fopen(data, "w"));
    fputs("{\"text\": \"nothing is asked\"}\n", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data));
    CHECK(e.exit_code == 1 && has(e.said, "have no prompt"), "%d %s", e.exit_code, e.said);
}

int main(void)
{
    static const test_case cases[] = { { "answers", test_answers }, { "refused", test_refused } };
    return test_main("judge", cases, sizeof cases / sizeof *cases);
}
