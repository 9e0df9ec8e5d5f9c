/* test_dry_run.c - planning without weights: the recipes on the published config.json of their
 * models, with the numbers of parameters their users know; the plan of every small model with and
 * without its weights; a micro-batch that fits; nothing written, nothing taken when it does not
 * fit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/filemap.h"
#include "base/outfile.h"
#include "job/memory.h"
#include "nibble/nibble.h"
#include "test.h"

typedef struct seen { nib_run_report report; char advice[256]; int calls, progress; } seen;

static void keep_report(void *user, const nib_run_report *r)
{
    seen *s = user;

    s->report = *r;
    snprintf(s->advice, sizeof s->advice, "%s", r->advice);
    s->calls++;
}

static void keep_progress(void *user, const char *what, double share)
{
    (void)what, (void)share;
    ((seen *)user)->progress++;
}

static bool copy_file(nib_ctx *ctx, const char *from_dir, const char *name, const char *to_dir)
{
    char from[700], to[700], *bytes = NULL;
    size_t count;
    nib_error err;
    bool good;

    snprintf(from, sizeof from, "%s/%s", from_dir, name);
    snprintf(to, sizeof to, "%s/%s", to_dir, name);
    good = nib_file_read(ctx, from, 1 << 26, &bytes, &count, &err) == NIB_OK &&
           nib_outfile_replace(ctx, to, bytes, count, &err) == NIB_OK;
    nib_free(ctx, bytes);
    return good;
}

/* recipe NULL: the libraries' defaults.  settings: key, value, ..., NULL. */
static nib_status plan(nib_ctx *ctx, const char *recipe, const char *const *settings, seen *s,
                       nib_error *err)
{
    nib_recipe *r = NULL;
    const nib_finetune_options *o;
    nib_finetune_options run;
    nib_status status = nib_recipe_create(ctx, &r, err);

    *s = (seen){ 0 };
    if (!status && recipe) status = nib_recipe_load(r, recipe, err);
    if (!status && !recipe) status = nib_recipe_set(r, "defaults", "peft", err);
    for (; !status && *settings; settings += 2)
        status = nib_recipe_set(r, settings[0], settings[1], err);
    if (!status) status = nib_recipe_finetune_options(r, &o, err);
    if (!status) {
        run = *o;
        run.on_start = keep_report;
        run.on_progress = keep_progress;
        run.user = s;
        status = nib_finetune(ctx, &run, err);
    }
    nib_recipe_destroy(r);
    return status;
}

/* Numbers of parameters as PEFT's print_trainable_parameters shows them in the notebooks these
 * recipes come from (GPT-J: its 6,050,882,784 and LoRA's 3,670,016; GPT-NeoX-20B: 20,554,567,680
 * and 8,650,752; gpt-oss-20b: 20,914,757,184, its experts in MXFP4; BERT-base: 589,824 of
 * LoRA and 6,921 of the classifier; the others by hand). */
