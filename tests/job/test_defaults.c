/* test_defaults.c - the two sets of values for what finetune is not given: which value each gives
 * for each kind of run, that given ones stand, and that a run writes down what it used. */
#include <math.h>

#include "job/finetune_job.h"
#include "nibble/recipe.h"
#include "program.h"
#include "test.h"

static nib_finetune_options settled(nib_task task, const char *set)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    o.defaults = set;
    nib_finetune_settle_defaults(&o, task);
    return o;
}

static void test_sets(void)
{
    nib_finetune_options ours = settled(NIB_TASK_CAUSAL_LM, NULL),
                         peft = settled(NIB_TASK_CAUSAL_LM, "peft"),
                         classes = settled(NIB_TASK_SEQ_CLS, NULL),
                         texts = settled(NIB_TASK_FEATURE_EXTRACTION, "nibble");

    CHECK(ours.lora.r == 16 && ours.lora.lora_alpha == 32 && ours.lora.target_modules.all_linear);
    CHECK(!strcmp(ours.train.lr_scheduler_type, "cosine") && ours.train.warmup_ratio == 0.05 &&
          ours.train.warmup_steps == 0 && ours.train.per_device_train_batch_size == 4 &&
          ours.train.save_total_limit == 2);
    CHECK(ours.data.max_seq_length == NIB_OPEN && !strcmp(ours.data.long_records, "drop") &&
          isnan(ours.train.learning_rate), "the data and the model tell");
    CHECK(nib_teaching_rate(2755008) == 5e-3 && nib_teaching_rate(134515008) == 2e-3 &&
          nib_teaching_rate(999999999) == 1e-3 && nib_teaching_rate(7000000000) == 2e-4);
    /* LoraConfig's and TrainingArguments' (tests/golden/recipes/fields.txt names them) */
    CHECK(peft.lora.r == 8 && peft.lora.lora_alpha == 8 && !peft.lora.target_modules.all_linear &&
          !peft.lora.target_modules.count);
    CHECK(!strcmp(peft.train.lr_scheduler_type, "linear") && peft.train.warmup_ratio == 0 &&
          peft.train.per_device_train_batch_size == 8 && peft.train.save_total_limit == 0 &&
          peft.train.learning_rate == 2e-4);
    CHECK(peft.data.max_seq_length == 1024 && !strcmp(peft.data.long_records, "cut"));
    CHECK(classes.lora.r == 8 && classes.train.learning_rate == 1e-3 &&
          classes.data.max_seq_length == 1024 && !strcmp(classes.data.long_records, "cut") &&
          !strcmp(classes.train.lr_scheduler_type, "linear") && classes.train.save_total_limit == 2,
          "a classifier has the libraries'");
    CHECK(texts.train.per_device_train_batch_size == 64);
}

static void test_given_values_stand(void)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    o.lora.r = 4;
    o.train.warmup_steps = 0;
    o.train.lr_scheduler_type = "linear";
    o.data.max_seq_length = 64;
    nib_finetune_settle_defaults(&o, NIB_TASK_CAUSAL_LM);
    CHECK(o.lora.r == 4 && o.lora.lora_alpha == 8, "alpha is twice the rank, %g",
          o.lora.lora_alpha);
    CHECK(o.train.warmup_ratio == 0, "no steps of warm-up were asked for");
    CHECK(!strcmp(o.train.lr_scheduler_type, "linear") && o.data.max_seq_length == 64);

    nib_finetune_defaults(&o);
    o.train.lr_scheduler_type = "reduce_lr_on_plateau";
    o.lora.layers_to_transform_count = 1;
    nib_finetune_settle_defaults(&o, NIB_TASK_CAUSAL_LM);
    CHECK(o.train.warmup_ratio == 0, "a schedule without one");
    CHECK(!o.lora.target_modules.all_linear, "layers go with a list of names");

    nib_finetune_defaults(&o);
    o.adapter = "A";
    nib_finetune_settle_defaults(&o, NIB_TASK_CAUSAL_LM);
    CHECK(o.lora.r == 8 && o.lora.lora_alpha == 8 && !o.lora.target_modules.all_linear,
          "an adapter that is trained further has its own");

    nib_finetune_defaults(&o);
    o.full = true;
    nib_finetune_settle_defaults(&o, NIB_TASK_CAUSAL_LM);
    CHECK(o.train.learning_rate == 2e-5 && !strcmp(o.train.lr_scheduler_type, "linear"));
}

