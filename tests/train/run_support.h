/* run_support.h - a small training run that tests start, kill and start again. */
#ifndef NIB_TESTS_RUN_SUPPORT_H
#define NIB_TESTS_RUN_SUPPORT_H

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/filemap.h"
#include "nibble/finetune.h"
#include "test.h"

static const char run_records
    [] = "{\"input_ids\": [1, 5, 9, 33, 7, 100, 4], \"labels\": [-100, -100, 9, 33, 7, 100, 4]}\n"
         "{\"input_ids\": [3, 4, 5, 6, 7]}\n{\"input_ids\": [90, 80, 70, 60, 50, 40]}\n"
         "{\"input_ids\": [9, 8, 7]}\n{\"input_ids\": [19, 8, 7, 3, 4]}\n";

/* A path below this case's directory; a few live at a time. */
static inline const char *run_path(const char *name)
{
    static char path[16][600];
    static unsigned next;
    char *p = path[next++ % 16];
    snprintf(p, sizeof path[0], "%s/%s", test_tmpdir(), name);
    return p;
}

static inline const char *run_write(const char *name, const char *text)
{
    const char *path = run_path(name);
    FILE *f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
    return path;
}

/* Dropout, noise, accumulation, shuffling: seven steps over three epochs and a bit; a checkpoint
 * every two. */
static inline nib_finetune_options run_options(const char *out)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = test_data("tests/golden/models/llama-gqa-tied");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.model.settings = test_four_bit;
    o.data.data = run_write("data.jsonl", run_records);
    o.output_dir = run_path(out);
    o.lora.r = 4;
    o.lora.lora_dropout = 0.2;
    o.lora.target_modules.all_linear = true;
    o.train.learning_rate = 1e-2;
    o.train.label_smoothing_factor = 0.1;
    o.train.neftune_noise_alpha = 5;
    o.train.per_device_train_batch_size = 1;
    o.train.gradient_accumulation_steps = 2;
    o.train.max_steps = 7;
    o.train.save_steps = 2;
    return o;
}

/* A file of a directory as a string the caller frees; NULL when there is none. */
static inline char *run_bytes(const char *dir, const char *name, size_t *count)
{
    char path[700], *bytes;
    FILE *f;
    long size;

    *count = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    bytes = calloc(1, (size_t)size + 1);
    if (bytes) *count = fread(bytes, 1, (size_t)size, f);
    fclose(f);
    return bytes;
}

static inline bool run_same(const char *dir_a, const char *dir_b, const char *name)
{
    size_t n, m;
    char *a = run_bytes(dir_a, name, &n), *b = run_bytes(dir_b, name, &m);
    bool same = a && b && n == m && memcmp(a, b, n) == 0;
    free(a);
    free(b);
    return same;
}

static inline bool run_exists(const char *dir, const char *name)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return nib_file_exists(path);
}

static inline nib_status run_here(const nib_finetune_options *o, int threads, nib_error *err)
{
    nib_ctx *ctx = test_ctx_threads(threads, NULL);
    nib_status status = nib_finetune(ctx, o, err);
    test_ctx_release(ctx);
    return status;
}

static int run_kill_after;
static inline void run_kill_at(void *user, const nib_step_report *r)
{
    (void)user;
    if (r->step == (uint64_t)run_kill_after) raise(SIGKILL);
}

/* The run in a process of its own, killed after `step`; its wait status. */
static inline int run_killed(nib_finetune_options o, int step, int threads)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        nib_ctx *ctx;
        nib_error err;
        run_kill_after = step;
        o.on_step = run_kill_at;
        if (nib_ctx_create(&(nib_ctx_options){ .threads = threads }, &ctx, &err)) _exit(99);
        if (nib_finetune(ctx, &o, &err)) {
            fprintf(stderr, "%s\n", err.message);
            _exit(1);
        }
        _exit(0);
    }
    if (child > 0) waitpid(child, &status, 0);
    return status;
}

#endif