static void test_recipes(void)
{
    static const struct {
        const char *recipe, *config, *tokenizer, *data;
        const char *memory; /* less than the weights: no step is tried */
        uint64_t trainable, all, steps;
        uint64_t least, most; /* MiB of the plan */
    } cases[] = {
        { "gptj-quotes", "gpt-j-6b", "gpt2", "recipes/data/quotes.jsonl", "1GiB", 3670016,
          6054552800, 10, 3500, 3900 },
        { "falcon-faq", "falcon-7b", "falcon", "recipes/data/faq.jsonl", "1GiB", 4718592,
          6926439296, 80, 3900, 4300 },
        { "llama2-python", "llama-2-7b", "llama2", "recipes/data/python.jsonl", "1GiB", 33554432,
          6771970048, 2, 4000, 4600 },
        { "smollm2-chat", "smollm2-135m", "smollm", "recipes/data/chat.jsonl", "40MiB", 4884480,
          139399488, 12, 180, 420 },
        { "neox-quotes", "gpt-neox-20b", "gpt2", "recipes/data/quotes.jsonl", "1GiB", 8650752,
          20563218432, 10, 10200, 10900 },
        { "qwen3-chat", "qwen3-0.6b", "smollm", "recipes/data/chat.jsonl", "200MiB", 10092544,
          606142464, 12, 600, 900 },
        { "gemma3-sort", "gemma-3-270m", "llama2", "recipes/data/messages.jsonl", "200MiB",
          1898496, 269996672, 15, 540, 700 },
        { "gpt-oss-20b", "gpt-oss-20b", "smollm", "recipes/data/chat.jsonl", "1GiB", 7962624,
          20922719808, 12, 12100, 12600 },
        { "bert-classify", "bert-base-uncased", "../tokenizers/bert-uncased", "models/kinds.jsonl",
          "100MiB", 596745, 110085906, 250, 350, 480 },
        { "llama2-cycle", "llama-2-7b", "llama2", "recipes/data/python.jsonl", "1GiB", 39976960,
          6778392576, 2, 4000, 4600 },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        char recipe[600], data[600], model[600], source[600], tokenizer[600];
        const char *settings[] = {
            "model_name_or_path", model,           "data", data, "dry_run", "true",
            "max_memory",         cases[i].memory, NULL
        };
        const nib_run_report *p;
        uint64_t mib;
        seen s;
        nib_error err;

        snprintf(recipe, sizeof recipe, "recipes/%s.yaml", cases[i].recipe);
        snprintf(recipe, sizeof recipe, "%s", test_data(strcpy(source, recipe)));
        snprintf(data, sizeof data, "%s", test_data(cases[i].data));
        snprintf(model, sizeof model, "%s/%s", test_tmpdir(), cases[i].recipe);
        snprintf(source, sizeof source, "tests/golden/recipes/%s", cases[i].config);
        snprintf(source, sizeof source, "%s", test_data(strcpy(tokenizer, source)));
        REQUIRE(mkdir(model, 0777) == 0 && copy_file(ctx, source, "config.json", model) &&
                    copy_file(ctx, source, "tokenizer_config.json", model),
                "%s", model);
        snprintf(tokenizer, sizeof tokenizer, "tests/golden/text/%s", cases[i].tokenizer);
        REQUIRE(copy_file(ctx, test_data(strcpy(source, tokenizer)), "tokenizer.json", model), "%s",
                tokenizer);
        REQUIRE(copy_file(ctx, test_data("tests/golden/recipes"), "chat_template.jinja", model),
                "a chat template");

        REQUIRE_OK(plan(ctx, recipe, settings, &s, &err), err);
        p = &s.report;
        CHECK(s.calls == 1 && p->trainable_parameters == cases[i].trainable &&
                  p->all_parameters == cases[i].all,
              "%s: trainable %" PRIu64 ", all %" PRIu64, cases[i].recipe, p->trainable_parameters,
              p->all_parameters);
        CHECK(p->steps == cases[i].steps && p->weights_missing && !p->fits && p->seconds_total == 0,
              "%s: %" PRIu64 " steps", cases[i].recipe, p->steps);
        /* the program's own part depends on how it was built */
        mib = (p->plan.total - p->plan.baseline) >> 20;
        CHECK(mib >= cases[i].least && mib <= cases[i].most, "%s: %" PRIu64 " MiB", cases[i].recipe,
              mib);
        CHECK(p->per_device_train_batch_size * p->gradient_accumulation_steps ==
                  (i == 2 || i == 6 || i == 8 || i == 9 ? 8 : 4),
              "%s: records of a step", cases[i].recipe);
        CHECK(p->truncated == 0 && p->masked_out == 0 && p->records >= 14, "%s: its data",
              cases[i].recipe);
    }
}

static void test_demo(void)
{
    char recipe[600], model[600], data[600];
    const char *settings[] = { "model_name_or_path", model, "data", data, "dry_run", "true", NULL };
    seen s;
    nib_error err;

    snprintf(recipe, sizeof recipe, "%s", test_data("recipes/demo.yaml"));
    snprintf(model, sizeof model, "%s", test_data("models/pico"));
    snprintf(data, sizeof data, "%s", test_data("models/shop.jsonl"));
    REQUIRE_OK(plan(test_ctx(), recipe, settings, &s, &err), err);
    CHECK(s.report.fits && !s.report.weights_missing && s.report.seconds_total > 0 &&
              s.report.steps == 150,
          "%" PRIu64 " steps", s.report.steps);
    CHECK(s.report.seconds_per_epoch > 0 && s.report.all_parameters == 2917824, "%" PRIu64,
          s.report.all_parameters);
    CHECK(!nib_file_exists("out/demo"), "nothing is written");
}

