/* test_questions.c - answers in a context: trained as PEFT and Trainer train them (an adapter, the
 * whole model, the head alone), windows of the contexts, what is answered then and how right it is,
 * as run_qa and SQuAD's measures have it; what is written; what records and options are refused
 * for.
 *
 * tests/golden/questions/ holds a BERT, records, an adapter to begin from and the reference's
 * numbers (tests/golden/make/questions_golden.py). */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/filemap.h"
#include "job/squad.h"
#include "nibble/evaluate.h"
#include "nibble/finetune.h"
#include "nibble/merge.h"
#include "nibble/predict.h"
#include "test.h"
#include "text/tokenizer.h"
#include "train/data.h"

enum { LIMIT = 24, STRIDE = 4, STEPS = 6, QUESTIONS = 16 };

static const char *golden(const char *name)
{
    static char path[64][600];
    static int next;
    char *p = path[next++ % 64];

    snprintf(p, 600, "%s/%s", test_data("tests/golden/questions"), name);
    return p;
}

static const char *inside(const char *dir, const char *name)
{
    static char path[64][700];
    static int next;
    char *p = path[next++ % 64];
    size_t n = strnlen(dir, 500);

    memcpy(p, dir, n); /* dir may be an earlier path of these */
    snprintf(p + n, sizeof path[0] - n, "/%s", name);
    return p;
}

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *j = json_load_file(path, 0, &why);

    CHECK(j, "%s: %s", path, why.text);
    return j;
}

static double number(const json_t *j, const char *key)
{
    return json_number_value(json_object_get(j, key));
}

static nib_data_options data_of(const char *file)
{
    return (nib_data_options){ .data = file, .max_seq_length = LIMIT, .doc_stride = STRIDE };
}

/* --- the measures --- */

static void test_measures(void)
{
    json_t *rows = load(golden("squad.json")), *row;
    nib_text form = { .ctx = test_ctx() };
    size_t i;

    REQUIRE(json_array_size(rows) > 60, "%zu rows", json_array_size(rows));
    json_array_foreach(rows, i, row) {
        const char *said = json_string_value(json_array_get(row, 0)), *right[8];
        const json_t *list = json_array_get(row, 1);
        const char *want = json_string_value(json_array_get(row, 2));
        nib_squad_score score;
        nib_error err;

        for (size_t k = 0; k < json_array_size(list); k++)
            right[k] = json_string_value(json_array_get(list, k));
        nib_squad_normalize(said, strlen(said), &form);
        CHECK(form.bytes == strlen(want) && (!form.bytes || !memcmp(form.data, want, form.bytes)),
              "'%s' is compared as '%.*s', expected '%s'", said, (int)form.bytes,
              form.bytes ? form.data : "", want);
        REQUIRE_OK(nib_squad_best(test_ctx(), said, strlen(said), right, json_array_size(list),
                                  &score, &err), err);
        CHECK(score.exact == (json_integer_value(json_array_get(row, 3)) == 1) &&
                  fabs(score.f1 - json_number_value(json_array_get(row, 4))) < 1e-12,
              "'%s': %d %g", said, score.exact, score.f1);
    }
    nib_text_free(&form);
    json_decref(rows);
}

/* --- records --- */

static nib_status open_data(const nib_data_options *o, nib_tokenizer *t, nib_dataset **d,
                            nib_error *err)
{
    nib_dataset_source source = { .options = o, .model_dir = golden("base"), .tokenizer = t,
                                  .vocabulary = 276, .task = NIB_TASK_QUESTION_ANS,
                                  .positions = 32 };

    return nib_dataset_open(test_ctx(), &source, d, err);
}

