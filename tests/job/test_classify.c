/* test_classify.c - classifiers trained as PEFT trains them: losses, norms of the gradient and what
 * the trained model says of its records, for every kind of label; the labels' names in config.json;
 * what records and options are refused for; the merged and the quantized classifier.
 *
 * tests/golden/classify/ holds a BERT without a classifier, records, an adapter to begin from and
 * PEFT's numbers (tests/golden/make/classify_golden.py). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "nibble/evaluate.h"
#include "nibble/finetune.h"
#include "nibble/merge.h"
#include "nibble/predict.h"
#include "nibble/preview.h"
#include "nibble/quantize.h"
#include "test.h"

typedef struct log { double loss[8], norm[8]; size_t count; } steps;

static void on_step(void *user, const nib_step_report *r)
{
    steps *l = user;

    if (l->count == NIB_COUNT(l->loss)) return;
    l->loss[l->count] = r->loss;
    l->norm[l->count++] = r->grad_norm;
}

static const char *golden(const char *name)
{
    static char path[8][600];
    static int next;
    char *p = path[next++ % 8];

    snprintf(p, 600, "%s/%s", test_data("tests/golden/classify"), name);
    return p;
}

static const char *inside(const char *dir, const char *name)
{
    static char path[8][700];
    static int next;
    char *p = path[next++ % 8];

    snprintf(p, 700, "%s/%s", dir, name);
    return p;
}

static nib_finetune_options options_for(const char *data, const char *out, const char *task)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = golden("base");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.model.base_dropout = false; /* as the reference's numbers were made */
    o.task_type = task;
    o.data.data = data;
    o.data.max_seq_length = 24;
    o.output_dir = out;
    o.overwrite = true;
    o.train.learning_rate = 1e-2;
    o.train.weight_decay = 0;
    o.train.per_device_train_batch_size = 4;
    o.train.max_steps = 6;
    o.train.save_steps = 0;
    o.train.shuffle = false;
    return o;
}

static const struct kind {
    const char *name, *task, *weights, *problem;
    size_t labels;
    const char *names[3];
} kinds[] = {
    { "class", "SEQ_CLS", NULL, "single_label_classification", 3, { "maybe", "no", "yes" } },
    { "balanced", "SEQ_CLS", "balanced", "single_label_classification", 3,
      { "maybe", "no", "yes" } },
    { "multi", "SEQ_CLS", NULL, "multi_label_classification", 3, { "art", "news", "sport" } },
    { "regression", "SEQ_CLS", NULL, "regression", 1, { "LABEL_0" } },
    { "token", "TOKEN_CLS", NULL, NULL, 3, { "C", "O", "Q" } },
    { "graded", "SEQ_CLS", NULL, "multi_label_classification", 1, { "LABEL_0" } },
};

static json_t *expected_of(const char *kind)
{
    json_error_t why;
    json_t *j = json_load_file(inside(golden(kind), "expected.json"), 0, &why);

    CHECK(j, "%s: %s", kind, why.text);
    return j;
}

static double number(const json_t *j, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(j, key), i));
}

/* What transformers reads beside the adapter. */
static void check_config(const struct kind *k, const char *dir)
{
    json_t *j = json_load_file(inside(dir, "config.json"), 0, NULL);
    json_t *names = json_object_get(j, "id2label"), *ids = json_object_get(j, "label2id");
    const char *problem = json_string_value(json_object_get(j, "problem_type"));
    const char *class = json_string_value(json_array_get(json_object_get(j, "architectures"), 0));

    REQUIRE(j, "%s: no config.json", k->name);
    CHECK(json_object_size(names) == k->labels && json_object_size(ids) == k->labels,
          "%s: %zu labels", k->name, json_object_size(names));
    for (size_t i = 0; i < k->labels; i++) {
        char key[8];
        const char *name;
        snprintf(key, sizeof key, "%u", (unsigned)i);
        name = json_string_value(json_object_get(names, key));
        CHECK(name && strcmp(name, k->names[i]) == 0, "%s: label %zu is %s", k->name, i, name);
        CHECK(json_integer_value(json_object_get(ids, k->names[i])) == (json_int_t)i,
              "%s: id of %s", k->name, k->names[i]);
    }
    CHECK((!k->problem && !problem) || (problem && strcmp(problem, k->problem) == 0),
          "%s: problem_type %s", k->name, problem);
    CHECK(class && strcmp(class, k->problem ? "BertForSequenceClassification"
                                            : "BertForTokenClassification") == 0,
          "%s: class %s", k->name, class);
    json_decref(j);
}

/* --- the trained model is asked --- */

typedef struct said { nib_scores scores; char names[3][20]; uint64_t confusion[9]; } said;

static void on_scores(void *user, const nib_scores *scores)
{
    said *s = user;

    s->scores = *scores;
    for (size_t i = 0; scores->classes && i < 3; i++)
        snprintf(s->names[i], sizeof s->names[i], "%s", scores->classes[i].name);
    if (scores->confusion) memcpy(s->confusion, scores->confusion, sizeof s->confusion);
}

