/* test_checkpoint.c - the files of a checkpoint by themselves: trainer_state.json byte for byte as
 * Python writes it and back, what a torn or foreign state is refused for, which directories count
 * and are deleted; and every allocation on the way of a resumed run failing once. */
#include <jansson.h>
#include <math.h>

#include "adapter/adapter.h"
#include "run_support.h"
#include "train/checkpoint.h"

/* json.dumps(..., indent=2, sort_keys=True) of the same values, from Python. */
static const char expected[] =
    "{\n  \"best_global_step\": 4,\n  \"best_metric\": 0.1,\n"
    "  \"best_model_checkpoint\": \"out/\\u00e9/checkpoint-4\",\n"
    "  \"epoch\": 0.3333333333333333,\n  \"eval_steps\": 4,\n  \"global_step\": 4,\n"
    "  \"is_hyper_param_search\": false,\n"
    "  \"is_local_process_zero\": true,\n  \"is_world_process_zero\": true,\n  \"log_history\": [\n"
    "    {\n"
    "      \"epoch\": 0.25,\n      \"grad_norm\": 1e-07,\n      \"learning_rate\": 0.0002,\n"
    "      \"loss\": 2.3457,\n"
    "      \"step\": 3\n    },\n    {\n      \"epoch\": 0.3333333333333333,\n"
    "      \"eval_loss\": 0.1,\n"
    "      \"eval_perplexity\": 1.1051709180756477,\n      \"eval_runtime\": 2.5,\n"
    "      \"eval_samples_per_second\": 4.001,\n"
    "      \"eval_steps_per_second\": 1.0,\n      \"step\": 4\n    }\n  ],\n"
    "  \"logging_steps\": 3,\n  \"max_steps\": 12,\n"
    "  \"num_input_tokens_seen\": 77,\n  \"num_train_epochs\": 1,\n  \"save_steps\": 4,\n"
    "  \"stateful_callbacks\": {\n"
    "    \"EarlyStoppingCallback\": {\n      \"args\": {\n        \"early_stopping_patience\": 3,\n"
    "        \"early_stopping_threshold\": 0.0\n      },\n      \"attributes\": {\n"
    "        \"early_stopping_patience_counter\": 2\n      }\n    },\n    \"TrainerControl\": {\n"
    "      \"args\": {\n"
    "        \"should_epoch_stop\": false,\n        \"should_evaluate\": false,\n"
    "        \"should_log\": false,\n"
    "        \"should_save\": true,\n        \"should_training_stop\": false\n      },\n"
    "      \"attributes\": {}\n    }\n"
    "  },\n  \"total_flos\": 1e+20,\n  \"train_batch_size\": 8,\n  \"trial_name\": null,\n"
    "  \"trial_params\": null\n}\n";

static void test_history(void)
{
    nib_ctx *ctx = test_ctx();
    nib_log_entry train = { NIB_LOG_TRAIN, 3, 0.25, { 1e-7, 2e-4, 2.34567 } };
    nib_log_entry eval = { NIB_LOG_EVAL, 4, 1.0 / 3,
                           { [NIB_EVAL_LOSS] = 0.1, [NIB_EVAL_PERPLEXITY] = 1.1051709180756477,
                             [NIB_EVAL_RUNTIME] = 2.5, [NIB_EVAL_SAMPLES] = 4.00099,
                             [NIB_EVAL_STEPS] = 1 } };
    nib_trainer_state s, back;
    nib_text t = { .ctx = ctx };
    nib_error err;
    json_t *theirs;
    char *path;

    for (size_t i = 0; i < NIB_LOG_VALUES; i++) /* what was not measured */
        if (eval.values[i] == 0) eval.values[i] = (double)NAN;
    nib_trainer_state_init(ctx, &s);
    nib_trainer_state_init(ctx, &back);
    REQUIRE_OK(nib_trainer_state_reserve(&s, 2, &err), err);
    s.global_step = 4, s.max_steps = 12, s.num_train_epochs = 1, s.epoch = 1.0 / 3;
    s.num_input_tokens_seen = 77, s.total_flos = 1e20;
    s.train_batch_size = 8, s.logging_steps = 3, s.eval_steps = s.save_steps = 4;
    s.best_metric = 0.1, s.best_global_step = 4, s.should_save = true;
    s.best_model_checkpoint = path = nib_strdup(ctx, "out/\xc3\xa9/checkpoint-4");
    s.early_stopping_patience = 3, s.early_stopping_patience_counter = 2;
    nib_trainer_state_log(&s, &train);
    nib_trainer_state_log(&s, &eval);
    nib_trainer_state_put(&t, &s);
    REQUIRE(!t.failed && path, "no memory");
    CHECK(strcmp(t.data, expected) == 0, "%s", t.data);
    theirs = json_loads(t.data, 0, NULL);
    CHECK(theirs != NULL, "not JSON");
    json_decref(theirs);
    REQUIRE_OK(nib_trainer_state_parse(&back, t.data, t.bytes, "state", &err), err);
    CHECK(back.log_count == 2 && back.global_step == 4 && back.best_global_step == 4 &&
              back.best_metric == 0.1 && back.early_stopping_patience_counter == 2 &&
              back.num_input_tokens_seen == 77 && strcmp(back.best_model_checkpoint, path) == 0,
          "read back differently");
    CHECK(back.log[1].kind == NIB_LOG_EVAL && back.log[1].values[NIB_EVAL_LOSS] == 0.1 &&
              back.log[0].values[1] == 2e-4,
          "entries");
    t.bytes = 0;
    train.values[0] = (double)INFINITY;
    nib_log_entry_put(&t, &train);
    CHECK(strcmp(t.data,
                 "{\"epoch\": 0.25, \"learning_rate\": 0.0002, \"loss\": 2.34567, \"step\": 3}") ==
              0,
          "%s", t.data);
    nib_text_free(&t);
    nib_trainer_state_free(&s);
    nib_trainer_state_free(&back);
}