/* Evaluations count, as often as there are some, and answers among them. */
static void test_evaluations(void)
{
    static const struct { const char *strategy, *steps, *metric; unsigned count; } cases[] = {
        { "no", "1", "loss", 0 },
        { "steps", "40", "loss", 3 },
        { "epoch", "1", "loss", 6 },
        { "steps", "40", "exact_match", 3 },
    };
    double losses = 0;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        char recipe[600], model[600], data[600];
        const char *settings[] = {
            "model_name_or_path", model, "data", data, "dry_run", "true", "eval_data", data,
            "eval_strategy", cases[i].strategy, "eval_steps", cases[i].steps, "save_strategy", "no",
            "metric_for_best_model", cases[i].metric, NULL };
        const nib_run_report *r;
        seen s;
        nib_error err;

        snprintf(recipe, sizeof recipe, "%s", test_data("recipes/demo.yaml"));
        snprintf(model, sizeof model, "%s", test_data("models/pico"));
        snprintf(data, sizeof data, "%s", test_data("models/shop.jsonl"));
        REQUIRE_OK(plan(test_ctx(), recipe, settings, &s, &err), err);
        r = &s.report;
        CHECK(r->evaluations == cases[i].count, "%s: %u evaluations", cases[i].strategy,
              (unsigned)r->evaluations);
        CHECK((r->seconds_per_evaluation > 0) == (cases[i].count > 0), "%s: %g s an evaluation",
              cases[i].strategy, r->seconds_per_evaluation);
        CHECK(fabs(r->seconds_total - r->seconds_per_step * (double)r->steps -
                   r->seconds_per_evaluation * (double)r->evaluations) <= 1e-9 * r->seconds_total,
              "%s: %g s in all", cases[i].strategy, r->seconds_total);
        if (i == 1) losses = r->seconds_per_evaluation;
        /* a token at a time: far more than all at once */
        CHECK(i != 3 || r->seconds_per_evaluation > 1.2 * losses, "%g s with answers, %g without",
              r->seconds_per_evaluation, losses);
    }
}

static const char records[] =
    "{\"input_ids\": [1, 5, 9, 33, 7, 100, 4]}\n{\"input_ids\": [3, 4, 5, 6, 7]}\n{\"input_ids\": "
    "[90, 80, 70, 60]}\n";

/* What the plan knows from config.json alone is what it knows from the weights, for each family;
 * and a step with random weights of each runs. */
static void test_blank_equals_real(void)
{
    static const char *const models[] = { "falcon-7b",
                                          "falcon-new-1norm",
                                          "falcon-new-2norms",
                                          "falcon-rw",
                                          "gptj",
                                          "llama",
                                          "llama-bias",
                                          "llama-gqa-tied",
                                          "llama-rope-linear",
                                          "llama-rope-llama3",
                                          "mistral-window",
                                          "qwen2",
                                          "qwen2-window" };
    static const char *const forms[][2] = { { "load_in_4bit", "false" },
                                            { "bnb_4bit_use_double_quant", "false" },
                                            { "bnb_4bit_use_double_quant", "true" } };
    nib_ctx *ctx = test_ctx();
    char data[600];
    nib_error err;

    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    REQUIRE_OK(nib_outfile_replace(ctx, data, records, sizeof records - 1, &err), err);
    for (size_t i = 0; i < NIB_COUNT(models) * NIB_COUNT(forms); i++) {
        const char *name = models[i / NIB_COUNT(forms)], *const *form = forms[i % NIB_COUNT(forms)];
        char real[600], blank[600], relative[200];
        const char *settings[] = {
            "model_name_or_path", real,      "data",  data,    "dry_run",        "true",
            "load_in_4bit",       "true",    form[0], form[1], "target_modules", "all-linear",
            "modules_to_save",    "lm_head", NULL
        };
        seen a, b;

        snprintf(relative, sizeof relative, "tests/golden/models/%s", name);
        snprintf(real, sizeof real, "%s", test_data(relative));
        snprintf(blank, sizeof blank, "%s/%s-%zu", test_tmpdir(), name, i);
        REQUIRE(mkdir(blank, 0777) == 0 && copy_file(ctx, real, "config.json", blank), "%s", blank);
        REQUIRE_OK(plan(ctx, NULL, settings, &a, &err), err);
        settings[1] = blank;
        REQUIRE_OK(plan(ctx, NULL, settings, &b, &err), err);
        CHECK(!a.report.weights_missing && b.report.weights_missing, "%s", name);
        CHECK(a.report.all_parameters == b.report.all_parameters &&
                  a.report.trainable_parameters == b.report.trainable_parameters,
              "%s: all %" PRIu64 " and %" PRIu64, name, a.report.all_parameters,
              b.report.all_parameters);
        CHECK(a.report.plan.weights == b.report.plan.weights &&
                  a.report.plan.activations == b.report.plan.activations &&
                  a.report.plan.scratch == b.report.plan.scratch,
              "%s, %s %s: weights %" PRIu64 " and %" PRIu64, name, form[0], form[1],
              a.report.plan.weights, b.report.plan.weights);
        CHECK(b.report.seconds_total > 0, "%s: no step was tried", name);
        settings[5] = "false";
        CHECK(plan(ctx, NULL, settings, &b, &err) != NIB_OK, "%s: trained without weights", name);
    }
}