/* Several files, whose weights are of training: each record once, whatever they take of it. */
static void check_sources(const struct kind *k, const char *model, const char *dir, double loss)
{
    const char *data = inside(golden(k->name), "train.jsonl");
    const nib_data_source items[] = { { data, 0.1 }, { data, 2.5 } };
    nib_evaluate_options o = { .model = { .model = model, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = { .data = data, .sources = { items, 2 },
                                         .max_seq_length = 24 },
                               .adapter = dir };
    nib_evaluate_result r;
    nib_error err;

    REQUIRE_OK(nib_evaluate(test_ctx(), &o, &r, &err), err);
    CHECK(r.records == 48 && fabs(r.loss - loss) <= 1e-5 * fmax(1, loss),
          "%s: %d records, loss %.7g, of one file %.7g", k->name, (int)r.records, r.loss, loss);
}

/* The loss over all records, and how many of them PEFT's logits get right. */
static void check_evaluation(const struct kind *k, const char *model, const char *dir,
                             const json_t *want)
{
    nib_evaluate_options o = { .model = { .model = model,
                                          .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = { .data = inside(golden(k->name), "train.jsonl"),
                                         .max_seq_length = 24 },
                               .adapter = dir, .on_scores = on_scores };
    nib_evaluate_result r;
    nib_error err;
    said s = { 0 };
    uint64_t rows = 0;

    o.user = &s;
    REQUIRE_OK(nib_evaluate(test_ctx(), &o, &r, &err), err);
    CHECK(fabs(r.loss - json_number_value(json_object_get(want, "loss"))) <= 5e-4 * fmax(1, r.loss),
          "%s: loss %.7g", k->name, r.loss);
    CHECK(isnan(r.perplexity) && r.records == 24, "%s: %g", k->name, r.perplexity);
    for (size_t i = 0; i < k->labels && s.scores.classes; i++)
        CHECK(strcmp(s.names[i], k->names[i]) == 0, "%s: class %zu is %s", k->name, i, s.names[i]);
    for (size_t i = 0; i < 9; i++) rows += s.confusion[i];
    if (s.scores.confusion) CHECK(rows == s.scores.rows, "%s: %d rows", k->name, (int)rows);
    if (strcmp(k->name, "regression") == 0)
        CHECK(fabs(s.scores.mse - r.loss) < 1e-5 && isnan(s.scores.accuracy), "%s: mse %g", k->name,
              s.scores.mse);
    check_sources(k, model, dir, r.loss);
}

typedef struct lines { json_t *list; const char *data; size_t next; } lines;

static void on_line(void *user, const char *line, size_t bytes)
{
    lines *l = user;
    json_t *j = json_loadb(line, bytes, 0, NULL);

    CHECK(j, "no JSON: %.*s", (int)bytes, line);
    json_array_append_new(l->list, j);
}

static const char *next_line(void *user, size_t *bytes)
{
    lines *l = user;
    const char *line = l->data + l->next;

    if (!*line) return NULL;
    *bytes = strcspn(line, "\n");
    l->next += *bytes + (line[*bytes] == '\n');
    return line;
}

/* Probabilities of PEFT's logits. */
static double score_of(const json_t *z, size_t i, bool one)
{
    double most = -1e9, sum = 0, x = json_number_value(json_array_get(z, i));

    if (!one) return 1 / (1 + exp(-x));
    for (size_t k = 0; k < 3; k++)
        most = fmax(most, json_number_value(json_array_get(z, k)));
    for (size_t k = 0; k < 3; k++)
        sum += exp(json_number_value(json_array_get(z, k)) - most);
    return exp(x - most) / sum;
}

static void check_line(const struct kind *k, const json_t *line, const json_t *z)
{
    const json_t *scores = json_object_get(line, "scores");

    if (k->problem && strcmp(k->problem, "regression") == 0) {
        double x = json_number_value(json_array_get(z, 0));
        CHECK(fabs(json_number_value(json_object_get(line, "value")) - x) < 2e-3, "%g", x);
        return;
    }
    if (strcmp(k->name, "graded") == 0) {
        double got = json_number_value(json_object_get(line, "score"));
        CHECK(fabs(got - score_of(z, 0, false)) < 1e-3, "score %g", got);
        return;
    }
    for (size_t i = 0; k->problem && i < 3; i++) {
        double want = score_of(z, i, strcmp(k->problem, "single_label_classification") == 0);
        double got = json_number_value(json_object_get(scores, k->names[i]));
        CHECK(fabs(got - want) < 1e-3, "%s: score %g of %s, PEFT's %g", k->name, got, k->names[i],
              want);
    }
    for (size_t w = 0; !k->problem && w < json_array_size(scores); w++) {
        const json_t *row = json_array_get(z, w);
        double best = fmax(score_of(row, 0, true),
                           fmax(score_of(row, 1, true), score_of(row, 2, true)));
        double got = json_number_value(json_array_get(scores, w));
        CHECK(fabs(got - best) < 1e-3, "%s: score %g of word %zu, PEFT's %g", k->name, got, w,
              best);
    }
    if (!k->problem)
        CHECK(json_array_size(scores) == json_array_size(z), "%zu words, expected %zu",
              json_array_size(scores), json_array_size(z));
}

/* From the file in batches, from it twice, and line by line. */
static void check_prediction(const struct kind *k, const char *model, const char *dir,
                             const json_t *want)
{
    const char *file = inside(golden(k->name), "train.jsonl");
    const nib_data_source items[] = { { file, 0.1 }, { file, 2.5 } };
    char *text;
    size_t bytes;
    nib_error err;

    REQUIRE_OK(nib_file_read(test_ctx(), file, 1 << 20, &text, &bytes, &err), err);
    for (int from = 0; from < 3; from++) {
        lines l = { json_array(), text, 0 };
        nib_predict_options o = { .model = { .model = model,
                                             .compute_dtype = NIB_COMPUTE_FLOAT32 },
                                  .data = { .max_seq_length = 24 }, .adapter = dir, .batch_size = 5,
                                  .next_line = next_line, .on_line = on_line, .user = &l };

        if (from < 2) o.data.data = items[0].path;
        if (from == 1) o.data.sources = (nib_data_sources){ items, 2 };
        REQUIRE_OK(nib_predict(test_ctx(), &o, &err), err);
        CHECK(json_array_size(l.list) == (from == 1 ? 48 : 24), "%s: %zu lines", k->name,
              json_array_size(l.list));
        for (size_t i = 0; i < json_array_size(l.list); i++)
            check_line(k, json_array_get(l.list, i),
                       json_array_get(json_object_get(want, "logits"), i % 24));
        json_decref(l.list);
    }
    nib_free(test_ctx(), text);
}

/* A model of its own that does the same: the head is in its files, and the words' head is not. */
static void check_merged(const struct kind *k, const char *adapter, const json_t *want)
{
    const char *out = inside(test_tmpdir(), "merged");
    nib_merge_options o = { .model = golden("base"), .adapter = adapter, .out = out,
                            .dtype = "float32", .overwrite = true };
    nib_tensors *tensors;
    nib_error err;

    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    check_config(k, out);
    check_evaluation(k, out, NULL, want);
    check_prediction(k, out, NULL, want);
    REQUIRE_OK(nib_tensors_open(test_ctx(), out, &tensors, &err), err);
    for (size_t i = 0; i < nib_tensors_count(tensors); i++)
        CHECK(strncmp(nib_tensors_at(tensors, i)->name, "cls.", 4) != 0, "%s is there",
              nib_tensors_at(tensors, i)->name);
    CHECK(nib_tensors_find(tensors, "classifier.weight"), "%s: no classifier", k->name);
    nib_tensors_close(tensors);
}

static void check_kind(const struct kind *k)
{
    steps l = { 0 };
    nib_error err;
    json_t *want = expected_of(k->name);
    char *out = nib_sprintf(test_ctx(), "%s/%s", test_tmpdir(), k->name);
    nib_finetune_options o = options_for(inside(golden(k->name), "train.jsonl"), out, k->task);

    o.adapter = inside(golden(k->name), "begin");
    o.data.class_weights = k->weights;
    if (strcmp(k->name, "graded") == 0) {
        o.model.num_labels = 1;
        o.model.problem_type = k->problem;
    }
    o.on_step = on_step;
    o.user = &l;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    CHECK(l.count == 6, "%s: %zu steps", k->name, l.count);
    for (size_t i = 0; i < l.count; i++) {
        double loss = number(want, "losses", i), norm = number(want, "grad_norms", i);
        CHECK(fabs(l.loss[i] - loss) <= 2e-4 * fmax(1, loss),
              "%s: loss of step %zu is %.7g, PEFT's %.7g", k->name, i + 1, l.loss[i], loss);
        CHECK(fabs(l.norm[i] - norm) <= 1e-3 * fmax(1, norm),
              "%s: norm of step %zu is %.7g, PEFT's %.7g", k->name, i + 1, l.norm[i], norm);
    }
    check_config(k, out);
    check_evaluation(k, golden("base"), out, want);
    check_prediction(k, golden("base"), out, want);
    check_merged(k, out, want);
    json_decref(want);
    nib_free(test_ctx(), out);
}

static void test_class(void) { check_kind(&kinds[0]); }
static void test_balanced(void) { check_kind(&kinds[1]); }
static void test_multi(void) { check_kind(&kinds[2]); }
static void test_regression(void) { check_kind(&kinds[3]); }
static void test_token(void) { check_kind(&kinds[4]); }
static void test_graded(void) { check_kind(&kinds[5]); }

/* A masked language model: the words that are hidden are a function of the seed, so that the
 * script hides the same ones (Philox, written there anew); another epoch hides others. */
static void test_masked(void)
{
    const char *data = inside(golden("masked"), "train.jsonl");
    const char *out = inside(test_tmpdir(), "masked");
    nib_finetune_options o = options_for(data, out, "MASKED_LM");
    nib_evaluate_options e = { .model = { .model = inside(golden("masked"), "base"),
                                          .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = { .data = data, .max_seq_length = 24 }, .adapter = out };
    json_t *want = expected_of("masked");
    nib_peft_config config = nib_peft_config_default();
    nib_evaluate_result r;
    steps l = { 0 };
    nib_error err;

    o.model.model = e.model.model;
    o.adapter = inside(golden("masked"), "begin");
    o.on_step = on_step;
    o.user = &l;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    CHECK(l.count == 6, "%zu steps", l.count);
    for (size_t i = 0; i < l.count; i++) {
        double loss = number(want, "losses", i), norm = number(want, "grad_norms", i);
        CHECK(fabs(l.loss[i] - loss) <= 2e-4 * fmax(1, loss), "loss of step %zu is %.7g, not %.7g",
              i + 1, l.loss[i], loss);
        CHECK(fabs(l.norm[i] - norm) <= 1e-3 * fmax(1, norm), "norm of step %zu is %.7g, not %.7g",
              i + 1, l.norm[i], norm);
    }
    REQUIRE_OK(nib_evaluate(test_ctx(), &e, &r, &err), err);
    CHECK(fabs(r.loss - json_number_value(json_object_get(want, "loss"))) < 5e-4 &&
              r.supervised_tokens ==
                  (uint64_t)json_integer_value(json_object_get(want, "hidden")) &&
              fabs(r.perplexity - exp(r.loss)) < 1e-9,
          "loss %.7g of %d words", r.loss, (int)r.supervised_tokens);
    REQUIRE_OK(nib_peft_config_read(test_ctx(), out, &config, &err), err);
    CHECK(!config.task_type && !config.modules_to_save.count, "task %s, %zu saved",
          config.task_type, config.modules_to_save.count);
    nib_peft_config_free(test_ctx(), &config);
    json_decref(want);
}

/* Records with labels, and a model for masked words: nobody asked to train that. */
static void test_guessed_task(void)
{
    nib_finetune_options o = options_for(inside(golden("class"), "train.jsonl"),
                                         inside(test_tmpdir(), "never"), NULL);
    nib_error err = { .message = "" };

    o.model.model = inside(golden("masked"), "base");
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID && strstr(err.message, "task_type"),
          "'%s'", err.message);
    o.model.model = golden("base");
    o.data.data = inside(golden("masked"), "train.jsonl");
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "mask token"), "'%s'", err.message);
}

