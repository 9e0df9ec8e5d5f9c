/* test_resume.c - a run that is killed resumes and ends with the bytes of one that was not: killed
 * after every step, at random moments of the program's life, interrupted by signals, with dropout,
 * accumulation, shuffling and changing numbers of threads.  And what is refused, passed over and
 * left alone. */
#include <jansson.h>

#include "job/finetune_job.h"
#include "run_support.h"

static void test_every_step(void)
{
    nib_finetune_options whole = run_options("whole"), o;
    nib_error err;

    REQUIRE_OK(run_here(&whole, 2, &err), err);
    for (int k = 1; k <= 7; k++) {
        char out[32];
        int status;
        snprintf(out, sizeof out, "killed-%d", k);
        o = run_options(out);
        status = run_killed(o, k, 1 + k % 2);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "step %d: ended with %d", k,
              status);
        CHECK(!run_exists(o.output_dir, "adapter_config.json"),
              "step %d: an adapter before the end", k);
        REQUIRE_OK(run_here(&o, 2 - k % 2, &err), err);
        CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
              "killed after step %d", k);
        CHECK(run_same(whole.output_dir, o.output_dir, "adapter_config.json"),
              "killed after step %d: config", k);
        CHECK(!run_exists(o.output_dir, ".nibble-run.json"), "step %d: still marked as unfinished",
              k);
    }
    o = run_options("each"); /* killed after each step in turn, in one directory */
    o.train.save_steps = 1;
    for (int k = 1; k <= 7; k++) (void)run_killed(o, k, 1 + k % 2);
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
          "killed after each step");
}

/* Trained copies and biases, decay, other types and schedules, an adapter that is trained on. */
static void test_kinds(void)
{
    static const char *const head[] = { "lm_head" };
    enum { KINDS = 5 };
    const char *start = NULL;

    for (int kind = 0; kind < KINDS; kind++) {
        char whole_name[32], killed_name[32];
        nib_finetune_options o[2];
        nib_error err;

        snprintf(whole_name, sizeof whole_name, "whole-%d", kind);
        snprintf(killed_name, sizeof killed_name, "killed-%d", kind);
        for (int i = 0; i < 2; i++) {
            o[i] = run_options(i ? killed_name : whole_name);
            if (kind == 0) {
                o[i].model.model = test_data("tests/golden/models/llama-bias");
                o[i].lora.modules_to_save = (nib_names){ .items = head, .count = 1 };
                o[i].lora.bias = "all";
                o[i].train.weight_decay = 0.1;
            } else if (kind == 1) {
                o[i].model.compute_dtype = NIB_COMPUTE_BFLOAT16;
                o[i].train.lr_scheduler_type = "cosine";
                o[i].train.warmup_ratio = 0.3;
                o[i].train.gradient_checkpointing = 1;
            } else if (kind == 2) {
                o[i].adapter = start; /* what kind 1 made */
                o[i].model.compute_dtype = NIB_COMPUTE_AUTO;
                o[i].train.save_strategy = "epoch";
            } else if (kind == 3) {
                o[i].train.tokens_per_batch = 11; /* epochs of three and of four micro-batches */
                o[i].train.group_by_length = true;
                o[i].train.gradient_accumulation_steps = 1;
                o[i].train.save_strategy = "epoch";
            } else {
                o[i].model.settings = NULL;
                o[i].train.shuffle = false;
                o[i].train.per_device_train_batch_size = 2;
                o[i].train.max_steps = -1;
                o[i].train.num_train_epochs = 3.5;
                o[i].train.save_steps = 1;
            }
        }
        REQUIRE_OK(run_here(&o[0], 2, &err), err);
        (void)run_killed(o[1], 4, 1);
        (void)run_killed(o[1], 5, 2);
        REQUIRE(run_here(&o[1], 1, &err) == NIB_OK, "kind %d: %s", kind, err.message);
        CHECK(run_same(o[0].output_dir, o[1].output_dir, "adapter_model.safetensors"),
              "kind %d: other bytes", kind);
        start = o[0].output_dir;
    }
}

/* Every optimizer, with matrices large enough for 8-bit states and biases and a head beside them;
 * LoRA+ and a schedule with restarts. */
