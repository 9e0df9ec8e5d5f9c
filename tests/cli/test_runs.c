/* test_runs.c - nibble runs: what output directories say of their runs. */
#include "program.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static void train(const char *name, const char *steps, const char *rate, const char *more)
{
    char out[600];
    program_end e;

    snprintf(out, sizeof out, "%s/runs/%s", test_tmpdir(), name);
    REQUIRE(NIBBLE(&e, "train", test_data("models/pico"), "--data", test_data("models/shop.jsonl"),
                   "-o", out, "--max-steps", steps, "--lr", rate, "--val-size", "0.1",
                   "--logging-steps", "1", "--defaults", "peft", "--compute-dtype", "float32",
                   more));
    REQUIRE(e.exit_code == 0, "%s", e.said);
}

static const json_t *find(const json_t *report, const char *name)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(report, "runs"), i, row) {
        const char *run = json_string_value(json_object_get(row, "run"));
        if (strcmp(strrchr(run, '/') + 1, name) == 0) return row;
    }
    return NULL;
}

static bool is(const json_t *row, const char *key, const char *text)
{
    const char *v = json_string_value(json_object_get(row, key));
    return v && strcmp(v, text) == 0;
}

/* Position of a run among the lines of the table; large when it is not there. */
static size_t place(const char *table, const char *name)
{
    const char *at = strstr(table, name);
    return at ? (size_t)(at - table) : (size_t)-1;
}