/* Windows of a question hold its tokens, and the tokens that its answer begins and ends in. */
static void test_windows(void)
{
    json_t *want = load(golden("expected.json"));
    const json_t *counts = json_object_get(want, "windows");
    const json_t *tokens = json_object_get(want, "tokens");
    const json_t *edges = json_object_get(want, "edges");
    nib_data_options o = data_of(golden("train.jsonl"));
    nib_tokenizer *t;
    nib_dataset *d;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(test_ctx(), golden("base"), &t, &err), err);
    REQUIRE_OK(open_data(&o, t, &d, &err), err);
    REQUIRE(nib_dataset_questions(d)->count == QUESTIONS &&
                nib_dataset_count(d) == json_array_size(tokens), "%zu windows",
            nib_dataset_count(d));
    for (size_t i = 0; i < QUESTIONS; i++)
        CHECK(nib_dataset_questions(d)->items[i].windows ==
                  (uint32_t)json_integer_value(json_array_get(counts, i)), "question %zu", i);
    for (size_t i = 0; i < nib_dataset_count(d); i++) {
        nib_record r = nib_dataset_record(d, i);
        const json_t *ids = json_array_get(tokens, i), *edge = json_array_get(edges, i);
        REQUIRE(r.length == json_array_size(ids) && r.answer_count == 2 && r.targets == r.length,
                "window %zu", i);
        for (uint32_t k = 0; k < r.length; k++)
            CHECK(r.ids[k] == (uint32_t)json_integer_value(json_array_get(ids, k)),
                  "token %u of window %zu", k, i);
        for (uint32_t k = 0; k < 2; k++)
            CHECK((json_int_t)r.answers[k] == json_integer_value(json_array_get(edge, k)),
                  "window %zu: edge %u is %g", i, k, (double)r.answers[k]);
    }
    nib_dataset_close(d);
    nib_tokenizer_close(t);
    json_decref(want);
}

/* A question is held out with all its windows, its texts and its tokens' places. */
static void test_hold_out(void)
{
    nib_data_options o = data_of(golden("train.jsonl"));
    nib_dataset *d, *held, *all;
    nib_tokenizer *t;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(test_ctx(), golden("base"), &t, &err), err);
    REQUIRE_OK(open_data(&o, t, &d, &err), err);
    REQUIRE_OK(open_data(&o, t, &all, &err), err);
    REQUIRE_OK(nib_dataset_hold_out(d, 0.25, 3, &held, &err), err);
    CHECK(nib_dataset_questions(held)->count == 4 && nib_dataset_questions(d)->count == 12,
          "%zu questions are held out", nib_dataset_questions(held)->count);
    CHECK(nib_dataset_count(d) + nib_dataset_count(held) == nib_dataset_count(all), "windows");
    for (int side = 0; side < 2; side++) {
        const nib_dataset *part = side ? held : d;
        const nib_questions *q = nib_dataset_questions(part), *whole = nib_dataset_questions(all);
        size_t row = 0;
        for (size_t i = 0; i < q->count; i++) {
            const nib_question *x = &q->items[i];
            size_t from = 0, was = 0;
            while (strcmp(nib_questions_text(whole, whole->items[was].id),
                          nib_questions_text(q, x->id)) != 0)
                from += whole->items[was++].windows;
            CHECK(x->windows == whole->items[was].windows &&
                      x->answer_count == whole->items[was].answer_count &&
                      strcmp(nib_questions_text(q, x->context),
                             nib_questions_text(whole, whole->items[was].context)) == 0,
                  "question %zu", i);
            for (uint32_t w = 0; w < x->windows; w++) {
                nib_record a = nib_dataset_record(part, row++);
                nib_record b = nib_dataset_record(all, from + w);
                CHECK(a.length == b.length && !memcmp(a.ids, b.ids, a.length * sizeof *a.ids) &&
                          !memcmp(a.ranges, b.ranges, a.length * sizeof *a.ranges) &&
                          a.answers[0] == b.answers[0] && a.answers[1] == b.answers[1],
                      "window %u of question %zu", w, i);
            }
        }
    }
    CHECK(nib_dataset_hold_out(d, 12, 3, &held, &err) == NIB_E_INVALID &&
              strstr(err.message, "12 of 12"), "%s", err.message);
    nib_dataset_close(d);
    nib_dataset_close(held);
    nib_dataset_close(all);
    nib_tokenizer_close(t);
}

/* --- training --- */

typedef struct steps { double loss[STEPS], norm[STEPS]; size_t count; } steps;

