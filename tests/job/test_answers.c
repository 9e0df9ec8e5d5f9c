/* test_answers.c - scores of answers, against rouge-score and sacrebleu
 * (tests/golden/make/answers_golden.py), and how sure they are. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "job/answer_interval.h"
#include "test.h"

static const nib_answer_score compared[] = { NIB_ANSWER_EXACT, NIB_ANSWER_EXACT_MATCH,
                                             NIB_ANSWER_CONTAINS, NIB_ANSWER_ROUGE_L,
                                             NIB_ANSWER_CHRF };

static const char *string(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static void test_golden(void)
{
    json_t *golden = json_load_file(test_data("tests/golden/answers.json"), 0, NULL), *one;
    double sums[NIB_CHRF_ORDER][3] = { 0 }, corpus;
    nib_answer_scores s;
    nib_error err;
    size_t i;

    REQUIRE(json_array_size(json_object_get(golden, "pairs")) > 20);
    json_array_foreach(json_object_get(golden, "pairs"), i, one) {
        REQUIRE_OK(nib_answer_score_one(test_ctx(), string(one, "answer"), string(one, "wanted"),
                                        &s, &err), err);
        for (size_t k = 0; k < NIB_COUNT(compared); k++) {
            const char *name = nib_answer_score_name(compared[k]);
            double right = json_number_value(json_object_get(one, name));
            CHECK(fabs(s.of[compared[k]] - right) < 1e-9, "'%s' and '%s': %s is %.12g, expected "
                  "%.12g", string(one, "answer"), string(one, "wanted"), name, s.of[compared[k]],
                  right);
        }
        CHECK(isnan(s.of[NIB_ANSWER_REGEX]), "a pattern that nobody gave");
        for (size_t n = 0; n < NIB_CHRF_ORDER; n++)
            for (size_t k = 0; k < 3; k++) sums[n][k] += s.chrf[n][k];
    }
    corpus = json_number_value(json_object_get(golden, "corpus_chrf"));
    CHECK(fabs(nib_chrf_score((const double(*)[3])sums) - corpus) < 1e-9, "%.12g, expected %.12g",
          nib_chrf_score((const double(*)[3])sums), corpus);
    json_decref(golden);
}

static void test_json(void)
{
    static const struct { const char *answer, *wanted; double valid, fields; } cases[] = {
        { "{\"a\": 1, \"b\": \"x\"}", "{\"b\": \"x\", \"a\": 1}", 1, 1 },
        { "{\"a\": 1, \"b\": \"y\", \"c\": 0}", "{\"a\": 1, \"b\": \"x\"}", 1, .5 },
        { "{\"a\": 1.0}", "{\"a\": 1}", 1, 0 },
        { "{\"a\": null}", "{\"a\": null, \"b\": null}", 1, .5 },
        { "{\"a\": 1} and more", "{\"a\": 1}", 0, 0 },
        { "{\"a\": 1, \"a\": 1}", "{\"a\": 1}", 0, 0 },
        { "[1, 2]", "[1, 2]", 1, (double)NAN },
        { "", "{}", 0, (double)NAN },
        { "{}", "a text", (double)NAN, (double)NAN },
        { "7", "7", (double)NAN, (double)NAN }, /* a number is a text */
    };
    nib_answer_scores s;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        double valid, fields;
        REQUIRE_OK(nib_answer_score_one(test_ctx(), cases[i].answer, cases[i].wanted, &s, &err),
                   err);
        valid = s.of[NIB_ANSWER_JSON_VALID];
        fields = s.of[NIB_ANSWER_JSON_FIELDS];
        CHECK((valid == cases[i].valid || (isnan(valid) && isnan(cases[i].valid))) &&
                  (fields == cases[i].fields || (isnan(fields) && isnan(cases[i].fields))),
              "case %zu: %g, %g", i, valid, fields);
    }
}

/* Bytes that are no UTF-8 are characters of their own; a text beyond the limit is refused. */
static void test_bad(void)
{
    static char great[NIB_MOST_ANSWER + 2];
    nib_answer_scores s;
    nib_error err;

    REQUIRE_OK(nib_answer_score_one(test_ctx(), "a\xff\xc3", "a\xef\xbf\xbd\xef\xbf\xbd", &s, &err),
               err);
    CHECK(s.of[NIB_ANSWER_EXACT] == 1, "%g", s.of[NIB_ANSWER_EXACT]);
    memset(great, 'x', sizeof great - 1);
    CHECK(nib_answer_score_one(test_ctx(), "a", great, &s, &err) == NIB_E_INVALID &&
              strstr(err.message, "100000"),
          "%s", err.message);
}

/* exact [2, records]: the first `mine` of one contestant's answers are right, of the other's
 * `others`. */
static void compare(size_t records, size_t others, size_t mine, uint64_t seed,
                    nib_answer_summary out[2])
{
    nib_answer_scores *s = nib_new_array(test_ctx(), 2 * records, sizeof *s);
    nib_error err;

    REQUIRE(s);
    for (size_t i = 0; i < 2 * records; i++) {
        for (size_t k = 0; k < NIB_ANSWER_SCORES; k++) s[i].of[k] = (double)NAN;
        s[i].of[NIB_ANSWER_EXACT] = i < records ? i < others : i - records < mine;
    }
    REQUIRE_OK(nib_answer_intervals(test_ctx(), s, 2, records, 0, seed, out, &err), err);
    nib_free(test_ctx(), s);
}

static void test_intervals(void)
{
    nib_answer_summary few[2], again[2], many[2];
    nib_interval d;

    compare(11, 3, 4, 42, few);
    d = few[1].difference[NIB_ANSWER_EXACT];
    CHECK(fabs(d.score - 1 / 11.) < 1e-12 && d.low <= 0 && d.high > 0, "3 and 4 of 11: %g to %g",
          d.low, d.high);
    compare(11, 3, 4, 42, again);
    CHECK(memcmp(few, again, sizeof few) == 0, "the same seed gives the same intervals");
    compare(40, 0, 26, 42, many);
    d = many[1].difference[NIB_ANSWER_EXACT];
    CHECK(d.low > .4 && d.low < .65 && d.high > .65 && d.high < .9, "26 of 40: %g to %g", d.low,
          d.high);
    /* a fraction of 26 in 40 has a deviation of .0754: 1.96 of them to each side */
    CHECK(fabs(d.high - d.low - 2 * 1.96 * .0754) < .04, "%g wide", d.high - d.low);
    CHECK(isnan(many[1].score[NIB_ANSWER_JSON_VALID].score) &&
              isnan(many[1].difference[NIB_ANSWER_JSON_VALID].low),
          "a score that applies to no record");
    d = many[0].difference[NIB_ANSWER_EXACT];
    CHECK(d.score == 0 && d.low == 0 && d.high == 0, "to itself: %g", d.score);
}

int main(void)
{
    static const test_case cases[] = { { "golden", test_golden }, { "json", test_json },
                                       { "bad", test_bad }, { "intervals", test_intervals } };
    return test_main("answers", cases, NIB_COUNT(cases));
}