static void file_of(const char *dir, const char *name, char **bytes, size_t *count);

/* Records of another task than config.json's: the option is asked for, but where it was given. */
static void test_other_records(void)
{
    const char *data = inside(test_tmpdir(), "tags.jsonl");
    nib_finetune_options o = options_for(data, inside(test_tmpdir(), "never"), NULL);
    nib_error err = { .message = "" };
    FILE *f = fopen(data, "w");

    REQUIRE(f, "cannot write");
    fputs("{\"tokens\": [\"a\"], \"tags\": [\"O\"]}\n", f);
    fclose(f);
    o.model.model = golden("whole");
    for (int given = 0; given < 2; given++) {
        o.task_type = given ? "SEQ_CLS" : NULL;
        CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_FORMAT &&
                  strstr(err.message, "its fields are 'tokens', 'tags'") &&
                  (strstr(err.message, "set task_type") == NULL) == (given != 0), "'%s'",
              err.message);
    }
}

/* A pair, whose second text has type 1, for a model that has one type. */
static void test_one_type(void)
{
    char *dir = nib_sprintf(test_ctx(), "%s/one-type", test_tmpdir());
    const char *data = inside(golden("class"), "train.jsonl");
    json_t *config = json_load_file(inside(golden("whole"), "config.json"), 0, NULL);
    nib_finetune_options o = options_for(data, inside(test_tmpdir(), "never"), "SEQ_CLS");
    char *bytes, where[800];
    size_t n;
    nib_error err = { .message = "" };
    FILE *f;

    REQUIRE(config && dir && mkdir(dir, 0700) == 0, "config.json");
    json_object_set_new(config, "type_vocab_size", json_integer(1));
    json_dump_file(config, inside(dir, "config.json"), 0);
    json_decref(config);
    file_of(golden("whole"), "tokenizer.json", &bytes, &n);
    f = fopen(inside(dir, "tokenizer.json"), "wb");
    REQUIRE(f && fwrite(bytes, 1, n, f) == n, "cannot write");
    fclose(f);
    nib_free(test_ctx(), bytes);
    o.model.model = dir;
    o.model.num_labels = 3;
    o.dry_run = true;
    snprintf(where, sizeof where, "%s: record 1: field 'hypothesis': token ", data);
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_UNSUPPORTED && strstr(err.message, where) &&
              strstr(err.message, "has type 1 (of a second text), the model has 1 type"),
          "'%s'", err.message);
    nib_free(test_ctx(), dir);
}