static void test_optimizers(void)
{
    static const char *const optims[] = { "adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit",
                                          "paged_adamw_8bit" },
                             *const head[] = { "lm_head" };
    static const nib_argument cycles = { "num_cycles", 2, NULL };
    const char *first[2] = { NULL, NULL }; /* what the resident forms made */

    test_on_disk();
    for (size_t i = 0; i < NIB_COUNT(optims); i++) {
        char whole_name[32], killed_name[32];
        nib_finetune_options o[2];
        nib_error err;

        snprintf(whole_name, sizeof whole_name, "whole-%zu", i);
        snprintf(killed_name, sizeof killed_name, "killed-%zu", i);
        for (int k = 0; k < 2; k++) {
            o[k] = run_options(k ? killed_name : whole_name);
            o[k].model.model = test_data("tests/golden/models/llama-bias");
            o[k].lora.modules_to_save = (nib_names){ .items = head, .count = 1 };
            o[k].lora.bias = "all";
            o[k].lora.r = 64;
            o[k].train.optim = optims[i];
            o[k].train.learning_rate = 1e-3;
            o[k].train.loraplus_lr_ratio = 8;
            o[k].train.loraplus_weight_decay = 0.1;
            o[k].train.lr_scheduler_type = "cosine_with_restarts";
            o[k].train.lr_scheduler_kwargs = &cycles;
            o[k].train.lr_scheduler_kwarg_count = 1;
        }
        REQUIRE_OK(run_here(&o[0], 2, &err), err);
        (void)run_killed(o[1], 3, 1);
        (void)run_killed(o[1], 5, 2);
        REQUIRE(run_here(&o[1], 1, &err) == NIB_OK, "%s: %s", optims[i], err.message);
        CHECK(run_same(o[0].output_dir, o[1].output_dir, "adapter_model.safetensors"),
              "%s: other bytes", optims[i]);
        if (i < 2) first[i] = strdup(o[0].output_dir);
        else
            CHECK(run_same(first[i % 2], o[0].output_dir, "adapter_model.safetensors"),
                  "%s: not the bytes of %s", optims[i], optims[i % 2]);
    }
    CHECK(!run_same(first[0], first[1], "adapter_model.safetensors"),
          "8-bit states made no difference");
    free((void *)(uintptr_t)first[0]);
    free((void *)(uintptr_t)first[1]);
}

/* --- the program, killed at random --- */

static const char *program(void)
{
    static char path[600];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 40);

    path[n > 0 ? n : 0] = 0;
    /* BUILD/tests/train/test_resume */
    for (int up = 0; up < 3 && strrchr(path, '/'); up++) *strrchr(path, '/') = 0;
    strcat(path, "/nibble");
    return path;
}

/* Starts `nibble finetune`, sends `signal_number` after some microseconds (0: never); its wait
 * status. */