static void on_step(void *user, const nib_step_report *r)
{
    steps *l = user;

    if (l->count == STEPS) return;
    l->loss[l->count] = r->loss;
    l->norm[l->count++] = r->grad_norm;
}

static void on_scores(void *user, const nib_scores *scores) { *(nib_scores *)user = *scores; }

static void check_evaluation(const char *how, const char *model, const char *adapter,
                             const json_t *want)
{
    const json_t *right = json_object_get(want, "scores");
    nib_scores s = { 0 };
    nib_evaluate_options o = { .model = { .model = model, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .data = data_of(golden("train.jsonl")), .adapter = adapter,
                               .batch_size = 5, .on_scores = on_scores, .user = &s };
    nib_evaluate_result r;
    nib_error err;

    REQUIRE_OK(nib_evaluate(test_ctx(), &o, &r, &err), err);
    CHECK(fabs(r.loss - number(want, "loss")) <= 5e-4, "%s: loss %.7g, expected %.7g", how, r.loss,
          number(want, "loss"));
    CHECK(s.rows == QUESTIONS && fabs(s.exact_match - number(right, "exact")) < 1e-9 &&
              fabs(s.f1 - number(right, "f1")) < 1e-9,
          "%s: exact match %g, F1 %g", how, s.exact_match, s.f1);
    CHECK(fabs(s.has_answer_exact - number(right, "HasAns_exact")) < 1e-9 &&
              fabs(s.has_answer_f1 - number(right, "HasAns_f1")) < 1e-9 &&
              fabs(s.no_answer_exact - number(right, "NoAns_exact")) < 1e-9 &&
              fabs(s.no_answer_f1 - number(right, "NoAns_f1")) < 1e-9,
          "%s: %g %g %g %g", how, s.has_answer_exact, s.has_answer_f1, s.no_answer_exact,
          s.no_answer_f1);
    CHECK(isnan(s.accuracy) && isnan(r.perplexity), "%s: more is measured", how);
}

typedef struct lines { json_t *list; const char *data; size_t next; } lines;

static void on_line(void *user, const char *line, size_t bytes)
{
    json_t *j = json_loadb(line, bytes, 0, NULL);

    CHECK(j, "no JSON: %.*s", (int)bytes, line);
    json_array_append_new(((lines *)user)->list, j);
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

static void check_answer(const json_t *got, const json_t *want, size_t i)
{
    const char *answer = json_string_value(json_object_get(want, "answer"));
    const char *said = json_string_value(json_object_get(got, "answer"));

    CHECK(said && strcmp(said, answer) == 0, "question %zu: '%s', expected '%s'", i, said, answer);
    CHECK(json_integer_value(json_object_get(got, "start")) ==
                  json_integer_value(json_object_get(want, "start")) &&
              json_integer_value(json_object_get(got, "end")) ==
                  json_integer_value(json_object_get(want, "end")),
          "question %zu: other places", i);
    CHECK(!json_object_get(got, "start") == !*answer, "question %zu: places", i);
    if (*answer)
        CHECK(number(got, "end_byte") - number(got, "start_byte") == (double)strlen(answer),
              "question %zu: bytes", i);
    CHECK(fabs(number(got, "score") - number(want, "score")) < 1e-3 &&
              fabs(number(got, "null_score_diff") - number(want, "null_score_diff")) < 5e-3,
          "question %zu: score %g, %g", i, number(got, "score"), number(got, "null_score_diff"));
    CHECK(i % 2 ? json_is_string(json_object_get(got, "id"))
                : json_integer_value(json_object_get(got, "id")) == (json_int_t)i,
          "question %zu: its id", i);
}

/* From the file in batches, and line by line; an answer in any case, and where there may be
 * none. */
static void check_prediction(const char *model, const char *adapter, const json_t *want)
{
    char *text;
    size_t bytes;
    nib_error err;

    REQUIRE_OK(nib_file_read(test_ctx(), golden("train.jsonl"), 1 << 20, &text, &bytes, &err), err);
    for (int i = 0; i < 4; i++) {
        const json_t *answers = json_object_get(want, i & 2 ? "answers" : "only_with");
        lines l = { json_array(), text, 0 };
        nib_predict_options o = { .model = { .model = model, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                                  .data = data_of(i & 1 ? golden("train.jsonl") : NULL),
                                  .adapter = adapter, .batch_size = 5, .next_line = next_line,
                                  .on_line = on_line, .user = &l };

        o.data.version_2_with_negative = i & 2;
        REQUIRE_OK(nib_predict(test_ctx(), &o, &err), err);
        REQUIRE(json_array_size(l.list) == QUESTIONS, "%zu lines", json_array_size(l.list));
        for (size_t k = 0; k < QUESTIONS; k++)
            check_answer(json_array_get(l.list, k), json_array_get(answers, k), k);
        json_decref(l.list);
    }
    nib_free(test_ctx(), text);
}

static void check_class(const char *dir)
{
    json_t *j = load(inside(dir, "config.json"));
    const char *class = json_string_value(json_array_get(json_object_get(j, "architectures"), 0));

    CHECK(class && strcmp(class, "BertForQuestionAnswering") == 0, "%s: %s", dir, class);
    CHECK(!json_object_get(j, "id2label"), "%s: labels", dir);
    json_decref(j);
}

static void check_merged(const char *adapter, const json_t *want)
{
    const char *out = inside(test_tmpdir(), "merged");
    nib_merge_options o = { .model = golden("base"), .adapter = adapter, .out = out,
                            .dtype = "float32", .overwrite = true };
    nib_error err;

    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    check_class(out);
    check_evaluation("merged", out, NULL, want);
    check_prediction(out, NULL, want);
}

static nib_finetune_options options_for(const char *out)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    o.model.model = golden("base");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.model.base_dropout = false; /* as the reference's numbers were made */
    o.data = data_of(golden("train.jsonl"));
    o.output_dir = out;
    o.overwrite = true;
    o.train.learning_rate = 1e-2;
    o.train.weight_decay = 0;
    o.train.per_device_train_batch_size = 4;
    o.train.max_steps = STEPS;
    o.train.save_steps = 0;
    o.train.shuffle = false;
    return o;
}

/* The task is the model's own class. */
static void check_way(const char *how)
{
    json_t *all = load(golden("expected.json")), *want = json_object_get(all, how);
    char *out = nib_sprintf(test_ctx(), "%s/%s", test_tmpdir(), how);
    nib_finetune_options o = options_for(out);
    bool lora = strcmp(how, "lora") == 0;
    steps l = { 0 };
    nib_error err;

    if (lora) o.adapter = golden("begin");
    else o.train.weight_decay = 0.1;
    o.full = strcmp(how, "full") == 0;
    o.train_head_only = strcmp(how, "head") == 0;
    o.on_step = on_step;
    o.user = &l;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    REQUIRE(l.count == STEPS, "%zu steps", l.count);
    for (size_t i = 0; i < STEPS; i++) {
        double loss = json_number_value(json_array_get(json_object_get(want, "losses"), i));
        double norm = json_number_value(json_array_get(json_object_get(want, "grad_norms"), i));
        CHECK(fabs(l.loss[i] - loss) <= 2e-4 * fmax(1, loss), "%s: loss of step %zu is %.7g, the "
              "reference's %.7g", how, i + 1, l.loss[i], loss);
        CHECK(fabs(l.norm[i] - norm) <= 1e-3 * fmax(1, norm), "%s: norm of step %zu is %.7g, the "
              "reference's %.7g", how, i + 1, l.norm[i], norm);
    }
    check_class(out);
    check_evaluation(how, lora ? golden("base") : out, lora ? out : NULL, want);
    check_prediction(lora ? golden("base") : out, lora ? out : NULL, want);
    if (lora) check_merged(out, want);
    nib_free(test_ctx(), out);
    json_decref(all);
}

static void test_lora(void) { check_way("lora"); }
static void test_full(void) { check_way("full"); }
static void test_head(void) { check_way("head"); }

typedef struct measured { double exact, f1; size_t count; uint64_t best; } measured;

static void on_evaluate(void *user, const nib_eval_report *r)
{
    measured *m = user;

    REQUIRE(r->scores, "no scores");
    m->exact = r->scores->exact_match;
    m->f1 = r->scores->f1;
    m->count++;
    if (r->best) m->best = r->step;
}

/* Held-out questions are answered on the way, and choose the best checkpoint; a new adapter saves
 * qa_outputs, as PEFT's task does. */
static void test_best(void)
{
    const char *out = inside(test_tmpdir(), "best");
    nib_finetune_options o = options_for(out);
    measured m = { 0 };
    json_t *config, *state;
    nib_error err;

    o.lora.r = 2;
    o.val_size = 4;
    o.train.eval_strategy = o.train.save_strategy = "steps";
    o.train.eval_steps = o.train.save_steps = 3;
    o.train.load_best_model_at_end = true;
    o.train.metric_for_best_model = "exact_match";
    o.on_evaluate = on_evaluate;
    o.user = &m;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    CHECK(m.count >= 2 && m.exact >= 0 && m.exact <= 100 && m.f1 >= m.exact && m.best,
          "%zu evaluations, %g %g", m.count, m.exact, m.f1);
    config = load(inside(out, "adapter_config.json"));
    CHECK(strcmp(json_string_value(json_object_get(config, "task_type")), "QUESTION_ANS") == 0 &&
              json_array_size(json_object_get(config, "modules_to_save")) == 1 &&
              strcmp(json_string_value(json_array_get(json_object_get(config, "modules_to_save"),
                                                      0)), "qa_outputs") == 0,
          "the adapter's task or modules");
    state = load(inside(out, "trainer_state.json"));
    CHECK(number(state, "best_metric") >= 0, "the best is not noted");
    json_decref(config);
    json_decref(state);
}

/* --- what is refused --- */

static const struct bad { const char *record, *what; } bad_records[] = {
    { "{\"text\": \"a\"}", "expected question, context and answers" },
    { "{\"question\": \"a\", \"context\": \"b\"}", "expected question, context and answers" },
    { "{\"question\": 7, \"context\": \"b\", \"answers\": []}", "'question' is a number" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": null}", "'answers' is null" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": {\"text\": [\"b\"]}}",
      "found a list and missing of 1 and 0" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": {\"text\": [\"b\"], "
      "\"answer_start\": [0, 1]}}", "of 1 and 2" },
    { "{\"question\": \"a\", \"context\": \"\\u00e9 red\", \"answers\": {\"text\": [\"red\"], "
      "\"answer_start\": [3]}}", "'red' does not begin at character 3 of the context, where 'ed'" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": {\"text\": [\"b\"], "
      "\"answer_start\": [9]}}", "does not begin at character 9" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": [{\"text\": \"b\", \"answer_start\": "
      "-1}]}", "answer_start is below 0" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": [{\"text\": \"\", \"answer_start\": "
      "0}]}", "a text is empty" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": [3]}", "a text is missing" },
    { "{\"question\": \"a\", \"context\": \"b\", \"answers\": [], \"is_impossible\": false}",
      "'is_impossible' is true or false, but there are 0 answers" },
    { "{\"question\": \"a b c d e f g h i j k l m n o p q r s t\", \"context\": \"b\", "
      "\"answers\": []}", "max_seq_length 24, doc_stride 4" },
};

static void test_refusals(void)
{
    const char *file = inside(test_tmpdir(), "bad.jsonl");
    nib_data_options o = data_of(file);
    nib_finetune_options f = options_for(inside(test_tmpdir(), "refused"));
    nib_tokenizer *t;
    nib_dataset *d;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(test_ctx(), golden("base"), &t, &err), err);
    for (size_t i = 0; i < NIB_COUNT(bad_records); i++) {
        FILE *to = fopen(file, "w");
        REQUIRE(to, "%s", file);
        fprintf(to, "%s\n", bad_records[i].record);
        fclose(to);
        CHECK(open_data(&o, t, &d, &err) && strstr(err.message, bad_records[i].what) &&
                  strstr(err.message, "bad.jsonl"),
              "record %zu: '%s', expected '%s'", i, err.message, bad_records[i].what);
    }
    o = data_of(golden("train.jsonl"));
    o.doc_stride = -1;
    CHECK(open_data(&o, t, &d, &err) == NIB_E_INVALID && strstr(err.message, "doc_stride: -1"),
          "%s", err.message);
    o.doc_stride = 18;
    CHECK(open_data(&o, t, &d, &err) == NIB_E_INVALID && strstr(err.message, "doc_stride 18"), "%s",
          err.message);
    o.doc_stride = STRIDE;
    o.max_answer_length = -3;
    CHECK(open_data(&o, t, &d, &err) == NIB_E_INVALID &&
              strstr(err.message, "max_answer_length: -3"), "%s", err.message);
    o = data_of(golden("train.jsonl"));
    o.long_records = "split";
    CHECK(open_data(&o, t, &d, &err) == NIB_E_INVALID &&
              strstr(err.message, "'split' is not drop or cut"), "%s", err.message);
    o.long_records = "drop";
    CHECK(open_data(&o, t, &d, &err) == NIB_E_INVALID &&
              strstr(err.message, "records of QUESTION_ANS are cut"), "%s", err.message);
    f.data.class_weights = "balanced";
    CHECK(nib_finetune(test_ctx(), &f, &err) == NIB_E_INVALID &&
              strstr(err.message, "class_weights"), "%s", err.message);
    f = options_for(inside(test_tmpdir(), "refused"));
    f.train.label_smoothing_factor = 0.1;
    CHECK(nib_finetune(test_ctx(), &f, &err) == NIB_E_INVALID &&
              strstr(err.message, "label_smoothing_factor"), "%s", err.message);
    f = options_for(inside(test_tmpdir(), "refused"));
    f.train.metric_for_best_model = "accuracy";
    CHECK(nib_finetune(test_ctx(), &f, &err) == NIB_E_INVALID &&
              strstr(err.message, "take loss, exact_match or f1"), "%s", err.message);
    nib_tokenizer_close(t);
}

/* A bad question leaves nothing of itself behind. */
static void test_skip_bad(void)
{
    const char *file = inside(test_tmpdir(), "some.jsonl");
    nib_data_options o = data_of(file);
    FILE *to = fopen(file, "w");
    nib_tokenizer *t;
    nib_dataset *d;
    nib_error err;

    REQUIRE(to, "%s", file);
    fprintf(to, "%s\n%s\n%s\n",
            "{\"question\": \"a\", \"context\": \"the red one\", \"answers\": "
            "{\"text\": [\"red\"], \"answer_start\": [4]}}",
            "{\"question\": \"a\", \"context\": \"the red one\", \"answers\": "
            "{\"text\": [\"the\", \"no\"], \"answer_start\": [0, 5]}}",
            "{\"question\": \"a\", \"context\": \"the old one\", \"answers\": [{\"text\": \"old\", "
            "\"answer_start\": 4}]}");
    fclose(to);
    o.skip_bad = true;
    REQUIRE_OK(nib_tokenizer_open(test_ctx(), golden("base"), &t, &err), err);
    REQUIRE_OK(open_data(&o, t, &d, &err), err);
    CHECK(nib_dataset_questions(d)->count == 2 && nib_dataset_counts(d).bad == 1 &&
              nib_dataset_questions(d)->answer_count == 2 &&
              strcmp(nib_question_answer(nib_dataset_questions(d), 1, 0), "old") == 0,
          "%zu questions", nib_dataset_questions(d)->count);
    nib_dataset_close(d);
    nib_tokenizer_close(t);
}

int main(void)
{
    static const test_case cases[] = {
        { "measures", test_measures }, { "windows", test_windows }, { "hold_out", test_hold_out },
        { "lora", test_lora }, { "full", test_full }, { "head", test_head }, { "best", test_best },
        { "refusals", test_refusals }, { "skip_bad", test_skip_bad },
    };

    return test_main("questions", cases, NIB_COUNT(cases));
}
