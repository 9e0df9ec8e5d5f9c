/* test_settings.c - settings as the Trainer takes them: numbers of steps as floats and fractions,
 * packing, records to evaluate on without a strategy; booleans as Python has them;
 * what is given twice. */
#include <string.h>
#include <sys/stat.h>

#include "job/finetune_job.h"
#include "nibble/recipe.h"
#include "program.h"
#include "test.h"

/* The options of "key=value" pairs, or NULL with the message. */
static const nib_finetune_options *options(nib_recipe **r, const char *const *pairs, nib_error *err)
{
    const nib_finetune_options *o = NULL;
    nib_status status = nib_recipe_create(test_ctx(), r, err);

    for (; !status && *pairs; pairs++) {
        char key[100];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(*pairs, "="), *pairs);
        status = nib_recipe_set(*r, key, strchr(*pairs, '=') + 1, err);
    }
    if (!status) status = nib_recipe_finetune_options(*r, &o, err);
    return status ? NULL : o;
}

#define OPTIONS(r, err, ...) options(r, (const char *const[]){ __VA_ARGS__, NULL }, err)

static void test_steps(void)
{
    nib_recipe *r = NULL;
    nib_error err = { .message = "" };
    const nib_finetune_options *o = OPTIONS(&r, &err, "save_steps=0.25", "eval_steps=500.0",
                                            "warmup_steps=0.03");
    nib_train_options t;

    REQUIRE(o, "%s", err.message);
    t = o->train;
    CHECK(t.save_steps_ratio == 0.25 && t.eval_steps == 500 && t.eval_steps_ratio == 0 &&
          t.warmup_steps == 0 && t.warmup_ratio == 0.03);
    /* transformers 4.57.6, TrainerState.compute_steps: ceil(max_steps * steps) */
    nib_finetune_settle_steps(&t, 10);
    CHECK(t.save_steps == 3 && t.save_steps_ratio == 0, "%d", t.save_steps);
    CHECK(t.logging_steps == 1 && t.eval_steps == 500);
    nib_recipe_destroy(r);
    /* warmup_steps 0 leaves warmup_ratio, more wins over it; the later of two numbers counts */
    o = OPTIONS(&r, &err, "warmup_ratio=0.1", "warmup_steps=0", "save_steps=0.5", "save_steps=0",
                "logging_steps=0.2", "logging_steps=4");
    REQUIRE(o, "%s", err.message);
    CHECK(o->train.warmup_ratio == 0.1 && o->train.save_steps == 0 &&
          o->train.save_steps_ratio == 0 &&
          o->train.logging_steps == 4 && o->train.logging_steps_ratio == 0);
    nib_recipe_destroy(r);
    CHECK(!OPTIONS(&r, &err, "save_steps=2.5") &&
          strstr(err.message, "'2.5' is not a number of steps"), "%s", err.message);
    nib_recipe_destroy(r);
    CHECK(!OPTIONS(&r, &err, "logging_steps=-1"), "negative");
    nib_recipe_destroy(r);
}

static void test_packing(void)
{
    nib_recipe *r = NULL;
    nib_error err = { .message = "" };
    const nib_finetune_options *o = OPTIONS(&r, &err, "packing=True", "max_seq_length=300");

    CHECK(o && o->train.tokens_per_batch == 300, "%s", err.message);
    nib_recipe_destroy(r);
    o = OPTIONS(&r, &err, "packing=true", "tokens_per_batch=700");
    CHECK(o && o->train.tokens_per_batch == 700, "what is given wins: %s", err.message);
    nib_recipe_destroy(r);
    o = OPTIONS(&r, &err, "packing=false");
    CHECK(o && o->train.tokens_per_batch == 0, "%s", err.message);
    nib_recipe_destroy(r);
}

static void test_evaluation(void)
{
    nib_recipe *r = NULL;
    nib_error err = { .message = "" };
    const nib_finetune_options *o = OPTIONS(&r, &err, "eval_data=x.jsonl");

    CHECK(o && strcmp(o->train.eval_strategy, "epoch") == 0, "data alone is evaluated on");
    nib_recipe_destroy(r);
    o = OPTIONS(&r, &err, "val_size=0.1", "eval_strategy=no");
    CHECK(o && strcmp(o->train.eval_strategy, "no") == 0, "what is given wins");
    nib_recipe_destroy(r);
    o = OPTIONS(&r, &err, "seed=1");
    CHECK(o && strcmp(o->train.eval_strategy, "no") == 0, "no data, no evaluation");
    nib_recipe_destroy(r);
}

