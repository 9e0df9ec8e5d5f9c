/* test_pages.c - what stands beside words: boxes, what LiLT says of them against transformers,
 * training on them, and what they are refused for; entities, which are refused
 * (tests/golden/make/pages_golden.py). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "nibble/finetune.h"
#include "nibble/predict.h"
#include "test.h"

static const char *golden(const char *kind, const char *name)
{
    static char path[8][600];
    static int next;
    char *p = path[next++ % 8];

    snprintf(p, 600, "%s/%s%s%s", test_data("tests/golden/pages"), kind, *name ? "/" : "", name);
    return p;
}

static void on_line(void *user, const char *line, size_t bytes)
{
    json_t *one = json_loadb(line, bytes, 0, NULL);

    CHECK(one, "no JSON: %.*s", (int)bytes, line);
    json_array_append_new(user, one);
}

static nib_predict_options options_for(const char *kind, const char *data, json_t *lines)
{
    return (nib_predict_options){ .model = { .model = golden(kind, ""),
                                             .compute_dtype = NIB_COMPUTE_FLOAT32 },
                                  .data = { .data = data, .max_seq_length = 26 }, .batch_size = 4,
                                  .on_line = on_line, .user = lines };
}

static double at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static double greatest(const json_t *row)
{
    double most = 0;

    for (size_t i = 0; i < json_array_size(row); i++) most = fmax(most, at(row, i));
    return most;
}

/* Of words the greatest score of each, of a page all of them. */
static void check_record(size_t i, const json_t *got, const json_t *want, bool of_words)
{
    const json_t *scores = json_object_get(got, "scores");

    if (of_words) {
        CHECK(json_array_size(scores) == json_array_size(want), "record %zu: %zu words", i,
              json_array_size(scores));
        for (size_t w = 0; w < json_array_size(want); w++)
            CHECK(fabs(at(scores, w) - greatest(json_array_get(want, w))) < 1e-5,
                  "record %zu: word %zu has %g, expected %g", i, w, at(scores, w),
                  greatest(json_array_get(want, w)));
        return;
    }
    for (size_t c = 0; c < json_array_size(want); c++) {
        char name[32];
        snprintf(name, sizeof name, "LABEL_%zu", c);
        CHECK(fabs(json_number_value(json_object_get(scores, name)) - at(want, c)) < 1e-5,
              "record %zu: %s has %g, expected %g", i, name,
              json_number_value(json_object_get(scores, name)), at(want, c));
    }
}

static void check_scores(const char *kind)
{
    json_t *lines = json_array(),
           *want = json_load_file(golden(kind, "expected.json"), 0, NULL);
    nib_predict_options o = options_for(kind, golden(kind, "data.jsonl"), lines);
    nib_error err;

    REQUIRE_OK(nib_predict(test_ctx(), &o, &err), err);
    CHECK(json_array_size(lines) == json_array_size(want) && json_array_size(want) == 6,
          "%zu lines", json_array_size(lines));
    for (size_t i = 0; i < json_array_size(want); i++)
        check_record(i, json_array_get(lines, i), json_array_get(want, i),
                     strcmp(kind, "token") == 0);
    json_decref(lines);
    json_decref(want);
}

static void test_token(void) { check_scores("token"); }
static void test_seq(void) { check_scores("seq"); }

typedef struct losses { double first; size_t count; } losses;

static void on_step(void *user, const nib_step_report *r)
{
    losses *l = user;

    if (!l->count++) l->first = r->loss;
}

