/* test_save.c - a write, sync or rename of a training run fails, or is the last thing the process
 * does: the old adapter or the new one is there, whole.  Every third call, other ones each day.
 *
 * A model of two layers is trained for two steps into a directory that holds an adapter of another
 * rank, and into one that does not exist yet.  A run takes some 10 ms. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "faulty.h"

typedef struct path { char s[600]; } path;

typedef struct scene {
    path model, data, old, fresh; /* old: the adapter that is replaced; fresh: what replaces it */
    path work, out;               /* out lies in work, and nothing else does */
    bool replaces;                /* out holds `old` before */
    path log;
} scene;

static path in(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static bool shell(const char *format, const char *a, const char *b)
{
    char command[1400];
    bool good;

    snprintf(command, sizeof command, format, a, b);
    good = system(command) == 0;
    CHECK(good, "%s", command);
    return good;
}

static bool finetune(const scene *s, const char *out, const char *rank, const faulty_run *fault,
                     faulty_end *end)
{
    const char *const arguments[] = {
        "finetune", s->model.s,     "--data", s->data.s,     "--output-dir", out, "--max-steps",
        "2",        "--r",          rank,     "--overwrite", "--threads",    "1", "--compute-dtype",
        "float32",  "--save-steps", "0",      "--defaults",  "peft",         NULL
    };
    faulty_run run = *fault;

    run.arguments = arguments;
    run.under = s->work.s;
    return faulty_nibble(&run, end);
}

/* The old and the new adapter, each made without a fault. */
static bool set_up(scene *s, bool replaces)
{
    char top[PATH_MAX];
    faulty_end end;
    FILE *f;

    if (!realpath(test_data("tests/golden/models/llama"), top)) return false;
    snprintf(s->model.s, sizeof s->model.s, "%.599s", top);
    s->data = in(test_tmpdir(), "data.jsonl");
    s->old = in(test_tmpdir(), "old");
    s->fresh = in(test_tmpdir(), "fresh");
    s->work = in(test_tmpdir(), "work");
    s->out = in(s->work.s, "out");
    s->log = in(test_tmpdir(), "log");
    s->replaces = replaces;
    f = fopen(s->data.s, "w");
    if (!f || fputs("{\"input_ids\": [1, 2, 3, 4, 5]}\n{\"input_ids\": [9, 8, 7]}\n", f) < 0 ||
        fclose(f))
        return false;
    if (!finetune(s, s->old.s, "3", &(faulty_run){ 0 }, &end) ||
        !finetune(s, s->fresh.s, "2", &(faulty_run){ 0 }, &end))
        return false;
    CHECK(end.exit_code == 0, "%s", end.said);
    /* A file of the user's and logs of before, which every save must keep. */
    if (!shell("echo mine > '%s/notes.txt' && mkdir '%s/runs'", s->old.s, s->old.s) ||
        !shell("echo mine > '%s/runs/more.txt'%s", s->old.s, ""))
        return false;
    CHECK(!faulty_same_file(in(s->old.s, "adapter_model.safetensors").s,
                            in(s->fresh.s, "adapter_model.safetensors").s),
          "both adapters are the same");
    return end.exit_code == 0;
}

static bool put_back(const scene *s)
{
    if (!shell("rm -rf '%s' && mkdir '%s'", s->work.s, s->work.s)) return false;
    return !s->replaces || shell("cp -a '%s' '%s'", s->old.s, s->out.s);
}

typedef enum state { BROKEN, OLD, NEW } state;

static bool holds(const char *dir, const char *as)
{
    return faulty_same_file(in(dir, "adapter_model.safetensors").s,
                            in(as, "adapter_model.safetensors").s) &&
           faulty_same_file(in(dir, "adapter_config.json").s, in(as, "adapter_config.json").s);
}

/* What stands at out.  Before the first save nothing can be taken for an adapter: its config comes
 * last. */
static state look(const scene *s)
{
    if (holds(s->out.s, s->fresh.s)) return NEW;
    if (!s->replaces) return access(in(s->out.s, "adapter_config.json").s, F_OK) ? OLD : BROKEN;
    return holds(s->out.s, s->old.s) ? OLD : BROKEN;
}

/* The user's file and the logs of before stand at their places whatever happened. */
static bool kept(const scene *s)
{
    static const char *const names[] = { "notes.txt", "runs/more.txt" };

    for (size_t i = 0; s->replaces && i < NIB_COUNT(names); i++)
        if (!faulty_same_file(in(s->out.s, names[i]).s, in(s->old.s, names[i]).s)) return false;
    return true;
}

enum { STRIDE = 3 }; /* from one call of a walk to the next */

/* --- killed --- */

static void test_killed(bool replaces, const char *action)
{
    scene s;
    faulty_end end;
    state before = OLD;
    long calls, stride = STRIDE, first = 1 + test_first_of_the_day(&stride, *action == 't');

    REQUIRE(set_up(&s, replaces) && put_back(&s));
    REQUIRE(finetune(&s, s.out.s, "2", &(faulty_run){ 0 }, &end) && end.exit_code == 0, "%s",
            end.said);
    calls = end.calls;
    CHECK(calls > 15 && look(&s) == NEW, "%ld calls", calls);
    for (long k = first; k <= calls; k = test_next_step(k, stride, calls)) {
        state now;
        REQUIRE(put_back(&s) &&
                finetune(&s, s.out.s, "2", &(faulty_run){ .call = k, .action = action }, &end));
        now = look(&s);
        CHECK(end.exit_code == -1, "call %ld: exit %d", k, end.exit_code);
        CHECK(now != BROKEN && now >= before && kept(&s),
              "%s at call %ld of %ld: what is there is state %d", action, k, calls, now);
        before = now;
        /* Nothing that is left over is in the way of the next run. */
        REQUIRE(finetune(&s, s.out.s, "2", &(faulty_run){ 0 }, &end));
        CHECK(end.exit_code == 0 && look(&s) == NEW && kept(&s),
              "after %s at call %ld: exit %d: %s", action, k, end.exit_code, end.said);
    }
    CHECK(before == NEW, "no call came after the new adapter was in place");
}

static void test_killed_replacing(void) { test_killed(true, "kill"); }
static void test_killed_fresh(void) { test_killed(false, "kill"); }
static void test_torn(void) { test_killed(true, "torn"); }

/* --- failed --- */

static void check_failed(const scene *s, const char *action, long k, const faulty_end *end)
{
    const char *says = strcmp(action, "eio") == 0 ? "Input/output error"
                                                  : "No space left on device";
    state now = look(s);

    CHECK(end->exit_code == 0 || end->exit_code == 1, "%s at call %ld: exit %d", action, k,
          end->exit_code);
    CHECK(now != BROKEN && kept(s), "%s at call %ld: what is there is state %d", action, k, now);
    CHECK(end->exit_code != 0 || now == NEW,
          "%s at call %ld: exit 0, but the new adapter is not there", action, k);
    if (end->exit_code == 1)
        CHECK(strstr(end->said, says) && strstr(end->said, "nibble: "), "%s at call %ld: %s",
              action, k, end->said);
}

static void test_failing(bool replaces, const char *action)
{
    scene s;
    faulty_end end;
    long calls, failed = 0, left = 0, stride = STRIDE;
    long first = 1 + test_first_of_the_day(&stride, *action == 'f');

    REQUIRE(set_up(&s, replaces) && put_back(&s));
    REQUIRE(finetune(&s, s.out.s, "2", &(faulty_run){ 0 }, &end) && end.exit_code == 0, "%s",
            end.said);
    calls = end.calls;
    for (long k = first; k <= calls; k = test_next_step(k, stride, calls)) {
        REQUIRE(put_back(&s) &&
                finetune(&s, s.out.s, "2", &(faulty_run){ .call = k, .action = action }, &end));
        check_failed(&s, action, k, &end);
        failed += end.exit_code == 1;
        left += look(&s) == OLD && faulty_count(s.work.s, ".nibble-", ".tmp");
    }
    CHECK(failed > 10 / stride, "%ld of %ld calls made the run fail", failed, calls);
    CHECK(left == 0, "%ld failed runs left a temporary directory behind", left);
}

static void test_no_space(void) { test_failing(true, "enospc"); }
static void test_no_space_fresh(void) { test_failing(false, "enospc"); }
static void test_full(void) { test_failing(true, "full"); }
static void test_io_error(void) { test_failing(true, "eio"); }

/* A short write is no failure: the rest is written. */
static void test_short(void)
{
    scene s;
    faulty_end end;
    long calls, stride = STRIDE, first = 1 + test_first_of_the_day(&stride, 0);

    REQUIRE(set_up(&s, true) && put_back(&s));
    REQUIRE(finetune(&s, s.out.s, "2", &(faulty_run){ 0 }, &end) && end.exit_code == 0, "%s",
            end.said);
    calls = end.calls;
    for (long k = first; k <= calls; k = test_next_step(k, stride, calls)) {
        REQUIRE(put_back(&s) &&
                finetune(&s, s.out.s, "2", &(faulty_run){ .call = k, .action = "short" }, &end));
        CHECK(end.exit_code == 0 && look(&s) == NEW, "call %ld: exit %d: %s", k, end.exit_code,
              end.said);
    }
}

/* A directory that cannot change places with another (here by its name, as a mount point): file by
 * file. */
static void test_fixed_place(void)
{
    scene s;
    faulty_end end;

    REQUIRE(set_up(&s, true) && put_back(&s));
    REQUIRE(finetune(&s, in(s.out.s, ".").s, "2", &(faulty_run){ 0 }, &end));
    CHECK(end.exit_code == 0 && look(&s) == NEW && kept(&s), "exit %d: %s", end.exit_code,
          end.said);
    CHECK(strstr(end.said, "one after the other"), "%s", end.said);
    CHECK(faulty_count(s.out.s, ".nibble-", ".tmp") == 0, "a temporary directory is left");
}

/* --- the order, which a kill cannot show: what a power cut may undo --- */

enum { MOST_LINES = 400 };

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

/* Whether `name` is an entry of `dir`, or of a directory below it. */
static bool lies_in(const char *name, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(name, dir, n) == 0 && name[n] == '/';
}

static bool entry_of(const char *name, const char *dir)
{
    return lies_in(name, dir) && !strchr(name + strlen(dir) + 1, '/');
}

static bool synced(const call *calls, size_t from, size_t to, const char *name)
{
    for (size_t i = from; i < to; i++)
        if (is(&calls[i], "fsync") && strcmp(calls[i].from, name) == 0) return true;
    return false;
}

/* Before a name is moved into place: what was written to the file is synced; of a directory,
 * whatever was put into it.  Afterwards: the directory that holds the new name, before anything is
 * removed that stood elsewhere under a name that lasts. */
static void check_order(const call *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const call *move = &calls[i];
        char parent[400];
        size_t next;

        if (!is(move, "rename") && !is(move, "exchange")) continue;
        for (size_t k = 0; k < i; k++) {
            const call *c = &calls[k];
            bool writes = is(c, "pwrite") || is(c, "write") || is(c, "ftruncate");
            const char *made = *c->to ? c->to : c->from;
            if (writes && strcmp(c->from, move->from) == 0)
                CHECK(synced(calls, k, i, c->from),
                      "call %zu moves %s, written by call %zu and not synced", i + 1, move->from,
                      k + 1);
            if ((is(c, "create") || is(c, "link") || is(c, "rename") || is(c, "mkdir")) &&
                entry_of(made, move->from))
                CHECK(synced(calls, k, i, move->from),
                      "call %zu moves %s, where call %zu put a name, not synced", i + 1, move->from,
                      k + 1);
        }
        snprintf(parent, sizeof parent, "%.399s", move->to);
        *strrchr(parent, '/') = 0;
        for (next = i + 1; next < n && !is(&calls[next], "unlink") && !is(&calls[next], "rmdir");
             next++)
            continue;
        if (next < n)
            CHECK(synced(calls, i, next, parent),
                  "call %zu removes %s before the move of call %zu is synced", next + 1,
                  calls[next].from, i + 1);
    }
}

