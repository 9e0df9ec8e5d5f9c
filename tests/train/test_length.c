/* test_length.c - max_seq_length where nobody gives one and the longest record does not fit in
 * memory: the most that fits, the others left out and counted, the same again after a kill. */
#include <sys/mman.h>

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

/* What a run reports at its start and how it ends, from a process of its own: of all of them the
 * program takes the same memory, which the limits below are beside. */
static struct outcome {
    nib_run_report seen;
    nib_status status;
    char message[sizeof ((nib_error *)0)->message];
} *last;

static void keep(void *user, const nib_run_report *r)
{
    (void)user;
    last->seen = *r;
}

static nib_status run_apart(nib_finetune_options o)
{
    pid_t child;

    if (!last)
        last = mmap(NULL, sizeof *last, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (last == MAP_FAILED) abort();
    *last = (struct outcome){ .status = NIB_E_IO };
    o.on_start = keep;
    child = fork();
    if (child == 0) {
        nib_ctx *ctx;
        nib_error err = { 0 };
        if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) _exit(99);
        last->status = nib_finetune(ctx, &o, &err);
        snprintf(last->message, sizeof last->message, "%s", last->status ? err.message : "");
        _exit(0);
    }
    if (child > 0) waitpid(child, NULL, 0);
    return last->status;
}

#define RUN(o) REQUIRE(run_apart(o) == NIB_OK, "%s", last->message)

/* What the plan takes for so many long records. */
static uint64_t needed(int many)
{
    nib_finetune_options o = length_options("plan", records("plan.jsonl", many));

    o.dry_run = true;
    o.train.per_device_train_batch_size = 1;
    CHECK(run_apart(o) == NIB_OK, "%s", last->message);
    return last->seen.plan.total;
}

/* Memory between what short records take and what some long ones do. */
static uint64_t between(int many)
{
    uint64_t all = needed(many), less = needed(0);

    CHECK(all > less + (4 << 20), "%" PRIu64 " and %" PRIu64 " bytes", all, less);
    return less + (all - less) / 2;
}

static void test_shrinks(void)
{
    nib_finetune_options o = length_options("out", records("long.jsonl", 2)), given;
    const nib_run_report *seen;
    int length;

    o.dry_run = true;
    RUN(o);
    seen = &last->seen;
    CHECK(seen->max_seq_length == LONG && seen->too_long == 0 && !seen->length_by_memory, "%d",
          seen->max_seq_length);
    o.dry_run = false;
    o.output_dir = run_path("less");
    o.train.max_memory = between(2);
    RUN(o);
    length = seen->max_seq_length;
    CHECK(length > 17 && length < LONG - 1 && seen->length_by_memory && seen->too_long == 2 &&
              seen->records == RECORDS - 2 && seen->fits,
          "max_seq_length %d, %d left out, %d kept", length, (int)seen->too_long,
          (int)seen->records);

    /* the recipe has it as a number, which gives the same run */
    given = length_options("given", o.data.data);
    given.data.max_seq_length = length;
    RUN(given);
    CHECK(run_same(o.output_dir, given.output_dir, "adapter_model.safetensors"), "other bytes");
    given = o;
    given.data.max_seq_length = LONG;
    given.output_dir = run_path("asked");
    CHECK(run_apart(given) == NIB_E_NOMEM, "what was asked for is changed");
}

/* A run that is killed and finds more or less memory afterwards keeps its records. */
static void test_resumes(void)
{
    nib_finetune_options whole = length_options("whole", records("long.jsonl", 2)), o;

    whole.eval_data = whole.data.data;
    whole.train.eval_strategy = "steps";
    whole.train.eval_steps = 2;
    whole.train.per_device_eval_batch_size = 1;
    whole.train.load_best_model_at_end = true;
    whole.train.max_memory = between(2);
    o = whole;
    o.output_dir = run_path("killed");
    RUN(whole);
    REQUIRE(last->seen.length_by_memory && last->seen.eval_records == RECORDS - 2, "%d",
            (int)last->seen.eval_records);
    REQUIRE(WIFSIGNALED(run_killed(o, 3, 1)));
    o.train.max_memory = 0;
    RUN(o);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "other bytes");
}

static void test_too_many(void)
{
    nib_finetune_options o = length_options("out", records("long.jsonl", 10));

    o.train.max_memory = between(10);
    CHECK(run_apart(o) == NIB_E_INVALID && strstr(last->message, "max_seq_length: ") &&
              strstr(last->message, " and 10 of 40 are longer") &&
              strstr(last->message, "long_records cut"),
          "%s", last->message);
    o.data.long_records = "cut";
    RUN(o);
    CHECK(last->seen.truncated == 10 && last->seen.records == RECORDS &&
              last->seen.length_by_memory, "%d cut", (int)last->seen.truncated);
    o.data.long_records = NULL;
    o.data.skip_bad = true;
    o.output_dir = run_path("skipped");
    RUN(o);
    CHECK(last->seen.too_long == 10);
    o.output_dir = run_path("none");
    o.train.max_memory = 1 << 20; /* not even the program */
    CHECK(run_apart(o) == NIB_E_NOMEM && strstr(last->message, "the plan needs"), "%s",
          last->message);
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
