/* test_judge.c - nibble evaluate --generate: base and adapters answer held-out records. */
#include "program.h"

#include <jansson.h>
#include <math.h>
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

static json_t *value(const json_t *record, const char *who, const char *key)
{
    return json_object_get(json_object_get(json_object_get(record, "answers"), who), key);
}

/* The golden records under that key as a file of lines; *out is [600]. */
static json_t *golden_choices(const char *key, char *out)
{
    json_t *golden = json_load_file(test_data("tests/golden/choices.json"), 0, NULL), *one;
    size_t i;
    FILE *f;

    snprintf(out, 600, "%s/choices.jsonl", test_tmpdir());
    f = fopen(out, "w");
    json_array_foreach(json_object_get(golden, key), i, one) {
        if (!f) break;
        json_dumpf(json_object_get(one, "record"), f, JSON_COMPACT);
        fputc('\n', f);
    }
    if (f) fclose(f);
    return golden;
}

/* Likelihoods and scores of multiple choice are lm-evaluation-harness's
 * (tests/golden/make/choices_golden.py). */
static void check_choices(const char *key, size_t count)
{
    static const char *const names[] = { "acc", "acc_norm", "acc_bytes" };
    char data[600], predictions[700];
    json_t *golden = golden_choices(key, data), *rows = json_object_get(golden, key), *report;
    double means[3] = { 0 };
    program_end e;
    size_t lines = 0;
    FILE *f;

    snprintf(predictions, sizeof predictions, "%s/chosen.jsonl", test_tmpdir());
    REQUIRE(json_array_size(rows) == count);
    REQUIRE(NIBBLE(&e, "evaluate", test_data("models/pico"), "--generate", "--data", data,
                   "--predictions", predictions, "--json", "--compute-dtype", "float32"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(report = json_loads(e.out, 0, NULL), "%s", e.out);
    REQUIRE(f = fopen(predictions, "r"));
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); lines++) {
        const json_t *right = json_array_get(rows, lines),
                     *wanted = json_object_get(right, "log_likelihoods"),
                     *got = value(line, "base", "log_likelihoods");
        CHECK(json_array_size(got) == json_array_size(wanted) && json_array_size(got) > 1);
        for (size_t i = 0; i < json_array_size(got); i++) {
            double a = json_number_value(json_array_get(got, i)),
                   b = json_number_value(json_array_get(wanted, i));
            CHECK(a < 0 && a - b < 1e-3 && b - a < 1e-3, "record %zu, choice %zu: %.6f, expected "
                  "%.6f", lines, i, a, b);
        }
        for (size_t k = 0; k < 3; k++) {
            double x = json_number_value(json_object_get(right, names[k]));
            const json_t *scores = value(line, "base", "scores");
            CHECK(json_object_size(scores) == 3 &&
                  json_number_value(json_object_get(scores, names[k])) == x,
                  "record %zu: %s is not %g", lines, names[k], x);
            means[k] += x;
        }
        json_decref(line);
    }
    fclose(f);
    CHECK(lines == count, "%zu lines", lines);
    for (size_t k = 0; k < 3; k++)
        CHECK(fabs(score(report, 0, "scores", names[k]) - means[k] / (double)count) < 1e-9, "%s %s",
              names[k], e.out);
    CHECK(!has(e.out, "chrf") && !has(e.out, "new_tokens"), "%s", e.out);
    json_decref(report);
    json_decref(golden);
}

static void test_choices(void)
{
    check_choices("rows", 8);
    check_choices("prompts", 3);
}

/* What is trained of such a record is its right choice behind the prompt that is asked, and a run
 * on them teaches to find it. */