/* Tags that mark spans: a sentence's last span ends with it, whatever it is batched with, and the
 * measure can choose the best state. */
static void test_spans(void)
{
    static const char *const tags[] = { "O", "B-X", "I-X" };
    const char *data = inside(test_tmpdir(), "spans.jsonl"), *out = inside(test_tmpdir(), "spans");
    nib_finetune_options o = options_for(data, out, "TOKEN_CLS");
    double f1[2] = { 0, 1 };
    nib_error err;
    FILE *f = fopen(data, "w");

    REQUIRE(f, "cannot write");
    for (int i = 0; i < 24; i++) {
        fprintf(f, "{\"tokens\": [\"good\", \"red\"], \"tags\": [\"%s\", \"%s\"]}\n",
                tags[i % 3], tags[(i / 3) % 3]);
    }
    fclose(f);
    o.eval_data = data;
    o.train.eval_strategy = "steps";
    o.train.eval_steps = 3;
    o.train.metric_for_best_model = "overall_f1";
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    for (int i = 0; i < 2; i++) {
        said s = { 0 };
        nib_evaluate_options e = { .model = { .model = golden("base"),
                                              .compute_dtype = NIB_COMPUTE_FLOAT32 },
                                   .data = { .data = data, .max_seq_length = 24 }, .adapter = out,
                                   .batch_size = i ? 24 : 1, .on_scores = on_scores, .user = &s };
        nib_evaluate_result r;
        REQUIRE_OK(nib_evaluate(test_ctx(), &e, &r, &err), err);
        f1[i] = s.scores.overall_f1;
        CHECK(s.scores.span_types == 1, "%zu types", s.scores.span_types);
    }
    CHECK(f1[0] == f1[1], "alone %g, together %g", f1[0], f1[1]);
    o.train.metric_for_best_model = "mrr@10";
    o.output_dir = inside(test_tmpdir(), "never");
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID, "mrr@10 of tags");
}