/* Rows of words trained apart read the embedding where it lies, also once random weights stand
 * there. */
static void test_words(void)
{
    char data[600], real[600], blank[600];
    const char *settings[] = { "model_name_or_path", real, "data", data, "dry_run", "true",
                               "trainable_token_indices", "5,7", "target_modules", "all-linear",
                               NULL };
    nib_ctx *ctx = test_ctx();
    seen a, b;
    nib_error err;

    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(real, sizeof real, "%s", test_data("tests/golden/models/llama-gqa-tied"));
    snprintf(blank, sizeof blank, "%s/blank", test_tmpdir());
    REQUIRE_OK(nib_outfile_replace(ctx, data, records, sizeof records - 1, &err), err);
    REQUIRE(mkdir(blank, 0777) == 0 && copy_file(ctx, real, "config.json", blank), "%s", blank);
    REQUIRE_OK(plan(ctx, NULL, settings, &a, &err), err);
    settings[1] = blank;
    REQUIRE_OK(plan(ctx, NULL, settings, &b, &err), err);
    CHECK(b.report.weights_missing && b.report.seconds_total > 0, "no step was tried");
    CHECK(a.report.trainable_parameters == b.report.trainable_parameters &&
              a.report.plan.weights == b.report.plan.weights, "weights %" PRIu64 " and %" PRIu64,
          a.report.plan.weights, b.report.plan.weights);
}

/* Between the memory of eight records at a time and of one: a smaller micro-batch, the same
 * step. */
static void test_micro_batch(void)
{
    char data[600], model[600], memory[40], out[600], *lines, path[700], *recipe = NULL;
    const char *settings[] = { "model_name_or_path",
                               model,
                               "data",
                               data,
                               "dry_run",
                               "true",
                               "per_device_train_batch_size",
                               "8",
                               "max_steps",
                               "2",
                               "gradient_checkpointing",
                               "true",
                               "max_memory",
                               "100GiB",
                               "output_dir",
                               out,
                               NULL };
    nib_ctx *ctx = test_ctx();
    uint64_t eight, one;
    seen s;
    nib_error err;
    size_t used = 0, count;
    nib_status status;

    snprintf(model, sizeof model, "%s", test_data("tests/golden/models/llama"));
    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    lines = malloc(1 << 18);
    REQUIRE(lines, "memory");
    for (int i = 0; i < 16; i++) {
        used += (size_t)sprintf(lines + used, "{\"input_ids\": [%d", i + 1);
        for (int t = 1; t < 1000; t++)
            used += (size_t)sprintf(lines + used, ", %d", (t * 7 + i) % 120 + 1);
        used += (size_t)sprintf(lines + used, "]}\n");
    }
    status = nib_outfile_replace(ctx, data, lines, used, &err);
    free(lines);
    REQUIRE(status == NIB_OK, "%s", err.message);

    REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
    eight = s.report.plan.total - s.report.plan.baseline;
    settings[7] = "1";
    REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
    one = s.report.plan.total - s.report.plan.baseline;
    REQUIRE(eight > one + (4 << 20), "plans of %" PRIu64 " and %" PRIu64 " bytes", eight, one);
    snprintf(memory, sizeof memory, "%" PRIu64, nib_memory_resident() + one + (eight - one) / 2);
    settings[13] = memory;

    settings[7] = "8"; /* as asked: proposed, not taken */
    REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
    CHECK(!s.report.fits && s.report.per_device_train_batch_size == 8 &&
              strstr(s.advice, "gradient_accumulation_steps"),
          "%s", s.advice);
    settings[5] = "false";
    CHECK(plan(ctx, NULL, settings, &s, &err) == NIB_E_NOMEM && strstr(err.message, "would fit"),
          "%s", err.message);

    settings[7] = "auto"; /* taken, and written down */
    REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
    CHECK(s.report.fits && s.report.per_device_train_batch_size < 8 &&
              s.report.per_device_train_batch_size > 1 &&
              s.report.per_device_train_batch_size * s.report.gradient_accumulation_steps == 8,
          "%d x %d", s.report.per_device_train_batch_size, s.report.gradient_accumulation_steps);
    snprintf(path, sizeof path, "%s/recipe.yaml", out);
    REQUIRE_OK(nib_file_read(ctx, path, 1 << 16, &recipe, &count, &err), err);
    snprintf(path, sizeof path, "per_device_train_batch_size: %d\n",
             s.report.per_device_train_batch_size);
    CHECK(strstr(recipe, path), "%s", recipe);
    nib_free(ctx, recipe);
}