static void test_broken_history(void)
{
    static const struct { const char *text, *says; } bad[] = {
        { "", "state" }, { "[]", "not an object" }, { "{}", "global_step is missing" },
        { "{\"global_step\": 1}", "max_steps is missing" },
        { "{\"global_step\": -1, \"max_steps\": 2}", "global_step is -1" },
        { "{\"global_step\": 1.5, \"max_steps\": 2}", "expected an integer" },
        { "{\"global_step\": 1, \"max_steps\": 2}", "log_history is missing" },
        { "{\"global_step\": 1, \"max_steps\": 2, \"log_history\": {}}", "not a list" },
        { "{\"global_step\": 1, \"max_steps\": 2, \"log_history\": [3]}", "not an object" },
        { "{\"global_step\": 1, \"max_steps\": 2, \"log_history\": [{\"loss\": 1}]}", "no step" },
        { "{\"global_step\": 1, \"max_steps\": 2, \"log_history\": [{\"step\": 1, "
          "\"loss\": \"x\"}]}", "loss" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_trainer_state s;
        nib_error err;
        nib_status status;
        nib_trainer_state_init(ctx, &s);
        status = nib_trainer_state_parse(&s, bad[i].text, strlen(bad[i].text), "state", &err);
        CHECK(status == NIB_E_FORMAT && strstr(err.message, bad[i].says), "%s: %s", bad[i].text,
              status ? err.message : "read");
        nib_trainer_state_free(&s);
    }
}

static void test_broken_state(void)
{
#define SUMS "\"since_last_log\": {\"loss\": 0.5, \"tokens\": 3, \"steps\": 1}"
    static const struct { const char *text, *says; } bad[] = {
        { "x", "state" }, { "[]", "not an object" }, { "{}", "format is missing" },
        { "{\"format\": 2}", "format 2" },
        { "{\"format\": 1}", "since_last_log" },
        { "{\"format\": 1, " SUMS "}", "identity is missing" },
        { "{\"format\": 1, " SUMS ", \"identity\": {}}", "step is missing" },
        { "{\"format\": 1, " SUMS ", \"identity\": {}, \"step\": -2}", "step is -2" },
        { "{\"format\": 1, " SUMS ", \"identity\": {}, \"step\": 2, \"tokens_seen\": 1}",
          "version or isa" },
        { "{\"format\": 1, " SUMS ", \"identity\": {}, \"step\": 2, \"step\": 3, "
          "\"tokens_seen\": 1}", "step" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_checkpoint c = { 0 };
        json_t *root = NULL;
        nib_error err;
        nib_status status = nib_checkpoint_parse(ctx, bad[i].text, strlen(bad[i].text), "state",
                                                 &root, &c, &err);
        CHECK(status && strstr(err.message, bad[i].says), "%s: %s", bad[i].text,
              status ? err.message : "read");
        nib_checkpoint_free(ctx, &c);
        json_decref(root);
    }
}

static void make_checkpoint(const char *name, bool ours)
{
    char path[100];
    mkdir(run_path(name), 0777);
    snprintf(path, sizeof path, "%s/%s", name, ours ? "nibble_state.json" : "optimizer.pt");
    run_write(path, "{}");
}

static void test_directories(void)
{
    nib_ctx *ctx = test_ctx();
    uint64_t *numbers = NULL;
    size_t count = 0;
    nib_error err;

    for (int i = 2; i <= 12; i += 2) {
        char name[32];
        snprintf(name, sizeof name, "checkpoint-%d", i);
        make_checkpoint(name, true);
    }
    make_checkpoint("checkpoint-03", true);
    make_checkpoint("checkpoint-x", true);
    make_checkpoint("checkpoint-99999999999999999999999", true);
    run_write("checkpoint-1", "a file");
    CHECK(symlink("checkpoint-2", run_path("checkpoint-14")) == 0, "symlink");
    REQUIRE_OK(nib_checkpoint_list(ctx, test_tmpdir(), &numbers, &count, &err), err);
    CHECK(count == 6 && numbers[0] == 2 && numbers[4] == 10 && numbers[5] == 12, "%zu directories",
          count);
    nib_free(ctx, numbers);
    REQUIRE_OK(nib_checkpoint_prune(ctx, test_tmpdir(), 3, 12, 4, &err), err);
    CHECK(run_exists(test_tmpdir(), "checkpoint-4") && !run_exists(test_tmpdir(), "checkpoint-8") &&
              run_exists(test_tmpdir(), "checkpoint-10") &&
              run_exists(test_tmpdir(), "checkpoint-12"),
          "the best, the newest, one more");
    make_checkpoint("checkpoint-7", false);
    CHECK(nib_checkpoint_delete_all(ctx, test_tmpdir(), 7, &err) == NIB_E_INVALID &&
              strstr(err.message, "checkpoint-7"),
          "foreign");
    CHECK(run_exists(test_tmpdir(), "checkpoint-12"), "nothing is deleted beside a foreign one");
    REQUIRE_OK(nib_checkpoint_prune(ctx, test_tmpdir(), 1, 12, 0, &err), err);
    REQUIRE_OK(nib_checkpoint_delete_all(ctx, test_tmpdir(), 6, &err), err);
    CHECK(run_exists(test_tmpdir(), "checkpoint-7") && run_exists(test_tmpdir(), "checkpoint-03"),
          "foreign ones stay");
    CHECK(!run_exists(test_tmpdir(), "checkpoint-12"), "one of nibble's stays");
}

/* Each allocation of a run that resumes from a checkpoint fails once: an error, nothing leaked, and
 * the checkpoint is as good as before. */
static void allocations(nib_finetune_options o)
{
    nib_error err;
    char dir[700];
    bool ended = false;
    size_t n = 1;

    o.train.max_steps = 2;
    o.train.report_to = "all";
    o.train.optim = "paged_adamw_8bit";
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    snprintf(dir, sizeof dir, "%s/checkpoint-2", o.output_dir);
    o.resume_from_checkpoint = dir;
    o.train.save_steps = 0; /* free to change */
    for (size_t step = 1; n < 40000 && !ended; n += step) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_status status = nib_finetune(ctx, &o, &err);

        ended = heap.calls < n;
        CHECK(heap.live == 0, "allocation %zu: %zu blocks leaked", n, heap.live);
        CHECK(!ended || status == NIB_OK, "without a failure: %s", err.message);
        test_ctx_release(ctx);
        step = n < 60 ? 1 : 7;
    }
    CHECK(ended && n > 300, "%zu allocations", n);
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
}

static void test_allocations(void)
{
    test_on_disk();
    allocations(run_options("out"));
}

/* --- a step that is dropped --- */

static bool asked;
static int wants_stop(void *user)
{
    (void)user;
    return asked;
}

/* Two steps; before the second one, one that is given up half way.  The last loss. */
static double two_steps(bool drop)
{
    nib_finetune_options o = run_options("unused");
    nib_peft_config config = nib_peft_config_default();
    nib_model *model = NULL;
    nib_adapter *adapter = NULL;
    nib_dataset *data = NULL;
    nib_trainer *t = NULL;
    nib_trainer_step s = { .loss = -1 };
    nib_error err = { .message = "" };
    nib_ctx *ctx;
    nib_ctx_options options = { .threads = 1, .should_stop = wants_stop };
    nib_status status = nib_ctx_create(&options, &ctx, &err);

    asked = false;
    if (!status)
        status = nib_model_open(ctx, &o.model, NIB_F32, (nib_model_progress){ 0 }, &model, &err);
    if (!status) status = nib_adapter_create(model, &config, 0, 1, &adapter, &err);
    if (!status)
        status = nib_dataset_open(ctx,
                                  &(nib_dataset_source){ .options = &o.data, .vocabulary = 256 },
                                  &data, &err);
    if (!status)
        status = nib_trainer_create(ctx, model->graph, &adapter->params, data, &o.train,
                                    (uint64_t)1 << 30, NULL, &t, &err);
    if (!status) status = nib_trainer_run_step(t, &s, &err);
    if (!status && drop) {
        nib_status dropped;
        asked = true;
        t->stop_seen = 1e-9; /* as if asked long ago */
        dropped = nib_trainer_run_step(t, &s, &err);
        CHECK(dropped == NIB_E_INTERRUPTED && strstr(err.message, "step 2 of 7, which is dropped"),
              "%s", err.message);
        CHECK(t->step == 1 && t->run->abandoned, "step %d", (int)t->step);
        asked = false;
    }
    if (!status) status = nib_trainer_run_step(t, &s, &err);
    CHECK(status == NIB_OK, "%s", err.message);
    nib_trainer_destroy(t);
    nib_dataset_close(data);
    nib_adapter_close(adapter);
    nib_model_close(model);
    nib_ctx_destroy(ctx);
    return s.loss;
}

static void test_dropped_step(void)
{
    double whole = two_steps(false);
    CHECK(whole > 0 && two_steps(true) == whole, "the step after a dropped one has another loss");
}

int main(void)
{
    static const test_case cases[] = {
        { "history", test_history },           { "broken_history", test_broken_history },
        { "broken_state", test_broken_state }, { "directories", test_directories },
        { "allocations", test_allocations },   { "dropped_step", test_dropped_step }
    };
    return test_main("checkpoint", cases, NIB_COUNT(cases));
}