/* Without the pooler, which PEFT leaves random and does not save, no model can be written. */
static void test_merge_incomplete(void)
{
    static const char *const saved[] = { "classifier", "score" };
    nib_model_options m = { .model = golden("base"), .task = NIB_TASK_SEQ_CLS, .num_labels = 3 };
    nib_peft_config config = nib_peft_config_default();
    const char *dir = inside(test_tmpdir(), "incomplete");
    nib_merge_options o = { .model = m.model, .adapter = dir,
                            .out = inside(test_tmpdir(), "never") };
    nib_model *model = NULL;
    nib_adapter *adapter = NULL;
    nib_error err;

    REQUIRE_OK(nib_model_open(test_ctx(), &m, NIB_F32, (nib_model_progress){ 0 }, &model, &err),
               err);
    config.task_type = nib_strdup(test_ctx(), "SEQ_CLS");
    REQUIRE_OK(nib_peft_names_set(test_ctx(), &config.modules_to_save, NIB_PEFT_LIST, saved, 2,
                                  &err), err);
    REQUIRE_OK(nib_adapter_create(model, &config, 0, 1, &adapter, &err), err);
    CHECK(!mkdir(dir, 0777), "%s", dir);
    REQUIRE_OK(nib_adapter_save(adapter, dir, NULL, &err), err);
    nib_adapter_close(adapter);
    nib_model_close(model);
    nib_peft_config_free(test_ctx(), &config);
    CHECK(nib_merge(test_ctx(), &o, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "bert.pooler.dense is neither in its files nor in the adapter"),
          "%s", err.message);
    CHECK(!nib_file_exists(o.out), "something is written");
}

/* --- a quantized base --- */

/* Layers are packed, the classifier is not; a run on the result is one on the base that is
 * quantized while loading, to the bit. */
static void check_quantized(const char *model, const nib_setting *settings, const char *part)
{
    const char *packed = inside(test_tmpdir(), "packed");
    nib_quantize_options q = { .model = golden(model), .out = packed, .overwrite = true,
                               .settings = settings };
    nib_finetune_options o = options_for(inside(golden("class"), "train.jsonl"),
                                         inside(test_tmpdir(), "on-packed"), "SEQ_CLS");
    steps l[2] = { 0 };
    nib_tensors *tensors;
    nib_error err;
    char name[100];

    REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
    REQUIRE_OK(nib_tensors_open(test_ctx(), packed, &tensors, &err), err);
    snprintf(name, sizeof name, "bert.encoder.layer.0.output.dense.%s", part);
    CHECK(nib_tensors_find(tensors, name), "%s: no %s", model, name);
    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        bool head = strncmp(t->name, "cl", 2) == 0 || strstr(t->name, "pooler");
        CHECK(!head || t->dtype == NIB_BF16, "%s is %s", t->name, t->dtype_name);
    }
    nib_tensors_close(tensors);
    o.on_step = on_step;
    for (int while_loading = 0; while_loading < 2; while_loading++) {
        o.user = &l[while_loading];
        o.model.model = while_loading ? golden(model) : packed;
        o.model.settings = while_loading ? settings : NULL;
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    }
    CHECK(l[0].count == 6 && l[0].loss[5] < l[0].loss[0], "loss %g to %g", l[0].loss[0],
          l[0].loss[5]);
    for (size_t i = 0; i < 6; i++)
        CHECK(l[0].loss[i] == l[1].loss[i], "%s: step %zu: %.9g, quantized while loading %.9g",
              model, i, l[0].loss[i], l[1].loss[i]);
}

static void test_quantized(void)
{
    static const nib_setting eight[] = { { "load_in_8bit", "true" }, { NULL, NULL } };

    check_quantized("whole", test_four_bit, "weight.absmax");
    check_quantized("base", test_four_bit, "weight.absmax");
    check_quantized("whole", eight, "SCB");
}

/* --- the model itself --- */

static void file_of(const char *dir, const char *name, char **bytes, size_t *count)
{
    nib_error err;

    REQUIRE_OK(nib_file_read(test_ctx(), inside(dir, name), 1 << 24, bytes, count, &err),
               err);
}

/* The second half of a run from its checkpoint: the same bytes in `file`. */
static void check_resumed(nib_finetune_options o, const char *what, const char *file)
{
    const char *out = o.output_dir, *from = inside(out, "checkpoint-3");
    char *again = nib_sprintf(test_ctx(), "%s-again", out), *a, *b;
    size_t n, m;
    nib_error err;

    o.output_dir = again;
    o.resume_from_checkpoint = from;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    file_of(out, file, &a, &n);
    file_of(again, file, &b, &m);
    CHECK(n == m && memcmp(a, b, n) == 0, "%s: a resumed run writes other bytes", what);
    nib_free(test_ctx(), a);
    nib_free(test_ctx(), b);
    nib_free(test_ctx(), again);
}

/* With the base's dropout, which config.json asks for: other losses, no less exactly resumed, and
 * evaluated without it. */
static void test_dropout(void)
{
    char *out = nib_sprintf(test_ctx(), "%s/dropout", test_tmpdir());
    nib_finetune_options o = options_for(inside(golden("class"), "train.jsonl"), out, "SEQ_CLS");
    nib_evaluate_options e = { .model = { .model = o.model.model }, .adapter = out,
                               .data = { .data = o.data.data, .max_seq_length = 24 } };
    nib_evaluate_result r[2];
    steps l[3] = { 0 };
    nib_error err;

    o.train.save_steps = 3;
    o.on_step = on_step;
    for (int dropout = 0; dropout < 3; dropout++) {
        o.model.base_dropout = dropout;
        o.train.seed = dropout == 2 ? 43 : 42;
        o.user = &l[dropout];
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    }
    CHECK(l[0].loss[0] != l[1].loss[0] && l[2].loss[1] != l[1].loss[1], "losses %.9g, %.9g, %.9g",
          l[0].loss[0], l[1].loss[0], l[2].loss[0]);
    o.on_step = NULL;
    check_resumed(o, "dropout", "adapter_model.safetensors");
    for (int i = 0; i < 2; i++) {
        e.model.base_dropout = i;
        REQUIRE_OK(nib_evaluate(test_ctx(), &e, &r[i], &err), err);
    }
    CHECK(r[0].loss == r[1].loss, "evaluated with dropout: %g, %g", r[0].loss, r[1].loss);
    nib_free(test_ctx(), out);
}