static void test_learned_choices(void)
{
    const char *model = test_data("models/pico");
    char data[600], same[600], adapter[600], loss[sizeof ((program_end *)0)->out];
    program_end e;
    json_t *golden = golden_choices("rows", data), *report;
    FILE *f;

    snprintf(same, sizeof same, "%s/same.jsonl", test_tmpdir());
    snprintf(adapter, sizeof adapter, "%s/chooser", test_tmpdir());
    REQUIRE(f = fopen(same, "w"));
    fputs("{\"prompt\": \"Question: a?\\nAnswer:\", \"completion\": \" bike two\"}\n", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--data", same));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    snprintf(loss, sizeof loss, "%s", e.out);
    REQUIRE(f = fopen(same, "w"));
    fputs("{\"question\": \"a?\", \"choices\": [\"one\", \"bike two\"], \"answer\": \"B\"}\n", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--data", same));
    CHECK(e.exit_code == 0 && strcmp(e.out, loss) == 0 && has(e.said, "--generate compares"),
          "%s, expected %s%s", e.out, loss, e.said);

    REQUIRE(NIBBLE(&e, "train", model, "--data", data, "-o", adapter, "--max-steps", "40", "--lr",
                   "1e-2", "--batch-size", "8"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data, "--adapter", adapter,
                   "--json"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(report = json_loads(e.out, 0, NULL), "%s", e.out);
    CHECK(score(report, 1, "scores", "acc") > .8 && score(report, 1, "difference", "acc") > .3,
          "%s", e.out); /* one of the eight has two choices alike */
    CHECK(!has(e.said, "put otherwise"), "%s", e.said);
    json_decref(report);
    json_decref(golden);
}

static void test_bad_choices(void)
{
    static const struct { const char *record, *more[2], *error; } cases[] = {
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": 2}", { 0 },
          "answer is 2, which is none of the 2 choices" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": -1}", { 0 },
          "answer is -1" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": true}", { 0 },
          "answer is true" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"label\": \"C\"}", { 0 },
          "label is \"C\", which is none" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": null}", { 0 },
          "missing or null" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": 0, \"label\": 1}",
          { 0 }, "both answer and label" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"\"], \"answer\": 0}", { 0 },
          "choices[1] is empty" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", 7], \"answer\": 0}", { 0 },
          "choices[1] is a number" },
        { "{\"question\": \"a?\", \"choices\": [\"x\"], \"answer\": 0}", { 0 },
          "a list with 1 texts" },
        { "{\"question\": \"a?\", \"choices\": \"x, y\", \"answer\": 0}", { 0 }, "a string" },
        { "{\"question\": \"a?\", \"choices\": {\"text\": [\"x\", \"y\"], \"label\": [\"1\"]}, "
          "\"answerKey\": \"1\"}", { 0 }, "2 texts and 1 labels" },
        { "{\"prompt\": null, \"choices\": [\"x\", \"y\"], \"answer\": 0}", { 0 },
          "'prompt' is null" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": 1}",
          { "--regex", "x" }, "regex: of texts that are generated" },
        { "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": 1}",
          { "--json-schema", "/dev/null" }, "/dev/null" },
        { "{\"question\": \"a?\", \"choices\": [\"a b c d e f g h\", \"y\"], \"answer\": 1}",
          { "--max-seq-length", "13" }, "max_seq_length is 13" },
    };
    char data[600];
    program_end e;
    FILE *f;

    snprintf(data, sizeof data, "%s/bad.jsonl", test_tmpdir());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(f = fopen(data, "w"));
        fprintf(f, "%s\n", cases[i].record);
        fclose(f);
        REQUIRE(NIBBLE(&e, "evaluate", test_data("models/pico"), "--generate", "--data", data,
                       cases[i].more[0], cases[i].more[1]));
        CHECK(e.exit_code == 1 && has(e.said, cases[i].error) && !*e.out, "%zu: %d %s", i,
              e.exit_code, e.said);
    }
    /* a bad one among good ones is counted; what nobody reads is reported */
    REQUIRE(f = fopen(data, "w"));
    fprintf(f, "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": 1, \"topic\": 3}\n"
               "%s\n", cases[0].record);
    fclose(f);
    REQUIRE(NIBBLE(&e, "evaluate", test_data("models/pico"), "--generate", "--data", data,
                   "--skip-bad"));
    CHECK(e.exit_code == 0 && has(e.said, "1 bad record") && has(e.said, "'topic'") &&
              has(e.out, "1 records"), "%s%s", e.out, e.said);
}

/* Answers are held to a schema as a whole and by field; an adapter that has learned to write JSON
 * by heart does better than the base. */
static void test_schema(void)
{
    const char *model = test_data("models/pico");
    char data[600], schema[600], adapter[600], predictions[700];
    program_end e;
    json_t *report, *tuned;
    FILE *f;
    size_t lines = 0;

    snprintf(data, sizeof data, "%s/orders.jsonl", test_tmpdir());
    snprintf(schema, sizeof schema, "%s/order.json", test_tmpdir());
    snprintf(adapter, sizeof adapter, "%s/clerk", test_tmpdir());
    snprintf(predictions, sizeof predictions, "%s/orders-written.jsonl", test_tmpdir());
    REQUIRE(f = fopen(data, "w"));
    for (int i = 0; i < 4; i++)
        fprintf(f, "{\"prompt\": \"Order %d:\", \"completion\": \"{\\\"item\\\": \\\"bike\\\", "
                   "\\\"count\\\": 2}\"}\n", i);
    fclose(f);
    REQUIRE(f = fopen(schema, "w"));
    fputs("{\"type\": \"object\", \"required\": [\"item\", \"price\"], \"properties\": {"
          "\"item\": {\"enum\": [\"bike\"]}, \"price\": {\"type\": \"number\"}}}", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "train", model, "--data", data, "-o", adapter, "--max-steps", "60", "--lr",
                   "1e-2", "--rank", "8", "--alpha", "16", "--batch-size", "4"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data, "--adapter", adapter,
                   "--json-schema", schema, "--predictions", predictions, "--json"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(report = json_loads(e.out, 0, NULL), "%s", e.out);
    tuned = json_object_get(json_array_get(json_object_get(report, "contestants"), 1),
                            "schema_fields");
    CHECK(score(report, 0, "scores", "json_schema_fields") == 0 &&
              score(report, 1, "scores", "json_schema") == 0 && /* price is never there */
              score(report, 1, "scores", "json_schema_fields") == .5 &&
              json_number_value(json_object_get(tuned, "item")) == 1 &&
              json_number_value(json_object_get(tuned, "price")) == 0 &&
              json_object_size(tuned) == 2,
          "%s", e.out);
    json_decref(report);
    REQUIRE(f = fopen(predictions, "r"));
    for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); lines++) {
        const json_t *wrong = value(line, "clerk", "wrong_fields");
        CHECK(json_array_size(value(line, "base", "wrong_fields")) == 2 &&
              json_array_size(wrong) == 1 &&
              strcmp(json_string_value(json_array_get(wrong, 0)), "price") == 0);
        json_decref(line);
    }
    fclose(f);
    CHECK(lines == 4, "%zu lines", lines);

    REQUIRE(f = fopen(schema, "w"));
    fputs("{\"type\": \"object\", \"required\": [\"item\"], \"properties\": {"
          "\"item\": {\"minLength\": 4}, \"count\": {\"maximum\": 2}}}", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data, "--adapter", adapter,
                   "--no-base", "--json-schema", schema));
    CHECK(e.exit_code == 0 && has(e.out, "json_schema         100.0 %") &&
              has(e.out, "json_schema_fields  100.0 %") &&
              has(e.out, "field item        100.0 %") && has(e.out, "field count       100.0 %"),
          "%s%s", e.out, e.said);
}