static int run_program(const nib_finetune_options *o, const char *threads, long microseconds,
                       int signal_number)
{
    /* codes are for 4096 values and more */
    const char *rank = strstr(o->train.optim, "8bit") ? "64" : "4";
    const char *argv[] = { program(),
                           "finetune",
                           o->model.model,
                           "--data",
                           o->data.data,
                           "--output-dir",
                           o->output_dir,
                           "--compute-dtype",
                           "float32",
                           "--load-in-4bit",
                           "--optim",
                           o->train.optim,
                           "--r",
                           rank,
                           "--lora-dropout",
                           "0.2",
                           "--target-modules",
                           "all-linear",
                           "--learning-rate",
                           "1e-2",
                           "--per-device-train-batch-size",
                           "1",
                           "--gradient-accumulation-steps",
                           "2",
                           "--max-steps",
                           "20",
                           "--save-steps",
                           "3",
                           "--save-total-limit",
                           "2",
                           "--report-to",
                           "jsonl",
                           "--threads",
                           threads,
                           NULL };
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execv(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
    if (child < 0) return -1;
    if (signal_number) {
        struct timespec t = { microseconds / 1000000, microseconds % 1000000 * 1000 };
        nanosleep(&t, NULL);
        kill(child, signal_number);
    }
    waitpid(child, &status, 0);
    return status;
}

static long microseconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Killed at `kills` random moments. */
static void kill_randomly(const char *optim, int kills)
{
    char name[64];
    nib_finetune_options whole, o;
    long took;
    int killed = 0, status;
    char *a, *b;
    size_t n, m;

    snprintf(name, sizeof name, "whole-%s", optim);
    whole = run_options(name);
    whole.train.optim = optim;
    took = microseconds_now();
    status = run_program(&whole, "2", 0, 0);
    took = microseconds_now() - took;
    snprintf(name, sizeof name, "killed-%s", optim);
    o = run_options(name);
    o.train.optim = optim;
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %d", program(), status);
    for (int round = 0; round < 200 && killed < kills; round++) {
        long wait = (long)(test_rand() % (uint32_t)(took > 1 ? took : 1));
        char out[64];

        status = run_program(&o, round % 2 ? "1" : "2", wait, SIGKILL);
        if (WIFSIGNALED(status)) killed++;
        else
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: ended with %d", round,
                  status);
        if (!run_exists(o.output_dir, "adapter_config.json") ||
            run_exists(o.output_dir, ".nibble-run.json"))
            continue;
        /* It was finished before the kill: these bytes are compared too, and a new one is begun. */
        CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
              "round %d: other bytes", round);
        snprintf(out, sizeof out, "again-%d-%s", round, optim);
        o = run_options(out);
        o.train.optim = optim;
    }
    CHECK(killed == kills, "%s: %d were killed", optim, killed);
    status = run_program(&o, "2", 0, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the last: %d", status);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
          "%s: other bytes after %d kills", optim, kills);
    a = run_bytes(whole.output_dir, "log.jsonl", &n);
    b = run_bytes(o.output_dir, "log.jsonl", &m);
    if (a && strrchr(a, '{')) *strrchr(a, '{') = 0; /* the last line holds times */
    if (b && strrchr(b, '{')) *strrchr(b, '{') = 0;
    CHECK(a && b && strcmp(a, b) == 0, "the logs differ:\n%s\nand\n%s", a ? a : "none",
          b ? b : "none");
    free(a);
    free(b);
}

static void test_random_kills(void)
{
    kill_randomly("adamw_torch", 12);
    kill_randomly("adamw_bnb_8bit", 6);
}

static void test_random_kills_paged(void)
{
    test_on_disk();
    kill_randomly("paged_adamw_8bit", 8);
    kill_randomly("paged_adamw_32bit", 6);
}

/* SIGINT ends after the step, saves and resumes with the same bytes. */
static void test_interrupted(void)
{
    nib_finetune_options whole = run_options("whole"), o = run_options("stopped");
    long took = microseconds_now();
    int stopped = 0, status = run_program(&whole, "2", 0, 0);

    took = microseconds_now() - took;
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", status);
    for (int round = 0; round < 20; round++) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        int which = signals[round % 3];
        status = run_program(&o, round % 2 ? "1" : "2",
                             (long)(test_rand() % (uint32_t)(took / 2 + 1)), which);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            char again[32];
            if (stopped) break;
            snprintf(again, sizeof again, "stopped-%d", round); /* it was faster than the signal */
            o = run_options(again);
            took /= 2;
            continue;
        }
        CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 128 + which) ||
                  (WIFSIGNALED(status) && WTERMSIG(status) == which),
              "signal %d: ended with %d", which, status);
        stopped++;
    }
    if (!run_exists(o.output_dir, "trainer_state.json") ||
        run_exists(o.output_dir, ".nibble-run.json"))
        status = run_program(&o, "1", 0, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && stopped > 0, "%d, %d were stopped",
          status, stopped);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "other bytes");
}

/* --- what is refused and what is free --- */

static char last_note[1024];
static void keep_note(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    if (kind == NIB_MESSAGE_SUMMARY) return; /* the same again */
    if (strstr(text, "step") || strstr(text, "checkpoint"))
        snprintf(last_note, sizeof last_note, "%s", text);
}

static nib_status run_noted(const nib_finetune_options *o, nib_error *err)
{
    nib_ctx *ctx;
    nib_status status;

    *last_note = 0;
    status = nib_ctx_create(&(nib_ctx_options){ .threads = 1, .message = keep_note }, &ctx, err);
    if (status) return status;
    status = nib_finetune(ctx, o, err);
    nib_ctx_destroy(ctx);
    return status;
}