/* A run of six steps, and the second half of it from its checkpoint: the same bytes. */
static void check_whole(const char *how, bool full)
{
    json_t *all = json_load_file(golden("whole/expected.json"), 0, NULL);
    json_t *want = json_object_get(all, how);
    char *out = nib_sprintf(test_ctx(), "%s/%s", test_tmpdir(), how);
    nib_finetune_options o = options_for(golden("whole/train.jsonl"), out, NULL);
    nib_evaluate_options e = { .model = { .model = out, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = { .data = o.data.data, .max_seq_length = 24 } };
    nib_evaluate_result r;
    steps l = { 0 };
    nib_error err;

    o.model.model = golden("whole");
    o.train.weight_decay = 0.1;
    o.train.save_steps = 3;
    o.full = full;
    o.train_head_only = !full;
    o.on_step = on_step;
    o.user = &l;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    for (size_t i = 0; i < l.count; i++)
        CHECK(fabs(l.loss[i] - number(want, "losses", i)) <= 5e-4 &&
                  fabs(l.norm[i] - number(want, "grad_norms", i)) <= 2e-3 * fmax(1, l.norm[i]),
              "%s: step %zu: loss %.7g, norm %.7g, torch's %.7g, %.7g", how, i + 1, l.loss[i],
              l.norm[i], number(want, "losses", i), number(want, "grad_norms", i));
    CHECK(l.count == 6, "%zu steps", l.count);
    REQUIRE_OK(nib_evaluate(test_ctx(), &e, &r, &err), err);
    CHECK(fabs(r.loss - json_number_value(json_object_get(want, "loss"))) <= 1e-3, "%s: loss %.7g",
          how, r.loss);
    o.on_step = NULL;
    check_resumed(o, how, "model.safetensors");
    nib_free(test_ctx(), out);
    json_decref(all);
}

static void test_whole(void)
{
    check_whole("full", true);
    check_whole("head", false);
}

static void keep_notes(void *user, nib_message_kind kind, const char *text)
{
    char *notes = user;

    if (kind == NIB_MESSAGE_NOTE)
        snprintf(notes + strlen(notes), 4000 - strlen(notes), "%.900s\n", text);
}

/* A model for masked words, whose head is the embedding: its row of padding learns from the head
 * alone. */
static void test_masked_whole(void)
{
    json_t *want = json_load_file(inside(golden("masked"), "whole.json"), 0, NULL);
    const char *data = inside(golden("masked"), "train.jsonl");
    char *out = nib_sprintf(test_ctx(), "%s/masked-whole", test_tmpdir());
    nib_finetune_options o = options_for(data, out, NULL);
    nib_evaluate_options e = { .model = { .model = out, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = { .data = data, .max_seq_length = 24 } };
    nib_evaluate_result r;
    steps l = { 0 };
    nib_error err;

    REQUIRE(want, "whole.json");
    o.model.model = inside(golden("masked"), "base");
    o.train.weight_decay = 0.1;
    o.train.learning_rate = 2e-3;
    o.train.save_steps = 3;
    o.full = true;
    o.on_step = on_step;
    o.user = &l;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    CHECK(l.count == 6, "%zu steps", l.count);
    for (size_t i = 0; i < l.count; i++)
        CHECK(fabs(l.loss[i] - number(want, "losses", i)) <= 2e-4 * fmax(1, l.loss[i]) &&
                  fabs(l.norm[i] - number(want, "grad_norms", i)) <= 1e-3 * fmax(1, l.norm[i]),
              "step %zu: loss %.7g, norm %.7g, torch's %.7g, %.7g", i + 1, l.loss[i], l.norm[i],
              number(want, "losses", i), number(want, "grad_norms", i));
    REQUIRE_OK(nib_evaluate(test_ctx(), &e, &r, &err), err);
    CHECK(fabs(r.loss - json_number_value(json_object_get(want, "loss"))) <= 5e-4, "loss %.7g",
          r.loss);
    o.on_step = NULL;
    check_resumed(o, "masked", "model.safetensors");
    nib_free(test_ctx(), out);
    json_decref(want);
}

/* What is for adapters is no part of such a run, and that is reported. */
static void test_whole_notes(void)
{
    static const char *const keys[] = { "target_modules", "trainable_token_indices", "use_dora",
                                        "init_lora_weights" };
    char notes[4000] = "", line[100];
    nib_ctx_options c = { .message = keep_notes, .message_user = notes };
    nib_finetune_options o = options_for(golden("whole/train.jsonl"), "never", NULL);
    nib_ctx *ctx;
    nib_error err;

    o.model.model = golden("whole");
    o.full = o.dry_run = true;
    o.lora.target_modules.all_linear = o.lora.use_dora = true;
    o.lora.trainable_token_indices = (const int[]){ 3 };
    o.lora.trainable_token_count = 1;
    o.lora.init_lora_weights = "gaussian";
    REQUIRE_OK(nib_ctx_create(&c, &ctx, &err), err);
    REQUIRE_OK(nib_finetune(ctx, &o, &err), err);
    nib_ctx_destroy(ctx);
    for (size_t i = 0; i < NIB_COUNT(keys); i++) {
        snprintf(line, sizeof line, "without effect here: %s, for with full", keys[i]);
        CHECK(strstr(notes, line), "%s: %s", keys[i], notes);
    }
}

/* --- a new head, held-out records, labels of other forms --- */

static const char *write_data(const char *text)
{
    FILE *f = fopen(inside(test_tmpdir(), "data.jsonl"), "w");

    if (f) fputs(text, f), fclose(f);
    return inside(test_tmpdir(), "data.jsonl");
}

static nib_status train(const char *text, const char *task, void change(nib_finetune_options *),
                        nib_error *err)
{
    nib_finetune_options o = options_for(write_data(text), inside(test_tmpdir(), "new"), task);

    o.train.max_steps = 2;
    if (change) change(&o);
    return nib_finetune(test_ctx(), &o, err);
}

static json_t *saved_modules(void)
{
    json_t *j = json_load_file(inside(test_tmpdir(), "new/adapter_config.json"), 0, NULL);
    json_t *list = json_incref(json_object_get(j, "modules_to_save"));

    json_decref(j);
    return list;
}

static void hold_out(nib_finetune_options *o)
{
    o->val_size = 2;
    o->train.eval_strategy = "epoch";
    o->data.class_weights = "balanced";
    o->train.metric_for_best_model = "accuracy";
    o->train.load_best_model_at_end = true;
    o->train.save_strategy = "epoch";
}

/* A head that the files lack is trained and saved, the pooler too; numbers are labels as they are;
 * records are held out with their answers. */
static void test_new_head(void)
{
    nib_error err;
    json_t *saved;

    REQUIRE_OK(train("{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 0}\n"
                     "{\"text\": \"c\", \"label\": 3}\n{\"text\": \"d\", \"label\": 0}\n"
                     "{\"text\": \"e\", \"label\": 2}\n", "SEQ_CLS", hold_out, &err),
               err);
    saved = saved_modules();
    CHECK(json_array_size(saved) == 3, "%zu modules saved", json_array_size(saved));
    CHECK(strcmp(json_string_value(json_array_get(saved, 0)), "classifier") == 0 &&
              strcmp(json_string_value(json_array_get(saved, 1)), "score") == 0 &&
              strcmp(json_string_value(json_array_get(saved, 2)), "pooler") == 0,
          "%s, %s, %s", json_string_value(json_array_get(saved, 0)),
          json_string_value(json_array_get(saved, 1)), json_string_value(json_array_get(saved, 2)));
    json_decref(saved);
    REQUIRE_OK(train("{\"tokens\": [\"a\", \"b\"], \"tags\": [1, 0]}\n", "TOKEN_CLS", NULL, &err),
               err);
    saved = saved_modules();
    CHECK(json_array_size(saved) == 2, "%zu modules saved", json_array_size(saved));
    json_decref(saved);
}

static void as_numbers(nib_finetune_options *o) { o->model.problem_type = "regression"; }
static void two_labels(nib_finetune_options *o) { o->model.num_labels = 2; }
static void by_perplexity(nib_finetune_options *o)
{
    o->train.metric_for_best_model = "perplexity";
}
static void by_accuracy(nib_finetune_options *o) { o->train.metric_for_best_model = "accuracy"; }
static void by_mse(nib_finetune_options *o) { o->train.metric_for_best_model = "eval_mse"; }
static void quantized(nib_finetune_options *o)
{
    o->full = true;
    o->model.settings = test_four_bit;
}
static void both(nib_finetune_options *o) { o->full = o->train_head_only = true; }
static void balance(nib_finetune_options *o) { o->data.class_weights = "balanced"; }
static void short_limit(nib_finetune_options *o) { o->data.max_seq_length = 2; }

static void test_refusals(void)
{
    static const struct {
        const char *task, *text;
        void (*change)(nib_finetune_options *);
        const char *what;
    } cases[] = {
        { NULL, "{\"text\": \"a\", \"label\": 1}", NULL,
          "config.json makes the model one for masked words: set task_type" },
        { "CAUSAL_LM", "{\"text\": \"a\"}", NULL, "has no CAUSAL_LM here" },
        { "SEQ_CLS", "{\"text\": \"a\"}", NULL, "its fields are 'text'; expected a text" },
        { "SEQ_CLS", "{\"texts\": \"a\", \"label\": 1}", NULL,
          "its fields are 'texts', 'label'; expected" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"a\", \"label\": \"b\"}", NULL,
          "field 'label' is a word, those before it are numbers" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"a\", \"label\": 0.5}", NULL,
          "is a number, expected a word or an integer" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": -1}", NULL,
          "field 'label' is -1, expected a label from 0 to" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": null}", NULL,
          "field 'label' is null, expected a label" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": \"\"}", NULL,
          "field 'label' is empty, expected a label" },
        { "SEQ_CLS", "{\"text\": 5, \"label\": 1}", NULL, "field 'text' is a number" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": \"x\"}", as_numbers,
          "field 'label' is x, expected a finite number" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 4}", two_labels,
          "num_labels: 2, but the records have 5 labels" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": [1.0, 0.5]}", NULL,
          "value 1 is 0.5, expected 0 or 1" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": [0, 1, 0]}", NULL,
          "names label 0 twice: integers are numbers of labels" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1.5}", balance,
          "class_weights: balanced is for one class" },
        { "SEQ_CLS", "{\"text\": \"a\", \"image\": \"a.png\", \"label\": 1}", NULL,
          "data.jsonl: line 1: field 'image' is a string: this model takes the text alone" },
        { "TOKEN_CLS", "{\"tokens\": [\"a\"], \"tags\": [\"O\"]}", short_limit,
          "max_seq_length: 2 leaves no room beside 2 special tokens" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1}", quantized,
          "its weights are quantized, and only dense ones are trained" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1}", both,
          "full and train_head_only exclude each other" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1}", by_perplexity,
          "metric_for_best_model: perplexity is not measured of SEQ_CLS" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1.5}", by_accuracy,
          "metric_for_best_model: accuracy is not measured of records with numbers" },
        { "SEQ_CLS", "{\"text\": \"a\", \"label\": 1}", by_mse,
          "metric_for_best_model: mse is not measured of records with classes" },
        { "TOKEN_CLS", "{\"tokens\": [\"a\"], \"tags\": [\"O\", \"O\"]}", NULL,
          "2 tags in 'tags' for 1 words in 'tokens'" },
        { "TOKEN_CLS", "{\"tokens\": \"a\", \"tags\": [\"O\"]}", NULL,
          "field 'tokens' is a string, expected a list of words" },
        { "TOKEN_CLS", "{\"tokens\": [7], \"tags\": [\"O\"]}", NULL, "word 0 is a number" },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_error err = { 0 };
        nib_status status = train(cases[i].text, cases[i].task, cases[i].change, &err);
        CHECK(status && strstr(err.message, cases[i].what),
              "case %zu: status %d, '%s', expected '%s'", i, (int)status, err.message,
              cases[i].what);
    }
}