/* Trained on some records and evaluated on those held out; the loss is another without boxes. */
static void test_training(void)
{
    json_t *record;
    FILE *in = fopen(golden("token", "data.jsonl"), "r"), *out;
    char path[700], dir[700];
    static const char *targets[] = { "query", "value" };
    losses l[2] = { { 0 } };

    snprintf(path, sizeof path, "%s/bare.jsonl", test_tmpdir());
    out = fopen(path, "w");
    REQUIRE(in && out, "no files");
    while ((record = json_loadf(in, JSON_DISABLE_EOF_CHECK, NULL))) {
        json_object_del(record, "bboxes");
        json_dumpf(record, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(record);
    }
    fclose(in);
    fclose(out);
    for (int i = 0; i < 2; i++) {
        nib_finetune_options o;
        nib_error err;

        snprintf(dir, sizeof dir, "%s/run%d", test_tmpdir(), i);
        nib_finetune_defaults(&o);
        nib_finetune_peft_defaults(&o);
        o.model.model = golden("token", "");
        o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
        o.model.base_dropout = false;
        o.model.task = NIB_TASK_TOKEN_CLS;
        o.data.data = i ? path : golden("token", "data.jsonl");
        o.output_dir = dir;
        o.lora.target_modules = (nib_names){ .items = targets, .count = 2 };
        o.val_size = 2;
        o.train.eval_strategy = "epoch";
        o.train.num_train_epochs = 1;
        o.train.per_device_train_batch_size = 4;
        o.on_step = on_step;
        o.user = &l[i];
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    }
    CHECK(l[0].count == 1 && fabs(l[0].first - l[1].first) > 1e-3, "%zu steps, losses %g and %g",
          l[0].count, l[0].first, l[1].first);
}

static void test_refusals(void)
{
    static const struct { const char *boxes, *what; } cases[] = {
        { "7", "field 'boxes' is a number, expected a list of boxes" },
        { "[]", "0 boxes in 'boxes' for 1 words in 'words'" },
        { "[7]", "box 0 is a number of 0, expected a list of 4 numbers" },
        { "[[1, 2, 3]]", "box 0 is a list of 3, expected a list of 4 numbers" },
        { "[[1, 2, 32, 3]]", "the right edge of box 0 is 32, expected an integer from 0 to 31" },
        { "[[1, -2, 3, 3]]", "the upper edge of box 0 is -2, expected an integer from 0 to 31" },
        { "[[1, 2, 3.5, 3]]", "the right edge of box 0 is no integer: 0, expected" },
        { "[[5, 2, 3, 3]]", "box 0 goes from 5, 2 to 3, 3: expected left, upper, right, lower" },
    };
    char path[700];

    snprintf(path, sizeof path, "%s/bad.jsonl", test_tmpdir());
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        json_t *lines = json_array();
        nib_predict_options o = options_for("token", path, lines);
        nib_error err = { 0 };
        FILE *f = fopen(path, "w");

        REQUIRE(f, "no file");
        fprintf(f, "{\"words\": [\"a\"], \"boxes\": %s}\n", cases[i].boxes);
        fclose(f);
        CHECK(nib_predict(test_ctx(), &o, &err) && strstr(err.message, cases[i].what),
              "'%s', expected '%s'", err.message, cases[i].what);
        json_decref(lines);
    }
}

/* LUKE takes words alone: a record's entities, and a class that reads them, are refused by name. */
static void copy_to(const char *dir, const char *from, const char *name)
{
    char path[1400];
    json_t *j = json_load_file(from, 0, NULL);

    snprintf(path, sizeof path, "%s/%s", dir, name);
    REQUIRE(j && json_dump_file(j, path, 0) == 0, "%s", path);
    json_decref(j);
}

static void predict_one(const char *dir, const char *record, const char *what)
{
    char path[1400];
    json_t *lines = json_array();
    nib_predict_options o;
    nib_error err = { 0 };
    FILE *f;

    snprintf(path, sizeof path, "%s/one.jsonl", test_tmpdir());
    f = fopen(path, "w");
    REQUIRE(f, "no file");
    fprintf(f, "%s\n", record);
    fclose(f);
    o = options_for("token", path, lines);
    o.model.model = dir;
    if (what)
        CHECK(nib_predict(test_ctx(), &o, &err) && strstr(err.message, what),
              "'%s', expected '%s'", err.message, what);
    else REQUIRE_OK(nib_predict(test_ctx(), &o, &err), err);
    CHECK(json_array_size(lines) == !what, "%zu lines", json_array_size(lines));
    json_decref(lines);
}

static void test_entities(void)
{
    char dir[700], path[1400], *whole;
    json_t *config;

    snprintf(dir, sizeof dir, "%s/luke", test_tmpdir());
    mkdir(dir, 0755);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    whole = realpath(test_data("tests/golden/encoders/luke-seq/model.safetensors"), NULL);
    REQUIRE(whole && symlink(whole, path) == 0, "no link");
    free(whole);
    copy_to(dir, test_data("tests/golden/encoders/luke-seq/config.json"), "config.json");
    copy_to(dir, golden("seq", "tokenizer.json"), "tokenizer.json");
    copy_to(dir, golden("seq", "tokenizer_config.json"), "tokenizer_config.json");
    predict_one(dir, "{\"text\": \"a\", \"entities\": null}", NULL);
    predict_one(dir, "{\"text\": \"a\", \"entity_spans\": [[0, 1]]}",
                "field 'entity_spans' is a list: this model takes the text alone here");
    snprintf(path, sizeof path, "%s/config.json", dir);
    config = json_load_file(path, 0, NULL);
    json_array_set_new(json_object_get(config, "architectures"), 0,
                       json_string("LukeForEntityPairClassification"));
    REQUIRE(json_dump_file(config, path, 0) == 0, "%s", path);
    json_decref(config);
    predict_one(dir, "{\"text\": \"a\"}", "which reads entities beside the text: give task_type");
}

int main(void)
{
    static const test_case cases[] = { { "token", test_token },
                                       { "seq", test_seq },
                                       { "training", test_training },
                                       { "refusals", test_refusals },
                                       { "entities", test_entities } };
    return test_main("pages", cases, NIB_COUNT(cases));
}
