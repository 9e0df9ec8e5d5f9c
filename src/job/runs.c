/* runs.c - see nibble/runs.h: which directories, what differs, the order, the table. */
#include "nibble/runs.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "format/json.h"
#include "job/run_plot.h"
#include "job/run_row.h"

typedef struct table {
    nib_ctx *ctx;
    json_t *rows;    /* [run_row.h's objects] */
    json_t *differ;  /* [keys of settings] */
} table;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "runs: out of memory");
}

/* --- which --- */

static nib_status add_run(table *t, const char *dir, nib_error *err)
{
    json_t *row = NULL;
    nib_status status = nib_run_row(t->ctx, dir, &row, err);

    if (!status && json_array_append_new(t->rows, row)) status = no_memory(err);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The runs in a folder, by their names. */
static nib_status add_folder(table *t, const char *dir, nib_error *err)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    char **names = NULL;
    size_t count = 0, room = 0, added = 0;
    nib_status status = d ? NIB_OK : nib_fail(err, NIB_E_IO, "%s: it cannot be read as a folder",
                                              dir);

    while (!status && (e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        if (!nib_grow(t->ctx, &names, &room, count + 1, sizeof *names) ||
            !(names[count] = nib_sprintf(t->ctx, "%s/%s", dir, e->d_name)))
            status = no_memory(err);
        else count++;
    }
    if (count) qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count && !status; i++) {
        if (!nib_is_run(t->ctx, names[i])) continue;
        status = add_run(t, names[i], err);
        added++;
    }
    if (!status && !added)
        status = nib_fail(err, NIB_E_INVALID, "%s: it holds no training run: recipe.yaml with "
                          "trainer_state.json or a checkpoint, here or one folder below", dir);
    for (size_t i = 0; i < count; i++) nib_free(t->ctx, names[i]);
    nib_free(t->ctx, names);
    if (d) closedir(d);
    return status;
}

/* --- what differs --- */

static const json_t *setting(const json_t *row, const char *key)
{
    return json_object_get(json_object_get(row, "settings"), key);
}

static bool differs(const json_t *rows, const char *key)
{
    const json_t *first = NULL, *row;
    bool known = false;
    size_t i;

    if (strcmp(key, "output_dir") == 0) return false; /* the run itself */
    json_array_foreach(rows, i, row) {
        const json_t *other = setting(row, key);
        if (!json_object_size(json_object_get(row, "settings"))) continue; /* not known yet */
        if (!known) {
            first = other;
            known = true;
        }
        if (!first != !other || (first && !json_equal(first, other))) return true;
    }
    return false;
}

/* In the order of the recipes. */
static nib_status find_differences(table *t, nib_error *err)
{
    json_t *seen = json_object(), *row, *value;
    const char *key;
    size_t i;
    bool good = seen != NULL;

    json_array_foreach(t->rows, i, row) {
        json_object_foreach(json_object_get(row, "settings"), key, value) {
            if (!good || json_object_get(seen, key)) continue;
            good = json_object_set_new(seen, key, json_true()) == 0;
            if (good && differs(t->rows, key))
                good = json_array_append_new(t->differ, json_string(key)) == 0;
        }
    }
    json_decref(seen);
    return good ? NIB_OK : no_memory(err);
}

/* --- the order --- */

static const json_t *value_of(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);

    return v && !json_is_object(v) ? v : setting(row, key);
}

/* A number, also where a recipe spells it; else NaN. */
static double number_of(const json_t *v)
{
    char *end;
    double x;

    if (json_is_number(v)) return json_number_value(v);
    if (!json_is_string(v) || !*json_string_value(v)) return (double)NAN;
    x = strtod(json_string_value(v), &end);
    return *end ? (double)NAN : x;
}

/* Runs without a value come last, whichever way. */
static int compare(const json_t *a, const json_t *b, const char *key, bool down)
{
    const json_t *x = value_of(a, key), *y = value_of(b, key);
    double m = number_of(x), n = number_of(y);
    int order;

    if (!x || !y) return !x - !y;
    if (isnan(m) != isnan(n)) return isnan(m) - isnan(n);
    order = isnan(m) ? strcmp(json_string_value(x), json_string_value(y)) : (m > n) - (m < n);
    return down ? -order : order;
}