/* Lines of text have no labels: a .txt is refused by name, alone and beside records. */
static void test_lines(void)
{
    static const struct { const char *task, *what; } cases[] = {
        { "SEQ_CLS", "data.txt: lines of text have no labels, which SEQ_CLS needs; expected "
                     "records with text and label" },
        { "TOKEN_CLS", "no tags, which TOKEN_CLS needs; expected records with tokens and tags" },
        { "QUESTION_ANS", "no questions, which QUESTION_ANS needs; expected records with question, "
                          "context and answers" },
    };
    const char *text = inside(test_tmpdir(), "data.txt");
    nib_data_source both[] = { { inside(golden("class"), "train.jsonl"), 1 }, { text, 1 } };
    nib_evaluate_options e = { .model = { .model = golden("whole") }, .data = { .data = text,
                               .max_seq_length = 24 } };
    nib_preview_options p = { .model = golden("whole"), .data = e.data };
    nib_evaluate_result r;
    nib_error err = { .message = "" };
    FILE *f = fopen(text, "w");

    REQUIRE(f, "cannot write");
    fputs("good bad\nfine red\n", f);
    fclose(f);
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_finetune_options o = options_for(text, inside(test_tmpdir(), "never"), cases[i].task);
        CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_FORMAT &&
                  strstr(err.message, cases[i].what), "%s: '%s'", cases[i].task, err.message);
    }
    for (int skip = 0; skip < 2; skip++) {
        nib_finetune_options o = options_for(both[0].path, inside(test_tmpdir(), "never"),
                                             "SEQ_CLS");
        o.data.sources = (nib_data_sources){ both, 2 };
        o.data.skip_bad = skip;
        CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_FORMAT &&
                  strstr(err.message, cases[0].what), "beside records: '%s'", err.message);
    }
    CHECK(nib_evaluate(test_ctx(), &e, &r, &err) == NIB_E_FORMAT &&
              strstr(err.message, cases[0].what), "evaluate: '%s'", err.message);
    CHECK(nib_preview(test_ctx(), &p, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "a model for SEQ_CLS"), "preview: '%s'", err.message);
}

