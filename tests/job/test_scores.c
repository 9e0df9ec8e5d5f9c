/* test_scores.c - what a classifier gets right, against scikit-learn and scipy
 * (tests/golden/make/scores_golden.py). */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "job/scores.h"
#include "test.h"

static double number(const json_t *j, const char *key)
{
    return json_number_value(json_object_get(j, key));
}

static double at(const json_t *j, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(j, key), i));
}

static void check(double got, const json_t *c, const char *key, size_t number_of_case)
{
    if (!json_object_get(c, key)) CHECK(isnan(got), "case %zu: %s is %g", number_of_case, key, got);
    else
        CHECK(fabs(got - number(c, key)) < 1e-7, "case %zu: %s is %.12g, expected %.12g",
              number_of_case, key, got, number(c, key));
}

static void fill(nib_scorer *s, const json_t *c, size_t rows, size_t labels)
{
    for (size_t r = 0; r < rows; r++) {
        float z[8], y[8];
        for (size_t i = 0; i < labels; i++) {
            z[i] = (float)at(c, "logits", r * labels + i);
            y[i] = (float)at(c, "right", r * labels + i);
        }
        if (s->kind == NIB_LABEL_CLASS)
            nib_scorer_add_class(s, z, (uint32_t)at(c, "right", r));
        else nib_scorer_add_each(s, z, y);
    }
}

static void check_case(const json_t *c, size_t n)
{
    const char *kind = json_string_value(json_object_get(c, "kind"));
    size_t labels = (size_t)number(c, "labels");
    size_t rows = json_array_size(json_object_get(c, "logits")) / labels;
    nib_labels l = { .ctx = test_ctx(), .kind = strcmp(kind, "class") == 0 ? NIB_LABEL_CLASS
                                                : strcmp(kind, "set") == 0 ? NIB_LABEL_SET
                                                                           : NIB_LABEL_NUMBERS };
    nib_scorer s;
    nib_scores got;
    nib_error err;

    REQUIRE_OK(nib_scorer_create(test_ctx(), &l, labels, rows, &s, &err), err);
    for (int twice = 0; twice < 2; twice++) {
        nib_scorer_clear(&s);
        fill(&s, c, rows, labels);
    }
    got = nib_scorer_scores(&s);
    check(got.accuracy, c, "accuracy", n);
    check(got.f1, c, "f1", n);
    check(got.matthews_correlation, c, "matthews_correlation", n);
    check(got.mse, c, "mse", n);
    check(got.pearson, c, "pearson", n);
    check(got.spearmanr, c, "spearmanr", n);
    for (size_t i = 0; got.classes && i < labels; i++) {
        const nib_class_scores *k = &got.classes[i];
        CHECK(fabs(k->precision - at(c, "precision", i)) < 1e-9 &&
                  fabs(k->recall - at(c, "recall", i)) < 1e-9 &&
                  fabs(k->f1 - at(c, "class_f1", i)) < 1e-9 &&
                  k->support == (uint64_t)at(c, "support", i),
              "case %zu: class %zu: %g, %g, %g", n, i, k->precision, k->recall, k->f1);
    }
    for (size_t i = 0; got.confusion && i < labels * labels; i++)
        CHECK(got.confusion[i] == (uint64_t)at(c, "confusion", i), "case %zu: place %zu: %llu", n,
              i, (unsigned long long)got.confusion[i]);
    CHECK((got.confusion != NULL) == (l.kind == NIB_LABEL_CLASS), "case %zu: a matrix", n);
    nib_scorer_free(&s);
}

static void test_measures(void)
{
    json_t *cases = json_load_file(test_data("tests/golden/scores.json"), 0, NULL);

    REQUIRE(json_array_size(cases) == 8, "%zu cases", json_array_size(cases));
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(json_array_get(cases, i), i);
    json_decref(cases);
}

static size_t index_at(const json_t *list, size_t sentence, size_t i)
{
    return (size_t)json_integer_value(json_array_get(json_array_get(list, sentence), i));
}