static nib_status sort_rows(table *t, const char *by, nib_error *err)
{
    size_t count = json_array_size(t->rows);
    bool down = by && *by == '-', known = false;
    const char *key = down ? by + 1 : by;

    if (!by) return NIB_OK;
    for (size_t i = 0; i < count && !known; i++)
        known = value_of(json_array_get(t->rows, i), key) != NULL;
    if (!known)
        return nib_fail(err, NIB_E_INVALID, "sort: no run has '%s'; there are run, state, step, "
                        "epoch, loss, train_loss, eval_loss and other scores, seconds, "
                        "peak_memory_bytes, and the keys of recipe.yaml", key);
    for (size_t i = 1; i < count; i++) /* few runs, and equal ones keep their order */
        for (size_t k = i; k > 0; k--) {
            json_t *a = json_array_get(t->rows, k - 1), *b = json_array_get(t->rows, k);
            if (compare(a, b, key, down) <= 0) break;
            json_incref(a);
            json_incref(b);
            json_array_set_new(t->rows, k - 1, b);
            json_array_set_new(t->rows, k, a);
        }
    return NIB_OK;
}

/* --- for people --- */

enum { MOST_COLUMNS = 64, CELL = 48 };

/* of_settings: the recipe's key, where a row has a value of the same name ("loss"). */
typedef struct column { const char *name, *title; bool of_settings; size_t width; } column;

static const json_t *cell_of(const json_t *row, const column *c)
{
    return c->of_settings ? setting(row, c->name) : value_of(row, c->name);
}

static void print_cell(const json_t *row, const column *c, char out[CELL])
{
    const json_t *v = cell_of(row, c);
    const char *name = c->of_settings ? "" : c->name;
    double x = json_number_value(v);

    if (strcmp(name, "step") == 0 && v)
        snprintf(out, CELL, "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT, json_integer_value(v),
                 json_integer_value(json_object_get(row, "steps")));
    else if (!v) snprintf(out, CELL, "-");
    else if (strcmp(name, "seconds") == 0 && x >= 60)
        snprintf(out, CELL, "%.0f:%02.0f h", floor(x / 3600), floor(fmod(x, 3600) / 60));
    else if (strcmp(name, "seconds") == 0) snprintf(out, CELL, "%.0f s", x);
    else if (strcmp(name, "peak_memory_bytes") == 0)
        snprintf(out, CELL, "%.0f MiB", x / 1048576);
    else if (json_is_number(v)) snprintf(out, CELL, "%.4g", x);
    else snprintf(out, CELL, "%.40s%s", json_string_value(v),
                  json_string_length(v) > 40 ? "..." : "");
}

/* A column that no run has a value for is left out. */
static void add_column(const table *t, column *to, size_t *count, const char *name,
                       const char *title, bool of_settings)
{
    column c = { name, title, of_settings, strlen(title) };
    const json_t *row;
    bool any = false;
    size_t i;

    json_array_foreach(t->rows, i, row) {
        char cell[CELL];
        print_cell(row, &c, cell);
        any |= cell_of(row, &c) != NULL;
        c.width = nib_max(c.width, strlen(cell));
    }
    if (any && *count < MOST_COLUMNS) to[(*count)++] = c;
}

static size_t make_columns(const table *t, column *to)
{
    static const char *const scores[] = { "eval_perplexity", "eval_accuracy", "eval_f1",
                                          "eval_matthews_correlation", "eval_mse", "eval_pearson",
                                          "eval_spearmanr", "eval_recall@1", "eval_mrr@10",
                                          "eval_overall_f1", "eval_exact_match", "eval_chrf",
                                          "eval_rougeL", "eval_json_valid", "eval_exact",
                                          "eval_contains", "eval_json_fields" };
    const json_t *key;
    size_t count = 0, i;

    add_column(t, to, &count, "state", "state", false);
    add_column(t, to, &count, "step", "step", false);
    json_array_foreach(t->differ, i, key)
        if (count < MOST_COLUMNS - NIB_COUNT(scores) - 4)
            add_column(t, to, &count, json_string_value(key), json_string_value(key),
                       true);
    add_column(t, to, &count, "loss", "loss", false);
    add_column(t, to, &count, "eval_loss", "eval_loss", false);
    for (i = 0; i < NIB_COUNT(scores); i++)
        add_column(t, to, &count, scores[i], scores[i], false);
    add_column(t, to, &count, "seconds", "time", false);
    add_column(t, to, &count, "peak_memory_bytes", "memory", false);
    return count;
}