static void check_refused(nib_finetune_options o, const char *key, const char *what)
{
    nib_error err;
    nib_status status = run_noted(&o, &err);

    CHECK(status && strstr(err.message, key), "%s: %s", what, status ? err.message : "accepted");
}

/* A checkpoint of a nibble that trained other tokens of the same records. */
static void test_rules(void)
{
    json_t *there = json_pack("{s:s}", "seed", "42"),
           *here = json_pack("{s:s, s:i}", "seed", "42", "data rules", NIB_DATA_RULES);
    nib_error err = { .message = "accepted" };

    CHECK(nib_finetune_same(test_ctx(), "checkpoint-4", there, here, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "checkpoint-4: not of this run: it began under other rules") &&
              strstr(err.message, "version 1 there, 2 here"), "%s", err.message);
    CHECK(nib_finetune_same(test_ctx(), "checkpoint-4", here, here, &err) == NIB_OK,
          "%s", err.message);
    json_decref(there);
    json_decref(here);
}

static void test_identity(void)
{
    nib_finetune_options o = run_options("out"), other;
    nib_error err;
    char data[sizeof run_records + 40];

    (void)run_killed(o, 5, 1);
    REQUIRE(run_exists(o.output_dir, "checkpoint-4/nibble_state.json"), "no checkpoint");
    other = o;
    other.train.seed = 7;
    check_refused(other, "seed (42 there, 7 here)", "another seed");
    other = o;
    other.train.learning_rate = 2e-2;
    other.train.max_steps = 8;
    check_refused(other, "learning_rate", "another rate");
    check_refused(other, "max_steps (7 there, 8 here)", "more steps");
    other = o;
    other.train.optim = "paged_adamw_32bit";
    check_refused(other, "optim", "another optimizer");
    other = o;
    other.train.loraplus_lr_ratio = 2;
    check_refused(other, "loraplus_lr_ratio", "LoRA+");
    other = o;
    other.lora.lora_alpha = 16;
    check_refused(other, "lora_alpha", "another alpha");
    other = o;
    other.data.max_seq_length = 5;
    check_refused(other, "max_seq_length", "another length");
    check_refused(other, "data", "another length cuts the data");
    other = o;
    other.model.model = test_data("tests/golden/models/qwen2");
    check_refused(other, "model weights", "another model");
    other = o;
    other.model.settings = NULL;
    check_refused(other, "weights (nf4 64 there, dense here)", "not quantized");
    snprintf(data, sizeof data, "%s{\"input_ids\": [1, 2]}\n", run_records);
    other = o;
    other.data.data = run_write("more.jsonl", data);
    check_refused(other, "data", "more data");

    /* Another file with the same records is the same data; logging, saving and threads are free. */
    snprintf(data, sizeof data, "\n%s", run_records);
    o.data.data = run_write("spaces.jsonl", data);
    o.train.logging_steps = 3;
    o.train.save_steps = 0;
    o.train.report_to = "jsonl";
    o.train.max_memory = (uint64_t)1 << 32;
    REQUIRE_OK(run_noted(&o, &err), err);
    CHECK(strstr(last_note, "step 4 of 7"), "%s", last_note);
    check_refused(o, "not empty", "a finished run");
}

static void test_other_isa(void)
{
    nib_finetune_options o = run_options("out");
    nib_error err;

    (void)run_killed(o, 5, 1);
    setenv("NIBBLE_ISA", "ref", 1);
    CHECK(run_noted(&o, &err) == NIB_OK, "%s", err.message);
    unsetenv("NIBBLE_ISA");
    CHECK(strstr(last_note, "bits will differ") && strstr(last_note, "ref"), "%s", last_note);
}

static void spoil(const char *dir, const char *name)
{
    char path[700];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "r+");
    if (!f) return;
    fseek(f, -9, SEEK_END);
    fputc('x', f);
    fclose(f);
}