/* What cannot fit is refused before a matrix is quantized. */
static void test_refused_before_quantizing(void)
{
    char data[600], model[600], out[600];
    const char *settings[] = { "model_name_or_path",
                               model,
                               "data",
                               data,
                               "load_in_4bit",
                               "true",
                               "output_dir",
                               out,
                               "max_steps",
                               "1",
                               "max_memory",
                               "1MiB",
                               NULL };
    nib_ctx *ctx = test_ctx();
    seen s;
    nib_error err;

    snprintf(model, sizeof model, "%s", test_data("tests/golden/models/llama"));
    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    REQUIRE_OK(nib_outfile_replace(ctx, data, records, sizeof records - 1, &err), err);
    CHECK(plan(ctx, NULL, settings, &s, &err) == NIB_E_NOMEM && s.progress == 0, "%s, progress %d",
          err.message, s.progress);
    settings[11] = "100GiB";
    REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
    CHECK(s.progress > 0, "progress %d", s.progress);
}

/* A limit that refuses the states in memory takes them in a file; 8-bit ones count what they
 * are. */
static void test_paged(void)
{
    static const char *const optims[] = { "adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit",
                                          "paged_adamw_8bit" };
    char data[600], model[600], memory[40], out[600];
    const char *settings[] = { "model_name_or_path",
                               model,
                               "data",
                               data,
                               "dry_run",
                               "true",
                               "optim",
                               "",
                               "max_steps",
                               "1",
                               "r",
                               "1500",
                               "target_modules",
                               "all-linear",
                               "per_device_train_batch_size",
                               "1",
                               "max_memory",
                               "100GiB",
                               "output_dir",
                               out,
                               NULL };
    nib_ctx *ctx = test_ctx();
    nib_memory_plan p[NIB_COUNT(optims)];
    uint64_t elements;
    seen s = { 0 };
    nib_error err;

    test_on_disk();
    snprintf(model, sizeof model, "%s", test_data("tests/golden/models/llama"));
    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    REQUIRE_OK(nib_outfile_replace(ctx, data, records, sizeof records - 1, &err), err);
    for (size_t i = 0; i < NIB_COUNT(optims); i++) {
        settings[7] = optims[i];
        REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
        p[i] = s.report.plan;
        CHECK(p[i].total == p[i].weights + p[i].adapters + p[i].optimizer + p[i].activations +
                                p[i].scratch + p[i].baseline,
              "%s: the total", optims[i]);
    }
    CHECK(!nib_file_exists(out), "a dry run wrote something");
    elements = s.report.trainable_parameters;
    CHECK(p[0].optimizer >= 8 * elements && p[0].optimizer < 8 * elements + 65536 &&
              p[0].paged == 0,
          "32 bits: %" PRIu64, p[0].optimizer);
    CHECK(p[1].optimizer > 2 * elements &&
              p[1].optimizer < 2 * elements + 8 * elements / 256 + (1 << 18),
          "8 bits: %" PRIu64, p[1].optimizer);
    CHECK(p[2].optimizer + p[2].paged == p[0].optimizer && p[2].optimizer < 65536,
          "paged: %" PRIu64, p[2].optimizer);
    CHECK(p[3].optimizer + p[3].paged == p[1].optimizer && p[3].optimizer < 1 << 18,
          "paged 8 bits: %" PRIu64, p[3].optimizer);

#ifdef TEST_ADDRESS_SANITIZER
    return; /* no limit of memory can be met */
#endif
    settings[5] = "false";
    snprintf(memory, sizeof memory, "%" PRIu64,
             nib_memory_resident() + p[0].total - p[0].baseline - p[0].optimizer / 2);
    settings[17] = memory;
    settings[7] = "adamw_torch";
    CHECK(plan(ctx, NULL, settings, &s, &err) == NIB_E_NOMEM &&
              strstr(err.message, "optim paged_adamw_32bit would fit"),
          "%s", err.message);
    settings[7] = "paged_adamw_32bit";
    REQUIRE_OK(plan(ctx, NULL, settings, &s, &err), err);
    CHECK(s.report.fits, "does not fit");
}

int main(void)
{
    static const test_case cases[] = { { "recipes", test_recipes },
                                       { "demo", test_demo },
        { "evaluations count", test_evaluations },
                                       { "blank_equals_real", test_blank_equals_real },
                                       { "micro_batch", test_micro_batch },
                                       { "paged", test_paged },
                                       { "refused_before_quantizing",
                                         test_refused_before_quantizing },
                                       { "words trained apart", test_words } };
    return test_main("dry_run", cases, NIB_COUNT(cases));
}
