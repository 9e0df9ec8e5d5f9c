/* test_length.c - max_seq_length where nobody gives one and the longest record does not fit in
 * memory: the most that fits, the others left out and counted, the same again after a kill. */
#include "run_support.h"

enum { RECORDS = 40, LONG = 400 };

/* Short records, and one (or `many`) that are long. */
static const char *records(const char *name, int many)
{
    const char *path = run_path(name);
    FILE *f = fopen(path, "w");

    for (int i = 0; f && i < RECORDS; i++) {
        int n = i < many ? LONG - i : 12 + i % 5;
        fputs("{\"input_ids\": [", f);
        for (int k = 0; k < n; k++) fprintf(f, "%s%d", k ? ", " : "", 3 + (i * 7 + k) % 90);
        fputs("]}\n", f);
    }
    if (f) fclose(f);
    return path;
}

static nib_finetune_options length_options(const char *out, const char *data)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    o.model.model = test_data("models/pico");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.data.data = data;
    o.output_dir = run_path(out);
    o.train.max_steps = 6;
    o.train.save_steps = 2;
    o.train.per_device_train_batch_size = 1;
    o.train.gradient_checkpointing = 0; /* so that the length is most of it */
    return o;
}

static nib_run_report seen;
static void keep(void *user, const nib_run_report *r)
{
    (void)user;
    seen = *r;
}

/* What the plan takes for so many long records beside the program. */
static uint64_t needed(int many)
{
    nib_finetune_options o = length_options("plan", records("plan.jsonl", many));
    nib_error err;

    o.dry_run = true;
    o.on_start = keep;
    o.train.per_device_train_batch_size = 1;
    CHECK(run_here(&o, 1, &err) == NIB_OK, "%s", err.message);
    return seen.plan.total - seen.plan.baseline;
}

/* Memory between what short records take and what some long ones do, of this process as it is. */
static uint64_t between(int many)
{
    uint64_t all = needed(many), less = needed(0); /* the process grows by the first */

    CHECK(all > less + (4 << 20), "%" PRIu64 " and %" PRIu64 " bytes", all, less);
    return seen.plan.baseline + less + (all - less) / 2;
}

/* The greatest length whose plan fits, not one token less. */
static void test_shrinks(void)
{
    nib_finetune_options o = length_options("out", records("long.jsonl", 2)), given;
    uint64_t memory;
    nib_error err;
    int length;

    o.on_start = keep;
    o.dry_run = true;
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(seen.max_seq_length == LONG && seen.too_long == 0 && !seen.length_by_memory, "%d",
          seen.max_seq_length);
    o.dry_run = false;
    memory = between(2);
    o.output_dir = run_path("less");
    o.train.max_memory = memory;
    REQUIRE_OK(run_here(&o, 1, &err), err);
    length = seen.max_seq_length;
    CHECK(length > 17 && length < LONG - 1 && seen.length_by_memory && seen.too_long == 2 &&
              seen.records == RECORDS - 2 && seen.fits,
          "max_seq_length %d, %d left out, %d kept", length, (int)seen.too_long,
          (int)seen.records);

    /* the recipe has it as a number, which gives the same run */
    given = length_options("given", o.data.data);
    given.data.max_seq_length = length;
    REQUIRE_OK(run_here(&given, 1, &err), err);
    CHECK(run_same(o.output_dir, given.output_dir, "adapter_model.safetensors"), "other bytes");
    given = o;
    given.data.max_seq_length = LONG;
    given.output_dir = run_path("asked");
    CHECK(run_here(&given, 1, &err) == NIB_E_NOMEM, "what was asked for is changed");
}

/* A run that is killed and finds more or less memory afterwards keeps its records. */
static void test_resumes(void)
{
    nib_finetune_options whole = length_options("whole", records("long.jsonl", 2)), o;
    uint64_t memory = between(2);
    nib_error err;

    whole.eval_data = whole.data.data;
    whole.train.eval_strategy = "steps";
    whole.train.eval_steps = 2;
    whole.train.per_device_eval_batch_size = 1;
    whole.train.load_best_model_at_end = true;
    o = whole;
    o.output_dir = run_path("killed");
    whole.train.max_memory = o.train.max_memory = memory;
    whole.on_start = keep;
    REQUIRE_OK(run_here(&whole, 1, &err), err);
    REQUIRE(seen.length_by_memory && seen.eval_records == RECORDS - 2, "%d",
            (int)seen.eval_records);
    REQUIRE(WIFSIGNALED(run_killed(o, 3, 1)));
    o.train.max_memory = 0;
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "other bytes");
}

static void test_too_many(void)
{
    nib_finetune_options o = length_options("out", records("long.jsonl", 10));
    uint64_t memory = between(10);
    nib_error err;

    o.train.max_memory = memory;
    CHECK(run_here(&o, 1, &err) == NIB_E_INVALID && strstr(err.message, "max_seq_length: ") &&
              strstr(err.message, " and 10 of 40 are longer") &&
              strstr(err.message, "long_records cut"),
          "%s", err.message);
    o.data.long_records = "cut";
    o.on_start = keep;
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(seen.truncated == 10 && seen.records == RECORDS && seen.length_by_memory, "%d cut",
          (int)seen.truncated);
    o = length_options("skipped", o.data.data);
    o.data.skip_bad = true;
    o.train.max_memory = memory;
    o.on_start = keep;
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(seen.too_long == 10);
    o = length_options("none", o.data.data);
    o.train.max_memory = 1 << 20; /* not even the program */
    CHECK(run_here(&o, 1, &err) == NIB_E_NOMEM && strstr(err.message, "the plan needs"), "%s",
          err.message);
}

int main(void)
{
    static const test_case cases[] = {
        { "shrinks", test_shrinks },
        { "resumes", test_resumes },
        { "too many", test_too_many },
    };
    return test_main("length", cases, NIB_COUNT(cases));
}