static void test_torn(void)
{
    static const char *const files[] = { "nibble_state.json", "optimizer.safetensors",
                                         "adapter_model.safetensors", "trainer_state.json" };
    nib_finetune_options whole = run_options("whole"), o;
    nib_error err;
    char dir[700];

    REQUIRE_OK(run_here(&whole, 2, &err), err);
    for (size_t i = 0; i < NIB_COUNT(files); i++) {
        char out[32], name[64];
        snprintf(out, sizeof out, "torn-%zu", i);
        o = run_options(out);
        (void)run_killed(o, 5, 1);
        snprintf(name, sizeof name, "checkpoint-4/%s", files[i]);
        spoil(o.output_dir, name);
        snprintf(dir, sizeof dir, "%s/checkpoint-4", o.output_dir);
        o.resume_from_checkpoint = dir;
        check_refused(o, files[i], "a torn checkpoint by name");
        o.resume_from_checkpoint = "last";
        REQUIRE_OK(run_noted(&o, &err), err);
        CHECK(strstr(last_note, "step 2 of 7"), "%s", last_note);
        CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "%s was torn",
              files[i]);
    }
}

static void test_by_name(void)
{
    nib_finetune_options whole = run_options("whole"), o = run_options("out");
    nib_error err;
    char dir[700];

    REQUIRE_OK(run_here(&whole, 2, &err), err);
    o.resume_from_checkpoint = "true"; /* as Trainer.train() takes it: the last */
    REQUIRE_OK(run_noted(&o, &err), err); /* none is there: from the beginning, with a note */
    CHECK(strstr(last_note, "from the beginning"), "%s", last_note);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
          "from the beginning");
    snprintf(dir, sizeof dir, "%s/checkpoint-2", o.output_dir);
    o.resume_from_checkpoint = dir; /* an early one of a finished run */
    REQUIRE_OK(run_noted(&o, &err), err);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
          "from checkpoint-2");
    o.output_dir = run_path("elsewhere");
    REQUIRE_OK(run_noted(&o, &err), err); /* and into another directory */
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "elsewhere");
    snprintf(dir, sizeof dir, "%s/nothing", whole.output_dir);
    check_refused(o, "nothing", "a checkpoint that is not there");
    mkdir(dir, 0777);
    check_refused(o, "not a checkpoint of nibble", "an empty directory");
    o = run_options("out");
    check_refused(o, "not empty", "finished, without overwrite");
    o.overwrite = true;
    o.train.max_steps = 3;
    REQUIRE_OK(run_noted(&o, &err), err);
    CHECK(!run_exists(o.output_dir, "checkpoint-4") && run_exists(o.output_dir, "checkpoint-3"),
          "old checkpoints stayed");
}

/* A second writer, a link, a directory of somebody else's. */
static void test_directory(void)
{
    nib_finetune_options o = run_options("out");
    char held[100], path[700];
    int gate[2];
    pid_t child;
    nib_error err;

    REQUIRE(pipe(gate) == 0, "pipe");
    mkdir(o.output_dir, 0777);
    snprintf(path, sizeof path, "%s/.nibble-lock", o.output_dir);
    child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR | O_CREAT, 0666);
        snprintf(held, sizeof held, "process %ld on here", (long)getpid());
        if (flock(fd, LOCK_EX) || write(fd, held, strlen(held)) < 0 || write(gate[1], "x", 1) != 1)
            _exit(1);
        for (;;) pause();
    }
    REQUIRE(child > 0 && read(gate[0], held, 1) == 1, "the other process");
    snprintf(held, sizeof held, "process %ld on here is writing there", (long)child);
    check_refused(o, held, "a second writer");
    kill(child, SIGKILL); /* its lock file stays, its lock goes */
    waitpid(child, NULL, 0);
    close(gate[0]);
    close(gate[1]);
    REQUIRE_OK(run_noted(&o, &err), err);
    CHECK(!run_exists(o.output_dir, ".nibble-lock"), "the lock stays");

    o = run_options("link");
    CHECK(symlink(run_path("out"), o.output_dir) == 0, "symlink");
    o.overwrite = true;
    check_refused(o, "is a symbolic link", "a link");
    o = run_options("theirs");
    mkdir(o.output_dir, 0777);
    run_write("theirs/notes.txt", "mine");
    check_refused(o, "notes.txt", "somebody's directory");
    o.resume_from_checkpoint = "last";
    check_refused(o, "notes.txt", "somebody's directory without a checkpoint");
    o.resume_from_checkpoint = NULL;
    o.overwrite = true;
    REQUIRE_OK(run_noted(&o, &err), err);
    CHECK(run_exists(o.output_dir, "notes.txt"), "somebody's file is gone");
}

