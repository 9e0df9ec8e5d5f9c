/* test_finetune.c - the training job as a whole: the same bits with any number of threads, with
 * layers kept or run again; what it refuses; every allocation up to the end of a run failing in
 * turn, those inside jansson included; and no allocation from step 2 on. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "nibble/finetune.h"
#include "test.h"

static const char *write_data(const char *text)
{
    static char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/data.jsonl", test_tmpdir());
    f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
    return path;
}

static const char records
    [] = "{\"input_ids\": [1, 5, 9, 33, 7, 100, 4], \"labels\": [-100, -100, 9, 33, 7, 100, 4]}\n"
         "{\"input_ids\": [3, 4, 5, 6, 7]}\n"
         "{\"input_ids\": [90, 80, 70, 60, 50, 40, 30, 20, 10]}\n";

static nib_finetune_options options_for(const char *data, const char *out)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = test_data("tests/golden/models/llama-gqa-tied");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.model.settings = test_four_bit;
    o.data.data = data;
    o.output_dir = out;
    o.overwrite = true;
    o.lora.r = 4;
    o.lora.target_modules.all_linear = true;
    o.lora.init_lora_weights = "false"; /* B is not zero: A's gradient is felt at once */
    o.train.learning_rate = 1e-2;
    o.train.per_device_train_batch_size = 2;
    o.train.max_steps = 6;
    o.train.save_steps = 0;
    return o;
}

static void train(nib_finetune_options o, int threads, char **bytes, size_t *count)
{
    char path[600];
    nib_ctx *ctx = test_ctx_threads(threads, NULL);
    nib_error err;

    REQUIRE_OK(nib_finetune(ctx, &o, &err), err);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", o.output_dir);
    REQUIRE_OK(nib_file_read(ctx, path, 1 << 26, bytes, count, &err), err);
}

static void check_same(nib_finetune_options a, int threads_a, nib_finetune_options b, int threads_b,
                       bool same, const char *what)
{
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 1;

    train(a, threads_a, &x, &n);
    train(b, threads_b, &y, &m);
    CHECK(x && y && (n == m && memcmp(x, y, n) == 0) == same, "%s", what);
    free(x); /* the plain allocator's */
    free(y);
}

static void test_same_bits(void)
{
    const char *data = write_data(records);
    char out[512];
    nib_finetune_options o, other;

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    o = other = options_for(data, out);
    check_same(o, 1, o, 2, true, "1 thread and 2");
    other.train.gradient_checkpointing = 1;
    check_same(o, 1, other, 2, true, "layers kept and run again");
    o.lora.lora_dropout = other.lora.lora_dropout = 0.3;
    check_same(o, 2, other, 1, true, "the same with dropout");
    other.train.seed = 7;
    check_same(o, 1, other, 1, false, "another seed gives other bits");
}

/* 1 x 4 and 2 x 2: the same steps but for rounding. */
static double last_loss;
static void keep_loss(void *user, const nib_step_report *r)
{
    (void)user;
    last_loss = r->loss;
}

static void test_accumulation(void)
{
    const char *data = write_data(
        "{\"input_ids\": [1, 5, 9, 33, 7]}\n{\"input_ids\": [3, 4, 5]}\n"
        "{\"input_ids\": [90, 80, 70, 60]}\n{\"input_ids\": [9, 8]}\n");
    char out[512];
    nib_finetune_options o;
    char *bytes = NULL;
    size_t n;
    double whole;

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    o = options_for(data, out);
    o.on_step = keep_loss;
    o.train.per_device_train_batch_size = 4;
    train(o, 2, &bytes, &n);
    free(bytes);
    whole = last_loss;
    o.train.per_device_train_batch_size = 2;
    o.train.gradient_accumulation_steps = 2;
    train(o, 2, &bytes, &n);
    free(bytes);
    CHECK(fabs(whole - last_loss) < 1e-5 * whole, "%.9g and %.9g", whole, last_loss);
}

static void test_refusals(void)
{
    static const struct { const char *data, *says; } bad[] = {
        { "", "empty" }, { "nonsense\n", "line 1" },
        { "{\"input_ids\": [1, 2]}\n{\"other\": 1}\n", "line 2" },
        { "{\"input_ids\": [1, 999999]}\n", "999999" },
        { "{\"input_ids\": [1, 2], \"labels\": [-100, -100]}\n", "no usable record" },
        { "{\"text\": \"a\"}\n", "no tokenizer.json" },
        { "{\"input_ids\": [1, 2], \"labels\": [1]}\n", "1 labels for 2" },
    };
    nib_ctx *ctx = test_ctx();
    static const struct { const char *model, *saved; } biased[] = {
        { "tests/golden/models/gptj", "lm_head" }, { "tests/golden/models/falcon-rw", "ln_f" },
    };
    nib_error err;
    char out[512];

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    for (size_t i = 0; i < NIB_COUNT(biased); i++) { /* PEFT names such a bias three times */
        nib_finetune_options o = options_for(write_data(records), out);
        nib_status status;

        o.model.model = test_data(biased[i].model);
        o.lora.bias = "all";
        o.lora.modules_to_save = (nib_names){ .items = &biased[i].saved, .count = 1 };
        status = nib_finetune(ctx, &o, &err);
        CHECK(status == NIB_E_UNSUPPORTED && strstr(err.message, biased[i].saved), "%s: %s",
              biased[i].model, status ? err.message : "accepted");
    }
    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_finetune_options o = options_for(write_data(bad[i].data), out);
        nib_status status = nib_finetune(ctx, &o, &err);
        CHECK(status && strstr(err.message, bad[i].says), "%s: %s", bad[i].data,
              status ? err.message : "accepted");
    }
    {
        nib_finetune_options o = options_for(write_data(records), out);
        const char *names[] = { "nothing_like_it" };
        o.lora.target_modules = (nib_names){ .items = names, .count = 1 };
        CHECK(nib_finetune(ctx, &o, &err) == NIB_E_MISMATCH, "a target that matches nothing");
        o = options_for(write_data(records), o.model.model);
        CHECK(nib_finetune(ctx, &o, &err) == NIB_E_INVALID, "output into the model");
        o = options_for(write_data(records), out);
        o.train.lr_scheduler_type = "wavy";
        CHECK(nib_finetune(ctx, &o, &err) == NIB_E_INVALID && strstr(err.message, "wavy"),
              "an unknown schedule");
    }
}

