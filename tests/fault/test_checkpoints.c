/* test_checkpoints.c - a training run with checkpoints and logs meets a fault at each of its calls
 * that change files: it is killed there, in the middle of a write, the call fails, the disk is
 * full.  Each time the same command resumes to the same bytes, and no checkpoint that was whole is
 * ever missing.
 *
 * Three steps with dropout and accumulation, a checkpoint after each, one of them kept.  A run
 * takes some 15 ms and makes some 200 calls, each of which has its turn within a week. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "faulty.h"

typedef struct path { char s[600]; } path;

typedef struct scene { path model, data, whole, work, out, log; } scene;

static path in(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static bool finetune(const scene *s, const char *out, const faulty_run *fault, faulty_end *end)
{
    const char *const arguments[] = { "finetune",
                                      s->model.s,
                                      "--data",
                                      s->data.s,
                                      "--output-dir",
                                      out,
                                      "--max-steps",
                                      "3",
                                      "--defaults",
                                      "peft",
                                      "--r",
                                      "2",
                                      "--lora-dropout",
                                      "0.2",
                                      "--per-device-train-batch-size",
                                      "1",
                                      "--gradient-accumulation-steps",
                                      "2",
                                      "--threads",
                                      "1",
                                      "--compute-dtype",
                                      "float32",
                                      "--save-steps",
                                      "1",
                                      "--save-total-limit",
                                      "1",
                                      "--learning-rate",
                                      "1e-2",
                                      "--report-to",
                                      "all",
                                      NULL };
    faulty_run run = *fault;

    run.arguments = arguments;
    run.under = s->work.s;
    return faulty_nibble(&run, end);
}

static bool clear(const scene *s)
{
    char command[1300];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", s->work.s, s->work.s);
    return system(command) == 0;
}

/* The run without a fault, and how many calls it makes (0: it failed). */
static long set_up(scene *s)
{
    char top[PATH_MAX];
    faulty_end end;
    FILE *f;

    if (!realpath(test_data("tests/golden/models/llama-gqa-tied"), top)) return 0;
    snprintf(s->model.s, sizeof s->model.s, "%.599s", top);
    s->data = in(test_tmpdir(), "data.jsonl");
    s->whole = in(test_tmpdir(), "whole");
    s->work = in(test_tmpdir(), "work");
    s->out = in(s->work.s, "out");
    s->log = in(test_tmpdir(), "log");
    f = fopen(s->data.s, "w");
    if (!f ||
        fputs(
            "{\"input_ids\": [1, 2, 3, 4, 5]}\n{\"input_ids\": [9, 8, 7]}\n{\"input_ids\": [6, 4, "
            "2]}\n",
            f) < 0 ||
        fclose(f))
        return 0;
    if (!finetune(s, s->whole.s, &(faulty_run){ 0 }, &end) || !clear(s) ||
        !finetune(s, s->out.s, &(faulty_run){ .log = s->log.s }, &end))
        return 0;
    CHECK(end.exit_code == 0, "%s", end.said);
    return end.exit_code == 0 ? end.calls : 0;
}

static bool is_finished(const scene *s)
{
    return access(in(s->out.s, "adapter_config.json").s, F_OK) == 0 &&
           access(in(s->out.s, ".nibble-run.json").s, F_OK) != 0;
}

static bool is_right(const scene *s)
{
    static const char *const files[] = { "adapter_model.safetensors", "adapter_config.json",
                                         "checkpoint-3/adapter_model.safetensors",
                                         "checkpoint-3/optimizer.safetensors" };
    for (size_t i = 0; i < NIB_COUNT(files); i++)
        if (!faulty_same_file(in(s->out.s, files[i]).s, in(s->whole.s, files[i]).s)) return false;
    return true;
}

/* The newest checkpoint that has its last file; 0: none. */
static int newest(const scene *s)
{
    for (int n = 3; n > 0; n--) {
        char name[64];
        snprintf(name, sizeof name, "checkpoint-%d/nibble_state.json", n);
        if (access(in(s->out.s, name).s, F_OK) == 0) return n;
    }
    return 0;
}

/* Resumes and ends with the right bytes, nothing left over. */
static void check_recovery(const scene *s, const char *action, long k)
{
    faulty_end end = { .exit_code = 0 };
    path log = in(s->out.s, "log.jsonl");

    if (!is_finished(s) && !finetune(s, s->out.s, &(faulty_run){ 0 }, &end)) return;
    CHECK(end.exit_code == 0, "after %s at call %ld: exit %d: %s", action, k, end.exit_code,
          end.said);
    CHECK(is_right(s), "after %s at call %ld: other bytes", action, k);
    CHECK(faulty_count(s->out.s, "checkpoint-", "") == 1, "after %s at call %ld: %zu checkpoints",
          action, k, faulty_count(s->out.s, "checkpoint-", ""));
    CHECK(access(log.s, F_OK) == 0, "after %s at call %ld: no log", action, k);
}