static void test_limit(void)
{
    nib_finetune_options o = run_options("out");
    nib_error err;
    char link[700];

    o.train.save_steps = 1;
    o.train.save_total_limit = 2;
    mkdir(o.output_dir, 0777);
    mkdir(run_path("precious"), 0777);
    run_write("precious/nibble_state.json", "{}");
    (void)run_killed(o, 2, 1);
    snprintf(link, sizeof link, "%s/checkpoint-0", o.output_dir); /* the oldest, but a link */
    CHECK(symlink(run_path("precious"), link) == 0, "symlink");
    REQUIRE_OK(run_here(&o, 2, &err), err);
    CHECK(run_exists(run_path("precious"), "nibble_state.json"), "deleted through a link");
    CHECK(run_exists(o.output_dir, "checkpoint-7") && run_exists(o.output_dir, "checkpoint-6") &&
              !run_exists(o.output_dir, "checkpoint-5") &&
              !run_exists(o.output_dir, "checkpoint-1"),
          "two are kept");
}

/* --- evaluation --- */

static nib_finetune_options eval_options(const char *out)
{
    nib_finetune_options o = run_options(out);
    o.eval_data = run_write(
        "eval.jsonl",
        "{\"input_ids\": [9, 33, 7, 100, 4]}\n{\"input_ids\": [60, 2, 61]}\n"
        "{\"input_ids\": [8, 7]}\n");
    o.train.eval_strategy = o.train.save_strategy = "steps";
    o.train.eval_steps = 1;
    o.train.save_steps = 1;
    o.train.save_total_limit = 1;
    o.train.load_best_model_at_end = true;
    o.train.learning_rate = 0.05; /* soon too far: the best is not the last */
    o.train.lr_scheduler_type = "constant";
    o.train.max_steps = 12;
    return o;
}

static double seen[64];
static void keep_eval(void *user, const nib_eval_report *r)
{
    (void)user;
    if (r->step < 64) seen[r->step] = r->eval_loss;
}

static void test_best(void)
{
    nib_finetune_options o = eval_options("whole"), killed;
    char name[64];
    nib_error err;
    int best = 1;
    json_t *state;

    o.on_evaluate = keep_eval;
    REQUIRE_OK(run_here(&o, 2, &err), err);
    for (int i = 1; i <= 12; i++)
        if (seen[i] < seen[best]) best = i;
    CHECK(best > 1 && best < 12, "the best is that of step %d: the test shows nothing", best);
    snprintf(name, sizeof name, "checkpoint-%d/adapter_model.safetensors", best);
    CHECK(run_exists(o.output_dir, name) && run_exists(o.output_dir, "checkpoint-12"),
          "best and last are kept");
    {
        size_t n, m;
        char *a = run_bytes(o.output_dir, "adapter_model.safetensors", &n),
             *b = run_bytes(o.output_dir, name, &m);
        CHECK(a && b && n == m && memcmp(a, b, n) == 0,
              "the result is not the best, that of step %d", best);
        free(a);
        free(b);
    }
    killed = eval_options("killed");
    for (int k = 2; k <= 12; k += 2) (void)run_killed(killed, k, 1);
    REQUIRE_OK(run_here(&killed, 1, &err), err);
    CHECK(run_same(o.output_dir, killed.output_dir, "adapter_model.safetensors"),
          "killed, another best");
    state = json_load_file(run_path("whole/trainer_state.json"), 0, NULL);
    CHECK(json_integer_value(json_object_get(state, "best_global_step")) == best,
          "best_global_step");
    CHECK(json_real_value(json_object_get(state, "best_metric")) == seen[best], "best_metric");
    CHECK(json_array_size(json_object_get(state, "log_history")) == 25,
          "12 steps, 12 evaluations, the end");
    json_decref(state);
}