static void test_command_line(void)
{
    const char *model = test_data("models/pico"), *data = test_data("models/shop.jsonl");
    program_end end;

    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--dry-run", "True",
                   "--bf16=True", "--save-steps", "0.25", "--verbose"));
    CHECK(end.exit_code == 0 && strstr(end.said, "compute_dtype bfloat16"), "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--dry-run", "--bf16", "FALSE"));
    CHECK(end.exit_code == 0, "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--bf16=maybe"));
    CHECK(end.exit_code == 2 && strstr(end.said, "--bf16: expected true or false, got 'maybe'"),
          "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--seed", "1", "--seed", "2"));
    CHECK(end.exit_code == 2 && strstr(end.said, "--seed is given twice"), "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--dry-run",
                   "--target-modules", "q_proj", "--target-modules", "v_proj", "--verbose"));
    CHECK(end.exit_code == 0 && strstr(end.said, "\"v_proj\"") && strstr(end.said, "\"q_proj\""),
          "%s", end.said);
    REQUIRE(NIBBLE(&end, "evaluate", model, "--data", data, "--adapter", "a", "--adapter", "b"));
    CHECK(end.exit_code == 2 && strstr(end.said, "--adapter is given twice, 'a' and 'b'"),
          "%s", end.said);
}

static bool put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (f) fputs(text, f);
    return f && !fclose(f);
}

/* A folder of several data sets to evaluate on has a choice of its own. */
static void test_eval_config(void)
{
    static const char readme[] = "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n"
                                 "- config_name: b\n  data_files: b.jsonl\n---\n";
    static const char record[] = "{\"prompt\": \"a:\", \"completion\": \" b\"}\n";
    const char *model = test_data("models/pico"), *data = test_data("models/shop.jsonl");
    char dir[500], path[600];
    program_end end;

    snprintf(dir, sizeof dir, "%s/sets", test_tmpdir());
    REQUIRE(mkdir(dir, 0777) == 0);
    snprintf(path, sizeof path, "%s/README.md", dir);
    REQUIRE(put(path, readme));
    snprintf(path, sizeof path, "%s/a.jsonl", dir);
    REQUIRE(put(path, record));
    snprintf(path, sizeof path, "%s/b.jsonl", dir);
    REQUIRE(put(path, record));
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--eval-data", dir, "--dry-run"));
    CHECK(end.exit_code == 1 && strstr(end.said, "eval_data (with eval_dataset_config and "
                                                 "eval_split): ") &&
          strstr(end.said, "holds 2 data sets: a, b"), "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--eval-data", dir, "--dry-run",
                   "--eval-dataset-config", "b"));
    CHECK(end.exit_code == 0 && strstr(end.said, "config b, "), "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", dir, "--eval-data", data, "--dry-run",
                   "--dataset-config", "a"));
    CHECK(end.exit_code == 0, "a file to evaluate on takes no config: %s", end.said);
}

/* A warning: a line, a block, an object, and with --strict an error before anything is written. */
static void test_warnings(void)
{
    char data[700], out[600];
    const char *model = test_data("models/pico");
    program_end end;
    FILE *f;

    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    f = fopen(data, "w");
    REQUIRE(f);
    fputs("{\"prompt\": \"a:\", \"completion\": \" b\", \"id\": 1}\n", f);
    fclose(f);
    REQUIRE(NIBBLE(&end, "preview", model, "--data", data));
    CHECK(end.exit_code == 0 && strstr(end.said, "warning: ") &&
          strstr(end.said, "1 thing to look at:\n  - "), "%s", end.said);
    REQUIRE(NIBBLE(&end, "preview", model, "--data", data, "--json"));
    CHECK(end.exit_code == 0 &&
          strstr(end.out, "\n{\"warnings\": [{\"code\": \"unused-fields\", \"text\": \""),
          "%s", end.out);
    REQUIRE(NIBBLE(&end, "evaluate", model, "--data", data, "--json"));
    CHECK(end.exit_code == 0 && strstr(end.out, ", \"warnings\": [{\"code\": \"unused-fields\""),
          "%s", end.out);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--output-dir", out, "--strict"));
    CHECK(end.exit_code == 1 && strstr(end.said, "nibble: strict: 1 warning; the first: "),
          "%s", end.said);
    snprintf(data, sizeof data, "%s/adapter_config.json", out);
    f = fopen(data, "r");
    CHECK(!f, "nothing is trained");
    if (f) fclose(f);
}

int main(void)
{
    static const test_case cases[] = {
        { "steps", test_steps },           { "packing", test_packing },
        { "evaluation", test_evaluation }, { "command_line", test_command_line },
        { "warnings", test_warnings },     { "eval_config", test_eval_config },
    };
    return test_main("test_settings", cases, NIB_COUNT(cases));
}