/* At every seventh call, other ones each day. */
static void test_fault(const char *action, long shift)
{
    long stride = 7, first = 1 + test_first_of_the_day(&stride, shift);
    scene s;
    faulty_end end;
    int before = 0;
    long calls = set_up(&s), ended = 0;
    bool kills = strcmp(action, "kill") == 0 || strcmp(action, "torn") == 0;

    REQUIRE(calls > 100 && is_right(&s), "%ld calls", calls);
    for (long k = first; k <= calls; k = test_next_step(k, stride, calls)) {
        int now;
        REQUIRE(clear(&s) &&
                finetune(&s, s.out.s, &(faulty_run){ .call = k, .action = action }, &end));
        now = newest(&s);
        CHECK(kills ? end.exit_code == -1 : end.exit_code == 0 || end.exit_code == 1,
              "%s at call %ld: exit %d", action, k, end.exit_code);
        CHECK(end.exit_code != 1 || strstr(end.said, "nibble: "), "%s at call %ld: %s", action, k,
              end.said);
        CHECK(!kills || now >= before,
              "%s at call %ld: the newest checkpoint is %d, a call before it was %d", action, k,
              now, before);
        CHECK(end.exit_code != 0 || is_right(&s), "%s at call %ld: exit 0 with other bytes", action,
              k);
        before = now;
        ended += end.exit_code != 0;
        check_recovery(&s, action, k);
    }
    CHECK(ended > 0 || strcmp(action, "short") == 0, "no call mattered");
    CHECK(!kills || before == 3, "the last checkpoint is %d", before);
}

static void test_killed(void) { test_fault("kill", 1); }
static void test_torn(void) { test_fault("torn", 2); }
static void test_no_space(void) { test_fault("enospc", 3); }
static void test_full(void) { test_fault("full", 4); }
static void test_io_error(void) { test_fault("eio", 5); }
static void test_short(void) { test_fault("short", 6); }

/* --- the order --- */

enum { MOST_LINES = 600 };

typedef struct call { char name[16], from[400], to[400]; } call;

static size_t read_log(const char *file, call *calls)
{
    FILE *f = fopen(file, "r");
    char line[900];
    size_t n = 0;

    while (f && n < MOST_LINES && fgets(line, sizeof line, f)) {
        call *c = &calls[n];
        *c = (call){ "", "", "" };
        if (sscanf(line, "%*d\t%15[^\t]\t%*u\t%399[^\t\n]\t%399[^\t\n]", c->name, c->from, c->to) >=
            2)
            n++;
    }
    if (f) fclose(f);
    return n;
}

static bool is(const call *c, const char *name) { return strcmp(c->name, name) == 0; }

static bool synced(const call *calls, size_t from, size_t to, const char *name)
{
    for (size_t i = from; i < to; i++)
        if (is(&calls[i], "fsync") && strcmp(calls[i].from, name) == 0) return true;
    return false;
}

/* A checkpoint is moved into place by call `at`: every file in it was synced under its last name,
 * the directory too; and output_dir is before anything that stood there goes. */
static void check_move(const call *calls, size_t n, size_t at, const char *out)
{
    const call *move = &calls[at];
    size_t bytes = strlen(move->from), gone = at + 1, files = 0;

    for (size_t i = 0; i < at; i++) {
        const call *c = &calls[i];
        if (is(c, "rename") && strncmp(c->to, move->from, bytes) == 0 && c->to[bytes] == '/') {
            bool data = synced(calls, 0, i, c->from) || synced(calls, i, at, c->to);
            CHECK(data, "%s is not synced before call %zu moves the checkpoint", c->to, at + 1);
            CHECK(synced(calls, i, at, move->from),
                  "%s: its directory is not synced before call %zu", c->to, at + 1);
            files++;
        }
    }
    CHECK(files >= 6, "%zu files are in the checkpoint of call %zu", files, at + 1);
    while (gone < n && !((is(&calls[gone], "rename") && strstr(calls[gone].from, "/checkpoint-")) ||
                         (is(&calls[gone], "unlink") && strstr(calls[gone].from, "/checkpoint-"))))
        gone++;
    if (gone < n)
        CHECK(synced(calls, at, gone, out),
              "call %zu takes %s away before the move of call %zu is synced", gone + 1,
              calls[gone].from, at + 1);
}

static void test_order(void)
{
    static call calls[MOST_LINES];
    scene s;
    long made = set_up(&s);
    size_t n = read_log(s.log.s, calls), moves = 0, deleted = 0;

    REQUIRE(made > 0 && n == (size_t)made, "%zu lines of %ld calls", n, made);
    for (size_t i = 0; i < n; i++) {
        if (!is(&calls[i], "rename")) continue;
        if (strncmp(calls[i].to, s.out.s, strlen(s.out.s)) == 0 &&
            strstr(calls[i].to, "/checkpoint-")) {
            check_move(calls, n, i, s.out.s);
            moves++;
        }
        deleted += strstr(calls[i].from, "/checkpoint-") != NULL; /* aside, and then removed */
    }
    CHECK(moves == 3 && deleted == 2, "%zu checkpoints came and %zu went", moves, deleted);
}

static const test_case cases[] = {
    { "killed at each call", test_killed }, { "each write torn by a kill", test_torn },
    { "no space at each call", test_no_space }, { "no space from each call on", test_full },
    { "an error of the disk at each call", test_io_error }, { "each write short", test_short },
    { "synced before moved, moved before old ones go", test_order },
};

int main(void) { return test_main("test_checkpoints", cases, NIB_COUNT(cases)); }