static nib_status print_table(const table *t, char **out, nib_error *err)
{
    column columns[MOST_COLUMNS];
    size_t count = make_columns(t, columns), widest = 3, i, bytes;
    char *text = NULL;
    FILE *to = open_memstream(&text, &bytes);
    const json_t *row;
    bool bad;

    if (!to) return no_memory(err);
    json_array_foreach(t->rows, i, row)
        widest = nib_max(widest, json_string_length(json_object_get(row, "run")));
    fprintf(to, "%-*s", (int)widest, "run");
    for (size_t k = 0; k < count; k++)
        fprintf(to, "  %*s", (int)columns[k].width, columns[k].title);
    fputc('\n', to);
    json_array_foreach(t->rows, i, row) {
        fprintf(to, "%-*s", (int)widest, json_string_value(json_object_get(row, "run")));
        for (size_t k = 0; k < count; k++) {
            char cell[CELL];
            print_cell(row, &columns[k], cell);
            fprintf(to, "  %*s", (int)columns[k].width, cell);
        }
        fputc('\n', to);
    }
    bad = ferror(to);
    bad |= fclose(to) != 0;
    *out = bad ? NULL : nib_strdup(t->ctx, text);
    free(text);
    return *out ? NIB_OK : no_memory(err);
}

/* The report, with plots of its runs behind it in place of *out. */
static nib_status add_plots(const table *t, const nib_runs_options *o, char **out, nib_error *err)
{
    nib_plot_run runs[NIB_PLOT_MOST];
    nib_trainer_state states[NIB_PLOT_MOST];
    nib_text text = { .ctx = t->ctx };
    size_t wanted = json_array_size(t->rows), count = 0;
    nib_status status = NIB_OK;

    if (wanted > NIB_PLOT_MOST)
        return nib_fail(err, NIB_E_INVALID, "plot: %zu runs, a plot has at most %d: name some of "
                        "them", wanted, NIB_PLOT_MOST);
    nib_text_puts(&text, *out);
    while (count < wanted && !status) {
        const char *dir = json_string_value(
            json_object_get(json_array_get(t->rows, count), "run"));
        runs[count] = (nib_plot_run){ dir, &states[count] };
        status = nib_run_history(t->ctx, dir, &states[count], err);
        count += !status;
    }
    if (!status)
        status = nib_plot_losses(t->ctx, runs, count, (size_t)o->plot_columns, o->ascii, &text,
                                 err);
    if (!status && text.failed) status = no_memory(err);
    while (count) nib_trainer_state_free(&states[--count]);
    if (!status) {
        nib_free(t->ctx, *out);
        *out = nib_strdup(t->ctx, text.data);
        if (!*out) status = no_memory(err);
    }
    nib_text_free(&text);
    return status;
}

static nib_status print_json(const table *t, char **out, nib_error *err)
{
    json_t *root = json_pack("{s:O, s:O}", "runs", t->rows, "differ", t->differ);

    *out = nib_json_dump(t->ctx, root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    json_decref(root);
    return *out ? NIB_OK : no_memory(err);
}

static size_t count_running(const json_t *rows)
{
    const json_t *row;
    size_t i, running = 0;

    json_array_foreach(rows, i, row) {
        const char *state = json_string_value(json_object_get(row, "state"));
        running += state && strcmp(state, "running") == 0;
    }
    return running;
}

nib_status nib_runs(nib_ctx *ctx, const nib_runs_options *options, nib_report_form form, char **out,
                    nib_error *err)
{
    table t = { ctx, json_array(), json_array() };
    nib_status status = t.rows && t.differ ? NIB_OK : no_memory(err);

    if (!status && options->plot_columns > 0 && form == NIB_REPORT_JSON)
        status = nib_fail(err, NIB_E_INVALID, "plot: is for people, and JSON is asked for");
    for (size_t i = 0; i < options->dir_count && !status; i++) {
        const char *dir = options->dirs[i];
        if (!nib_file_exists(dir)) status = nib_fail(err, NIB_E_IO, "%s: it is not there", dir);
        else if (nib_is_run(ctx, dir)) status = add_run(&t, dir, err);
        else status = add_folder(&t, dir, err);
    }
    if (!status) status = find_differences(&t, err);
    if (!status) status = sort_rows(&t, options->sort, err);
    if (!status)
        status = form == NIB_REPORT_JSON ? print_json(&t, out, err) : print_table(&t, out, err);
    if (!status && options->plot_columns > 0) {
        status = add_plots(&t, options, out, err);
        if (status) nib_report_free(ctx, *out);
    }
    if (!status && options->running) *options->running = count_running(t.rows);
    json_decref(t.rows);
    json_decref(t.differ);
    return status;
}