static void test_table(void)
{
    char dir[600], path[700];
    const json_t *row, *keys;
    json_t *report;
    program_end e;
    int lock;

    snprintf(dir, sizeof dir, "%s/runs", test_tmpdir());
    REQUIRE(mkdir(dir, 0777) == 0);
    train("slow", "8", "1e-4", "--rank=8");
    train("fast", "8", "5e-3", "--rank=4");
    train("wild", "12", "100", "--max-grad-norm=100000");
    REQUIRE(NIBBLE(&e, "runs", dir, "--json"));
    REQUIRE(e.exit_code == 0 && (report = json_loads(e.out, 0, NULL)), "%s%s", e.out, e.said);
    row = find(report, "fast");
    keys = json_object_get(report, "differ");
    CHECK(is(row, "state", "finished") && is(find(report, "slow"), "state", "finished") &&
              is(find(report, "wild"), "state", "diverged"),
          "%s", e.out);
    CHECK(json_integer_value(json_object_get(row, "step")) == 8 &&
              json_integer_value(json_object_get(row, "steps")) == 8 &&
              json_number_value(json_object_get(row, "eval_loss")) > 0 &&
              json_number_value(json_object_get(row, "seconds")) > 0 &&
              json_integer_value(json_object_get(row, "peak_memory_bytes")) > 1000000,
          "%s", e.out);
    CHECK(is(json_object_get(row, "settings"), "r", "4") && json_array_size(keys) == 4, "%s",
          e.out); /* r, max_steps, learning_rate, max_grad_norm: no output_dir */
    json_decref(report);

    REQUIRE(NIBBLE(&e, "runs", dir, "--sort", "eval_loss"));
    CHECK(e.exit_code == 0 && place(e.out, "/fast") < place(e.out, "/slow") &&
              place(e.out, "/slow") < place(e.out, "/wild") && has(e.out, "learning_rate") &&
              has(e.out, "8/8") && has(e.out, "MiB") && !has(e.out, "lora_alpha"),
          "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "runs", dir, "--sort", "-lr"));
    CHECK(place(e.out, "/wild") < place(e.out, "/fast") &&
              place(e.out, "/fast") < place(e.out, "/slow"),
          "%s%s", e.out, e.said);

    /* a mark without a writer is a run that was killed; with one it is running */
    snprintf(path, sizeof path, "%s/fast/.nibble-run.json", dir);
    REQUIRE((lock = open(path, O_CREAT | O_WRONLY, 0666)) >= 0);
    close(lock);
    snprintf(path, sizeof path, "%s/slow/.nibble-lock", dir);
    REQUIRE((lock = open(path, O_CREAT | O_RDWR, 0666)) >= 0 && flock(lock, LOCK_EX) == 0);
    REQUIRE(NIBBLE(&e, "runs", dir, "--json"));
    REQUIRE(report = json_loads(e.out, 0, NULL), "%s", e.said);
    CHECK(is(find(report, "fast"), "state", "interrupted") &&
              is(find(report, "slow"), "state", "running"),
          "%s", e.out);
    json_decref(report);
    close(lock);
}

/* All that stands in a file now; waits until `part` is in it. */
static bool wait_for(const char *path, const char *part, char *text, size_t room)
{
    for (int tries = 0; tries < 600; tries++) {
        FILE *f = fopen(path, "r");
        size_t n = f ? fread(text, 1, room - 1, f) : 0;
        if (f) fclose(f);
        text[n] = 0;
        if (has(text, part)) return true;
        usleep(50000);
    }
    return false;
}

/* A run that is running is followed until it is not: the table again when it has changed. */
static void test_watch(void)
{
    char dir[600], path[700], out[700], text[8192];
    program_end e;
    FILE *f;
    int lock, child;

    snprintf(dir, sizeof dir, "%s/run", test_tmpdir());
    REQUIRE(mkdir(dir, 0777) == 0);
    snprintf(path, sizeof path, "%s/recipe.yaml", dir);
    REQUIRE(f = fopen(path, "w"));
    fputs("r: 8\n", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/trainer_state.json", dir);
    REQUIRE(f = fopen(path, "w"));
    fputs("{\"global_step\": 1, \"max_steps\": 2, \"log_history\": []}", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/.nibble-lock", dir);
    REQUIRE((lock = open(path, O_CREAT | O_RDWR, 0666)) >= 0 && flock(lock, LOCK_EX) == 0);
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    const char *const arguments[] = { "runs", dir, "--watch", NULL };
    const program_run run = { .arguments = arguments, .out_path = out };
    REQUIRE(program_start(&run, &child));
    CHECK(wait_for(out, "running", text, sizeof text), "%s", text);
    unlink(path);
    close(lock);
    CHECK(program_wait(&run, child, &e) && e.exit_code == 0, "%d: %s", e.exit_code, e.said);
    CHECK(wait_for(out, "finished", text, sizeof text) &&
          place(text, "running") < place(text, "finished"), "%s", text);
}

static void test_refused(void)
{
    char dir[600], path[700];
    program_end e;
    FILE *f;

    REQUIRE(NIBBLE(&e, "runs"));
    CHECK(e.exit_code == 2 && has(e.said, "missing argument DIR"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "runs", "/no/such/dir"));
    CHECK(e.exit_code == 1 && has(e.said, "/no/such/dir: it is not there"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "runs", test_data("models/pico")));
    CHECK(e.exit_code == 1 && has(e.said, "it holds no training run"), "%s", e.said);
    snprintf(dir, sizeof dir, "%s/bad", test_tmpdir());
    REQUIRE(mkdir(dir, 0777) == 0);
    snprintf(path, sizeof path, "%s/recipe.yaml", dir);
    REQUIRE(f = fopen(path, "w"));
    fputs("r: 8\n", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/trainer_state.json", dir);
    REQUIRE(f = fopen(path, "w"));
    fputs("{\"global_step\": 1, \"log_history\": 7}", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "runs", dir));
    CHECK(e.exit_code == 1 && has(e.said, "trainer_state.json") && !*e.out, "%s", e.said);
    REQUIRE(f = fopen(path, "w"));
    fputs("{\"global_step\": 1, \"max_steps\": 2, \"log_history\": []}", f);
    fclose(f);
    REQUIRE(NIBBLE(&e, "runs", dir, "--sort", "nothing"));
    CHECK(e.exit_code == 1 && has(e.said, "sort: no run has 'nothing'"), "%s%s", e.out, e.said);
}

/* A row of the first plot: its text behind the frame; NULL: there are fewer. */
static const char *plot_row(const char *out, size_t row)
{
    const char *at = strstr(out, "loss by step");

    for (size_t i = 0; at && i <= row; i++) at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    return at && (at = strchr(at, '|')) ? at + 1 : NULL;
}

static size_t line_of(const char *text) { return strcspn(text, "\n"); }

/* Two histories made by hand: one falls along a straight line, one stays; the picture is known. */
static void write_run(const char *name, double first, double last)
{
    char path[700];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    REQUIRE(mkdir(path, 0777) == 0);
    snprintf(path, sizeof path, "%s/%s/recipe.yaml", test_tmpdir(), name);
    REQUIRE(f = fopen(path, "w"));
    fputs("seed: 1\n", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/%s/trainer_state.json", test_tmpdir(), name);
    REQUIRE(f = fopen(path, "w"));
    fputs("{\"global_step\": 12, \"max_steps\": 12, \"epoch\": 1.0, \"log_history\": [", f);
    for (int i = 1; i <= 12; i++)
        fprintf(f, "%s{\"epoch\": 1.0, \"grad_norm\": 1.0, \"learning_rate\": 0.1, \"loss\": %g, "
                "\"step\": %d}", i > 1 ? ", " : "", first + (last - first) * (i - 1) / 11, i);
    fputs("]}\n", f);
    fclose(f);
}

static void test_plot(void)
{
    char falls[600], stays[600];
    program_end e;

    snprintf(falls, sizeof falls, "%s/falls", test_tmpdir());
    snprintf(stays, sizeof stays, "%s/stays", test_tmpdir());
    write_run("falls", 12, 1);
    write_run("stays", 6, 6);
    setenv("LC_ALL", "C", 1);
    REQUIRE(NIBBLE(&e, "runs", falls, "--plot"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    CHECK(has(e.out, "      12 |") && has(e.out, "       1 |") && has(e.out, "loss by step\n") &&
              !has(e.out, "logarithmic") && !has(e.out, "eval_loss by"), "%s", e.out);
    for (size_t row = 0; row < 12; row++) { /* 70 characters fall by 12 */
        const char *at = plot_row(e.out, row);
        size_t from = at ? strspn(at, " ") : 0, to = at ? line_of(at) : 0;
        CHECK(at && strspn(at + from, "*") == to - from && to > from, "row %zu: %s", row, e.out);
        CHECK(at && from <= row * 70 / 11 && to >= row * 69 / 11, "row %zu from %zu to %zu", row,
              from, to);
    }
    REQUIRE(NIBBLE(&e, "runs", falls, stays, "--plot"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    CHECK(has(e.out, " a  ") && has(e.out, " b  ") && !has(e.out, "*"), "%s", e.out);
    CHECK(plot_row(e.out, 0)[0] == 'a' && !memchr(plot_row(e.out, 0), 'b',
                                                  line_of(plot_row(e.out, 0))), "%s", e.out);
    CHECK(strspn(plot_row(e.out, 7), "ab#") == 70 || strspn(plot_row(e.out, 6), "ab#") == 70, "%s",
          e.out); /* the level one, across the whole width */

    setenv("LC_ALL", "de_DE.UTF-8", 1);
    setenv("TERM", "xterm", 1);
    REQUIRE(NIBBLE(&e, "runs", falls, "--plot"));
    /* its first character: dots 1 and 5 or more of the upper left, U+28xx */
    CHECK(e.exit_code == 0 && memcmp(plot_row(e.out, 0), "\xe2\xa0", 2) == 0 &&
              (plot_row(e.out, 0)[2] & 1), "%s", e.out);
    CHECK(!has(e.out, "*"), "%s", e.out);
    setenv("NO_UNICODE", "1", 1);
    REQUIRE(NIBBLE(&e, "runs", falls, "--plot"));
    CHECK(e.exit_code == 0 && plot_row(e.out, 0)[0] == '*', "%s", e.out);
    unsetenv("NO_UNICODE");
    REQUIRE(NIBBLE(&e, "runs", falls, "--plot", "--json"));
    CHECK(e.exit_code != 0 && has(e.said, "JSON is asked for"), "%s", e.said);
}

int main(void)
{
    static const test_case cases[] = { { "table", test_table }, { "watch", test_watch },
                                       { "plot", test_plot },
                                       { "refused", test_refused } };
    return test_main("runs", cases, sizeof cases / sizeof *cases);
}