/* A finished run that is given more steps: it is the longer run, or gets the reason. */
static void test_longer(void)
{
    static const char *const types[] = { "constant", "constant_with_warmup", "inverse_sqrt" };
    nib_finetune_options whole, o;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(types); i++) {
        char names[2][32];
        snprintf(names[0], sizeof names[0], "whole-%s", types[i]);
        snprintf(names[1], sizeof names[1], "longer-%s", types[i]);
        whole = run_options(names[0]);
        o = run_options(names[1]);
        whole.train.lr_scheduler_type = o.train.lr_scheduler_type = types[i];
        whole.train.warmup_steps = o.train.warmup_steps = i > 0 ? 2 : 0;
        whole.train.max_steps = 11;
        REQUIRE_OK(run_here(&whole, 2, &err), err);
        REQUIRE_OK(run_here(&o, 2, &err), err);
        o.train.max_steps = 11;
        o.resume_from_checkpoint = "last";
        REQUIRE_OK(run_here(&o, 1, &err), err);
        CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"),
              "%s: other bytes than 11 steps at once", types[i]);
    }
    o = run_options("linear");
    REQUIRE_OK(run_here(&o, 2, &err), err);
    o.train.max_steps = 11;
    o.resume_from_checkpoint = "last";
    check_refused(o, "cannot continue from 7 to 11 steps: with 11 the linear schedule", "linear");
    o.train.lr_scheduler_type = "constant";
    check_refused(o, "lr_scheduler_type", "another schedule");
    o = run_options("ratio");
    o.train.lr_scheduler_type = "constant_with_warmup";
    o.train.warmup_steps = 0;
    o.train.warmup_ratio = 0.25; /* 2 of 7 steps, 3 of 11 */
    REQUIRE_OK(run_here(&o, 2, &err), err);
    o.train.max_steps = 11;
    o.resume_from_checkpoint = "last";
    check_refused(o, "with warmup_steps, and not warmup_ratio, constant_with_warmup", "a ratio");
    o = run_options("longer-constant");
    o.train.lr_scheduler_type = "constant";
    o.resume_from_checkpoint = "last";
    check_refused(o, "11 steps are done, more than the 7 that max_steps", "fewer steps");
    o.resume_from_checkpoint = NULL;
    check_refused(o, "--resume-from-checkpoint last takes it up for more epochs or steps",
                  "finished");
}

/* An interrupted run is given more epochs; one whose schedule does not allow it is trained further
 * from its adapter, as the message says. */
static void test_longer_epochs(void)
{
    nib_finetune_options whole = run_options("whole"), o = run_options("longer");
    nib_error err;
    char adapter[700];

    whole.train.max_steps = o.train.max_steps = -1;
    whole.train.num_train_epochs = 4;
    o.train.num_train_epochs = 2;
    whole.train.lr_scheduler_type = o.train.lr_scheduler_type = "constant";
    whole.train.save_steps = o.train.save_steps = 1;
    REQUIRE_OK(run_here(&whole, 2, &err), err);
    REQUIRE(WIFSIGNALED(run_killed(o, 4, 1)), "it ended by itself");
    o.train.num_train_epochs = 4;
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "other bytes");

    o = run_options("cosine");
    o.train.lr_scheduler_type = "cosine";
    REQUIRE_OK(run_here(&o, 2, &err), err);
    o.train.max_steps = 9;
    o.resume_from_checkpoint = "last";
    check_refused(o, "with another output_dir trains its adapter further with a fresh optimizer",
                  "cosine");
    snprintf(adapter, sizeof adapter, "%s/checkpoint-7", o.output_dir);
    o.resume_from_checkpoint = NULL;
    o.adapter = adapter;
    o.output_dir = run_path("further");
    REQUIRE_OK(run_here(&o, 2, &err), err);
    CHECK(run_exists(o.output_dir, "adapter_model.safetensors"), "no adapter");
}

static bool was_best[64];
static void keep_best(void *user, const nib_eval_report *r)
{
    (void)user;
    if (r->step < 64) was_best[r->step] = r->best;
}