static void count_line(void *user, const char *line, size_t bytes)
{
    (void)line, (void)bytes;
    ++*(int *)user;
}

/* To predict no labels are needed: a line each, empty ones left out. */
static void test_predict_lines(void)
{
    const char *text = inside(test_tmpdir(), "lines.txt");
    nib_predict_options o = { .model = { .model = golden("whole") }, .data = { .data = text,
                              .max_seq_length = 24 }, .on_line = count_line };
    int count = 0;
    nib_error err;
    FILE *f = fopen(text, "w");

    REQUIRE(f, "cannot write");
    fputs("good bad\r\n\nfine red\npoor", f);
    fclose(f);
    o.user = &count;
    REQUIRE_OK(nib_predict(test_ctx(), &o, &err), err);
    CHECK(count == 3, "%d lines", count);
}

int main(void)
{
    static const test_case cases[] = { { "class", test_class },
                                       { "balanced", test_balanced },
                                       { "multi", test_multi },
                                       { "regression", test_regression },
                                       { "token", test_token }, { "graded", test_graded },
                                       { "spans", test_spans }, { "masked", test_masked },
                                       { "guessed_task", test_guessed_task },
                                       { "other_records", test_other_records },
                                       { "one_type", test_one_type },
                                       { "new_head", test_new_head },
                                       { "merge_incomplete", test_merge_incomplete },
                                       { "quantized", test_quantized },
                                       { "whole", test_whole },
                                       { "masked_whole", test_masked_whole },
                                       { "whole_notes", test_whole_notes },
                                       { "dropout", test_dropout },
                                       { "refusals", test_refusals },
                                       { "lines", test_lines },
                                       { "predict_lines", test_predict_lines } };
    return test_main("classify", cases, NIB_COUNT(cases));
}