static void check_types(const nib_scores *got, json_t *want, size_t n)
{
    CHECK(got->span_types >= json_object_size(want), "case %zu: %zu types", n, got->span_types);
    for (size_t i = 0; i < got->span_types; i++) {
        const nib_class_scores *s = &got->spans[i];
        const json_t *w = json_object_get(want, s->name);
        const double numbers[] = { s->precision, s->recall, s->f1, (double)s->support };
        for (size_t k = 0; k < 4; k++) /* seqeval leaves out a type that nobody named */
            CHECK(fabs(numbers[k] - json_number_value(json_array_get(w, k))) < 1e-12,
                  "case %zu: %s: measure %zu is %g", n, s->name, k, numbers[k]);
    }
}

/* Against seqeval, sentence by sentence (tests/golden/make/spans_golden.py). */
static void test_spans(void)
{
    FILE *f = fopen(test_data("tests/golden/spans.jsonl"), "r");
    char line[8192];
    size_t n = 0;

    REQUIRE(f, "no golden file");
    for (; fgets(line, sizeof line, f); n++) {
        json_t *c = json_loads(line, 0, NULL);
        const json_t *names = json_object_get(c, "labels"), *right = json_object_get(c, "right"),
                     *said = json_object_get(c, "said");
        nib_labels l = { .ctx = test_ctx(), .kind = NIB_LABEL_TAGS };
        nib_spans s;
        nib_scores got = nib_scores_none();
        nib_error err;
        for (size_t i = 0; i < json_array_size(names); i++)
            CHECK(nib_labels_know(&l, json_string_value(json_array_get(names, i))), "no memory");
        REQUIRE_OK(nib_spans_create(test_ctx(), &l, l.count, &s, &err), err);
        for (size_t k = 0; k < json_array_size(right); k++) {
            for (size_t i = 0; i < json_array_size(json_array_get(right, k)); i++)
                nib_spans_add(&s, index_at(said, k, i), index_at(right, k, i));
            nib_spans_end(&s);
        }
        nib_spans_scores(&s, &got);
        check(got.overall_precision, c, "precision", n);
        check(got.overall_recall, c, "recall", n);
        check(got.overall_f1, c, "f1", n);
        check_types(&got, json_object_get(c, "types"), n);
        nib_spans_free(&s);
        nib_labels_free(&l);
        json_decref(c);
    }
    fclose(f);
    CHECK(n == 15, "%zu cases", n);
}

/* Other tags mark nothing. */
static void test_no_spans(void)
{
    nib_labels l = { .ctx = test_ctx(), .kind = NIB_LABEL_TAGS };
    nib_spans s;
    nib_scores got = nib_scores_none();
    nib_error err;

    CHECK(nib_labels_know(&l, "O") && nib_labels_know(&l, "NOUN"), "no memory");
    REQUIRE_OK(nib_spans_create(test_ctx(), &l, l.count, &s, &err), err);
    nib_spans_add(&s, 1, 1);
    nib_spans_end(&s);
    nib_spans_scores(&s, &got);
    CHECK(isnan(got.overall_f1) && !got.spans, "spans of NOUN");
    nib_spans_free(&s);
    nib_labels_free(&l);
}

static void test_names(void)
{
    nib_scores s = { .accuracy = 0.5, .mse = 2, .spearmanr = 0.25 };
    double value = 0;
    bool greater = false;

    CHECK(nib_score_named("eval_accuracy", &s, &value, &greater) && value == 0.5 && greater,
          "%g", value);
    CHECK(nib_score_named("mse", &s, &value, &greater) && value == 2 && !greater, "%g", value);
    CHECK(nib_score_named("spearmanr", &s, &value, &greater) && value == 0.25 && greater, "%g",
          value);
    CHECK(!nib_score_named("recall", &s, &value, &greater), "recall is no name");
}

int main(void)
{
    static const test_case cases[] = { { "measures", test_measures }, { "names", test_names },
                                       { "spans", test_spans }, { "no_spans", test_no_spans } };
    return test_main("scores", cases, NIB_COUNT(cases));
}