/* save_strategy best: a checkpoint where an evaluation is better than all before, no other. */
static void test_save_best(void)
{
    nib_finetune_options o = eval_options("whole"), other = eval_options("steps");
    int saved = 0;
    nib_error err;

    o.train.save_strategy = "best";
    o.train.metric_for_best_model = "loss";
    o.train.save_total_limit = 0;
    o.train.save_steps = 500;
    o.on_evaluate = keep_best;
    REQUIRE_OK(run_here(&o, 2, &err), err);
    for (int i = 1; i <= 12; i++) {
        char name[64];
        snprintf(name, sizeof name, "checkpoint-%d/nibble_state.json", i);
        CHECK(run_exists(o.output_dir, name) == was_best[i], "step %d: %s", i,
              was_best[i] ? "the best, and not saved" : "saved, and not the best");
        saved += was_best[i];
    }
    CHECK(saved > 1 && saved < 12, "%d of 12 are the best so far: the test shows nothing", saved);
    REQUIRE_OK(run_here(&other, 2, &err), err);
    CHECK(run_same(o.output_dir, other.output_dir, "adapter_model.safetensors"), "another best");
    o.train.metric_for_best_model = NULL;
    check_refused(o, "needs metric_for_best_model", "no metric");
    o.train.eval_strategy = "no";
    check_refused(o, "save_strategy best needs eval_strategy", "no evaluation");
}

static void test_early_stopping(void)
{
    nib_finetune_options o = eval_options("whole"), killed = eval_options("killed");
    nib_error err;
    int last = 0;

    o.train.early_stopping_patience = killed.train.early_stopping_patience = 2;
    o.train.metric_for_best_model = killed.train.metric_for_best_model = "perplexity";
    o.train.max_steps = killed.train.max_steps = 40;
    o.on_evaluate = keep_eval;
    memset(seen, 0, sizeof seen);
    REQUIRE_OK(run_here(&o, 2, &err), err);
    while (last < 40 && seen[last + 1] > 0) last++;
    CHECK(last > 2 && last < 40, "ended after step %d", last);
    CHECK(seen[last] >= seen[last - 2] && seen[last - 1] >= seen[last - 2], "ended too early");
    for (int k = 2; k <= last; k++) (void)run_killed(killed, k, 1);
    REQUIRE_OK(run_here(&killed, 1, &err), err);
    CHECK(run_same(o.output_dir, killed.output_dir, "adapter_model.safetensors"),
          "killed, other bytes");
}

static void test_strategies(void)
{
    nib_finetune_options o = eval_options("out");
    nib_error err;

    o.train.save_steps = 3;
    o.train.eval_steps = 2;
    check_refused(o, "no multiple of eval_steps 2", "save_steps 3, eval_steps 2");
    o.train.save_strategy = "epoch";
    check_refused(o, "must be the same", "epoch and steps");
    o.train.eval_strategy = "no";
    check_refused(o, "needs eval_strategy", "best without evaluation");
    o.train.eval_strategy = "often";
    check_refused(o, "'often'", "an unknown word");
    o = eval_options("out");
    o.eval_data = NULL;
    check_refused(o, "needs eval_data", "no data");
    o = eval_options("out");
    o.train.report_to = "jsonl,wandb";
    check_refused(o, "'wandb'", "report_to");
    o = eval_options("out");
    o.train.metric_for_best_model = "eval_bleu";
    check_refused(o, "eval_bleu", "metric");
    o = eval_options("epochs");
    o.train.save_strategy = o.train.eval_strategy = o.train.logging_strategy = "epoch";
    o.train.save_total_limit = 0;
    o.train.max_steps = 7; /* epochs end after steps 3 and 6, the third is broken off at 7 */
    REQUIRE_OK(run_here(&o, 2, &err), err);
    CHECK(run_exists(o.output_dir, "checkpoint-3") && run_exists(o.output_dir, "checkpoint-6") &&
              run_exists(o.output_dir, "checkpoint-7") && !run_exists(o.output_dir, "checkpoint-4"),
          "at epochs");
}

int main(void)
{
    static const test_case cases[] = {
        { "every_step", test_every_step }, { "kinds", test_kinds },
        { "optimizers", test_optimizers }, { "random_kills", test_random_kills },
        { "random_kills_paged", test_random_kills_paged }, { "interrupted", test_interrupted },
        { "identity", test_identity }, { "rules", test_rules }, { "other_isa", test_other_isa },
        { "torn", test_torn }, { "by_name", test_by_name }, { "directory", test_directory },
        { "limit", test_limit }, { "longer", test_longer },
        { "longer_epochs", test_longer_epochs }, { "best", test_best },
        { "save_best", test_save_best }, { "early_stopping", test_early_stopping },
        { "strategies", test_strategies },
    };
    return test_main("resume", cases, NIB_COUNT(cases));
}