/* In a recipe the order of lines does not matter, and null is the set's value. */
static void test_recipe(void)
{
    const nib_finetune_options *o;
    nib_recipe *r = NULL;
    nib_error err;

    REQUIRE_OK(nib_recipe_create(test_ctx(), &r, &err), err);
    REQUIRE_OK(nib_recipe_set(r, "lora_alpha", "3", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "defaults", "peft", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "r", "null", &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(o->lora.r == 8 && o->lora.lora_alpha == 3 && o->data.max_seq_length == 1024);
    /* read again it means the same: what it leaves open has this set's values */
    CHECK(strstr(nib_recipe_resolved(r), "\ndefaults: \"peft\"\n"), "%s", nib_recipe_resolved(r));
    nib_recipe_destroy(r);
    REQUIRE_OK(nib_recipe_create(test_ctx(), &r, &err), err);
    CHECK(nib_recipe_set(r, "defaults", "trl", &err) == NIB_E_INVALID &&
          strstr(err.message, "nibble"), "%s", err.message);
    CHECK(nib_recipe_set(r, "r", "-2147483648", &err) == NIB_E_INVALID, "no number is 'open'");
    nib_recipe_destroy(r);
}

/* Has the run's recipe a line that begins so? */
static bool holds(const char *dir, const char *line)
{
    char path[700], text[256];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof path, "%s/recipe.yaml", dir);
    f = fopen(path, "r");
    while (f && !found && fgets(text, sizeof text, f))
        found = strncmp(text, line, strlen(line)) == 0;
    if (f) fclose(f);
    CHECK(found, "%s: no line '%s'", path, line);
    return found;
}

/* The run writes down what it took, and the same command resumes it. */
static void test_run(void)
{
    const char *data = test_data("models/shop-test.jsonl"), *model = test_data("models/pico");
    static const char *const taken[] = { "r: 16\n", "lora_alpha: 32\n", "learning_rate: 0.005\n",
                                         "lr_scheduler_type: \"cosine\"\n", "warmup_ratio: 0.05\n",
                                         "per_device_train_batch_size: 4\n",
                                         "long_records: \"drop\"\n", "max_seq_length: " };
    char ours[600], peft[600];
    program_end e;

    snprintf(ours, sizeof ours, "%s/ours", test_tmpdir());
    snprintf(peft, sizeof peft, "%s/peft", test_tmpdir());
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--output-dir", ours, "--max-steps",
                   "2"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    CHECK(strstr(e.said, "nibble's defaults") && strstr(e.said, "2 steps are few") &&
          strstr(e.said, "--val-size 0.1"), "%s", e.said);
    for (size_t i = 0; i < NIB_COUNT(taken); i++) holds(ours, taken[i]);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--output-dir", peft, "--max-steps", "2",
                   "--defaults", "peft"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    CHECK(strstr(e.said, "the libraries' defaults") && !strstr(e.said, "--val-size 0.1"), "%s",
          e.said);
    holds(peft, "defaults: \"peft\"\n");
    holds(peft, "r: 8\n");
    holds(peft, "lr_scheduler_type: \"linear\"\n");
    holds(peft, "max_seq_length: 1024\n");
}

static const char *write_data(const char *name, size_t longer)
{
    static char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    f = fopen(path, "w");
    if (!f) return path;
    for (size_t i = 0; i < 40; i++) {
        fprintf(f, "{\"prompt\": \"Question %zu:\", \"completion\": \" yes", i);
        for (size_t k = 0; i < longer && k < 700; k++) fputs(" and more", f);
        fputs("\"}\n", f);
    }
    fclose(f);
    return path;
}

/* pico has 512 positions.  Two records of forty are 5 %, three are more. */
static void test_long_records(void)
{
    const char *model = test_data("models/pico"), *data = write_data("two.jsonl", 2);
    program_end e;

    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run"));
    CHECK(e.exit_code == 0 && strstr(e.said, "2 of 40 records (5.0 %) are longer than the model "
                                             "allows, 512 tokens") &&
              strstr(e.said, "they are left out"), "%d %s", e.exit_code, e.said);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run", "--max-seq-length", "512",
                   "--long-records", "cut"));
    CHECK(e.exit_code == 0 && !strstr(e.said, "left out (long_records"), "%s", e.said);
    data = write_data("three.jsonl", 3);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run"));
    CHECK(e.exit_code == 1 && strstr(e.said, "3 of 40 records (7.5 %)") &&
              strstr(e.said, "long_records cut"), "%d %s", e.exit_code, e.said);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run", "--max-seq-length", "100"));
    CHECK(e.exit_code == 1 && strstr(e.said, "raise max_seq_length"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run", "--max-seq-length", "4"));
    CHECK(e.exit_code == 1 && strstr(e.said, "40 longer than that") &&
              strstr(e.said, "raise max_seq_length"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run", "--skip-bad"));
    CHECK(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "finetune", test_data("models/sorter"), "--data",
                   test_data("models/kinds.jsonl"), "--task-type", "SEQ_CLS", "--dry-run",
                   "--long-records", "drop"));
    CHECK(e.exit_code == 1 && strstr(e.said, "records of SEQ_CLS are cut"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "preview", model, "--data", write_data("two.jsonl", 2)));
    CHECK(e.exit_code == 0 && strstr(e.out, "longer, left out: 2"), "%s", e.out);
    /* trained whole it has the libraries' values: 1024, cut; the model's positions are no limit */
    REQUIRE(NIBBLE(&e, "preview", model, "--data", write_data("two.jsonl", 2), "--full"));
    CHECK(e.exit_code == 0 && strstr(e.out, "truncated: 2, to 1024 tokens"), "%s", e.out);
}

int main(void)
{
    static const test_case cases[] = {
        { "sets", test_sets },
        { "given-values-stand", test_given_values_stand },
        { "recipe", test_recipe },
        { "run", test_run },
        { "long-records", test_long_records },
    };
    return test_main("test_defaults", cases, NIB_COUNT(cases));
}