static void test_order(void)
{
    static call calls[MOST_LINES];
    scene s;
    faulty_end end;
    size_t n, moves = 0;

    REQUIRE(set_up(&s, true) && put_back(&s));
    REQUIRE(finetune(&s, s.out.s, "2", &(faulty_run){ .log = s.log.s }, &end) && end.exit_code == 0,
            "%s", end.said);
    n = read_log(s.log.s, calls);
    CHECK(n == (size_t)end.calls, "%zu lines of %ld calls", n, end.calls);
    for (size_t i = 0; i < n; i++) moves += is(&calls[i], "exchange");
    CHECK(moves == 1, "%zu exchanges", moves);
    check_order(calls, n);
}

static const test_case cases[] = {
    { "killed at each call, replacing an adapter", test_killed_replacing },
    { "killed at each call, in a new directory", test_killed_fresh },
    { "each write torn by a kill", test_torn },
    { "no space at each call", test_no_space },
    { "no space at each call, in a new directory", test_no_space_fresh },
    { "no space from each call on", test_full },
    { "an error of the disk at each call", test_io_error },
    { "each write short", test_short },
    { "a place that cannot be swapped", test_fixed_place },
    { "synced before moved, moved before removed", test_order },
};

int main(void) { return test_main("test_save", cases, NIB_COUNT(cases)); }