static nib_run_report seen_start;
static void keep_start(void *user, const nib_run_report *r)
{
    (void)user;
    seen_start = *r;
}

/* A chat template in place of the model's: the records' shape and number are reported, some are
 * held out, and the template goes with the adapter. */
static void test_chat(void)
{
    static const char chats[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
        "{\"role\": \"assistant\", \"content\": \"b\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"c\"}, "
        "{\"role\": \"assistant\", \"content\": \"d\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"e\"}]}\n";
    static const char text[] =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}.{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}";
    nib_ctx *ctx = test_ctx();
    nib_finetune_options o;
    nib_error err = { .message = "" };
    char out[512], path[600], *written = NULL;
    size_t bytes = 0;
    FILE *f;

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    snprintf(path, sizeof path, "%s/chat.jinja", test_tmpdir());
    f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
    o = options_for(write_data(chats), out);
    o.model.model = test_data("models/pico");
    o.data.chat_template = path;
    o.train.max_steps = 1;
    o.train.eval_strategy = "epoch";
    o.val_size = 0.5;
    o.on_start = keep_start;
    CHECK(nib_finetune(ctx, &o, &err) == NIB_E_FORMAT &&
              strstr(err.message, "line 3: no message has the role assistant"),
          "%s", err.message);
    o.data.skip_bad = true;
    REQUIRE_OK(nib_finetune(ctx, &o, &err), err);
    CHECK(seen_start.records == 1 && seen_start.eval_records == 1 && seen_start.bad == 1 &&
              strcmp(seen_start.shape, "chat (messages)") == 0,
          "%d records, %d held out, %d bad, %s", (int)seen_start.records,
          (int)seen_start.eval_records, (int)seen_start.bad, seen_start.shape);
    snprintf(path, sizeof path, "%s/chat_template.jinja", out);
    REQUIRE_OK(nib_file_read(ctx, path, 1 << 20, &written, &bytes, &err), err);
    CHECK(strcmp(written, text) == 0, "%s", written);
    nib_free(ctx, written);
    o.eval_data = o.data.data;
    CHECK(nib_finetune(ctx, &o, &err) == NIB_E_INVALID &&
              strstr(err.message, "val_size and eval_data"),
          "%s", err.message);
}

/* jansson's hooks know no user: the heap at hand is the test's. */
static test_heap *counted;
static void *json_alloc(size_t bytes)
{
    void *p = ++counted->calls == counted->fail_at ? NULL : malloc(bytes);
    counted->live += p != NULL;
    return p;
}
static void json_release(void *p)
{
    counted->live -= p != NULL;
    free(p);
}

static void test_allocations(void)
{
    const char *data = write_data(records);
    char out[512];
    size_t n = 1, step = 1;
    bool ended = false;
    int harmless = 0;

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    json_set_alloc_funcs(json_alloc, json_release);
    for (; n < 40000 && !ended; n += step) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_finetune_options o = options_for(data, out);
        nib_error err;
        nib_status status;

        counted = &heap;
        o.train.max_steps = 1;
        status = nib_finetune(ctx, &o, &err);
        ended = heap.calls < n;
        CHECK(heap.live == 0, "allocation %zu: %zu blocks leaked", n, heap.live);
        CHECK(ended ? status == NIB_OK : true, "without a failure: %s", err.message);
        /* An error, though jansson does not say that it lacked memory.  Without harm may fail:
         * compiling a pattern to machine code (PCRE2 then interprets it), keeping a warning for the
         * summary, and looking whether a file is lines (it is then read as values). */
        harmless += !ended && status == NIB_OK;
        test_ctx_release(ctx);
        if (n > 400) step = 17; /* all of the opening, then a sample of the many alike */
    }
    json_set_alloc_funcs(malloc, free);
    CHECK(ended && n > 400 && harmless < 40, "%zu allocations were tried, %d did no harm", n,
          harmless);
}

static size_t calls_at_step[8];
static void count_calls(void *user, const nib_step_report *r)
{
    if (r->step < 8) calls_at_step[r->step] = ((test_heap *)user)->calls;
}

static void test_steps_allocate_nothing(void)
{
    static test_heap heap; /* outlives this function: the context frees through it later */
    nib_ctx *ctx = test_ctx_heap(&heap);
    nib_finetune_options o;
    nib_error err;
    char out[512];

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    o = options_for(write_data(records), out);
    o.on_step = count_calls;
    o.user = &heap;
    REQUIRE_OK(nib_finetune(ctx, &o, &err), err);
    for (int i = 2; i <= 6; i++)
        CHECK(calls_at_step[i] == calls_at_step[1], "step %d allocated", i);
}

int main(void)
{
    static const test_case cases[] = { { "same_bits", test_same_bits },
                                       { "accumulation", test_accumulation },
                                       { "refusals", test_refusals },
                                       { "chat", test_chat },
                                       { "allocations", test_allocations },
                                       { "steps_allocate_nothing", test_steps_allocate_nothing } };
    return test_main("finetune", cases, NIB_COUNT(cases));
}