static void test_refused(void)
{
    static const struct { const char *more[4], *error; } runs[] = {
        { { "--against", "other" }, "against: 'other' does not answer; who does: base" },
        { { "--no-base" }, "without an adapter nobody is left to answer" },
        { { "--regex", "(" }, "regex" },
        { { "--json-schema", "tests/golden/choices.json" },
          "choices.json: the keyword 'rows' is not known" },
        { { "--json-schema", "/no/such.json" }, "/no/such.json" },
        { { "--logits", "x.safetensors" }, "unknown option --logits" },
        { { "--predictions", "/no/such/place/x.jsonl" }, "/no/such/place" },
        { { "--adapter", "base=models/pico" }, "an adapter called 'base'" },
    };
    const char *model = test_data("models/pico"), *shop = test_data("models/shop-test.jsonl");
    char data[600];
    program_end e;
    FILE *f;

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", shop,
                       runs[i].more[0], runs[i].more[1]));
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
    static const test_case cases[] = { { "answers", test_answers },
                                       { "choices", test_choices },
                                       { "learned choices", test_learned_choices },
                                       { "bad choices", test_bad_choices },
                                       { "schema", test_schema },
                                       { "refused", test_refused } };
    return test_main("judge", cases, sizeof cases / sizeof *cases);
}
