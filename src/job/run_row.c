/* run_row.c - see run_row.h. */
#include "job/run_row.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/yaml.h"
#include "job/finetune_job.h"

static bool has(nib_ctx *ctx, const char *dir, const char *name)
{
    char *path = nib_sprintf(ctx, "%s/%s", dir, name);
    bool yes = path && nib_file_exists(path);

    nib_free(ctx, path);
    return yes;
}

/* The step of the newest checkpoint that has a state; -1: there is none. */
static int64_t newest_checkpoint(nib_ctx *ctx, const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int64_t newest = -1;

    while (d && (e = readdir(d))) {
        char name[64];
        long long step = -1;
        int used = 0;
        if (sscanf(e->d_name, "checkpoint-%18lld%n", &step, &used) != 1 || e->d_name[used] ||
            step <= newest)
            continue;
        snprintf(name, sizeof name, "checkpoint-%lld/trainer_state.json", step);
        if (has(ctx, dir, name)) newest = step;
    }
    if (d) closedir(d);
    return newest;
}

bool nib_is_run(nib_ctx *ctx, const char *dir)
{
    return has(ctx, dir, ".nibble-run.json") ||
           (has(ctx, dir, "recipe.yaml") &&
            (has(ctx, dir, "trainer_state.json") || newest_checkpoint(ctx, dir) >= 0));
}

/* --- recipe.yaml --- */

/* A value on one line; lists and maps in brackets. */
static void put_value(FILE *to, const nib_yaml_node *n)
{
    if (n->kind == NIB_YAML_SCALAR) fputs(n->text, to);
    else fputc(n->kind == NIB_YAML_LIST ? '[' : '{', to);
    for (const nib_yaml_node *c = n->first; c; c = c->next) { /* as deep as the reader lets it be */
        if (c->key) fprintf(to, "%s: ", c->key);
        put_value(to, c);
        if (c->next) fputs(", ", to);
    }
    if (n->kind != NIB_YAML_SCALAR) fputc(n->kind == NIB_YAML_LIST ? ']' : '}', to);
}

static nib_status read_settings(nib_ctx *ctx, const char *dir, json_t *settings, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/recipe.yaml", dir);
    const nib_yaml_node *root;
    nib_yaml *y = NULL;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path)) status = nib_yaml_read(ctx, path, &y, err);
    root = y ? nib_yaml_root(y) : NULL;
    for (const nib_yaml_node *n = root ? root->first : NULL; n && !status; n = n->next) {
        char *text = NULL;
        size_t bytes;
        FILE *to = n->key ? open_memstream(&text, &bytes) : NULL;
        if (!to) continue; /* a list is no recipe */
        put_value(to, n);
        if (fclose(to) || json_object_set_new(settings, n->key, json_string(text)))
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        free(text);
    }
    nib_yaml_close(y);
    nib_free(ctx, path);
    return status;
}

/* --- trainer_state.json --- */

static bool put_number(json_t *row, const char *name, double x)
{
    bool whole = strstr(name, "_bytes") != NULL;

    return !isfinite(x) ||
           json_object_set_new(row, name, whole ? json_integer((json_int_t)x) : json_real(x)) == 0;
}

/* The last of each kind wins. */
static bool put_history(json_t *row, const nib_trainer_state *s)
{
    bool good = true;

    for (size_t i = 0; i < s->log_count && good; i++) {
        const nib_log_entry *e = &s->log[i];
        const char *const *names = nib_log_names(e->kind);
        for (size_t k = 0; names[k] && good; k++) {
            const char *name = names[k];
            if (strcmp(name, "train_runtime") == 0) name = "seconds";
            else if (strstr(name, "runtime") || strstr(name, "_per_second") ||
                     strcmp(name, "total_flos") == 0 || strcmp(name, "grad_norm") == 0 ||
                     strcmp(name, "learning_rate") == 0)
                continue;
            good = put_number(row, name, e->values[k]);
        }
    }
    return good;
}

/* From the directory of a whole state: the run's own, or a checkpoint. */
static nib_status read_state(nib_ctx *ctx, const char *dir, json_t *row, bool *diverged,
                             nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/trainer_state.json", dir);
    nib_trainer_state s;
    nib_filemap map = { 0 };
    json_t *root = NULL;
    int64_t step = 0, steps = 0;
    double epoch = (double)NAN;
    nib_status status;

    nib_trainer_state_init(ctx, &s);
    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_filemap_open(path, &map, err);
    if (!status)
        status = nib_json_parse((const char *)map.base, map.bytes, path, 0, &root, err);
    if (!status) status = nib_json_get_int(root, path, "global_step", 0, INT64_MAX, &step, err);
    if (!status) status = nib_json_get_int(root, path, "max_steps", 0, INT64_MAX, &steps, err);
    if (!status) status = nib_json_get_float(root, path, "epoch", &epoch, err);
    if (!status)
        status = nib_trainer_state_parse(&s, (const char *)map.base, map.bytes, path, err);
    if (!status && (json_object_set_new(row, "step", json_integer(step)) ||
                    json_object_set_new(row, "steps", json_integer(steps)) ||
                    !put_number(row, "epoch", epoch) || !put_history(row, &s)))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    *diverged = !status && nib_history_diverged(&s);
    nib_trainer_state_free(&s);
    json_decref(root);
    nib_filemap_close(&map);
    nib_free(ctx, path);
    return status;
}

/* Does the adapter that was written say that the run ended by a loss that was not finite? */
static bool ended_by_loss(nib_ctx *ctx, const char *dir)
{
    char *path = nib_sprintf(ctx, "%s/adapter_model.safetensors", dir);
    nib_tensors *t = NULL;
    nib_error why;
    const char *unfinished = NULL;
    bool yes = false;

    if (path && nib_file_exists(path) && !nib_tensors_open(ctx, path, &t, &why))
        unfinished = nib_tensors_metadata(t, "nibble.unfinished");
    yes = unfinished && strncmp(unfinished, "ended by a loss", 15) == 0;
    nib_tensors_close(t);
    nib_free(ctx, path);
    return yes;
}

nib_status nib_run_history(nib_ctx *ctx, const char *dir, nib_trainer_state *out, nib_error *err)
{
    int64_t newest = newest_checkpoint(ctx, dir);
    nib_rundir_state place = NIB_RUNDIR_FREE;
    nib_trainer_state s;
    nib_filemap map = { 0 };
    char *path = NULL;
    nib_status status = nib_rundir_look(ctx, dir, &place, err);

    nib_trainer_state_init(ctx, &s);
    if (status) return status;
    if (place == NIB_RUNDIR_FREE && has(ctx, dir, "trainer_state.json"))
        path = nib_sprintf(ctx, "%s/trainer_state.json", dir);
    else if (newest >= 0)
        path = nib_sprintf(ctx, "%s/checkpoint-%" PRId64 "/trainer_state.json", dir, newest);
    else goto done; /* nothing yet */
    status = path ? nib_filemap_open(path, &map, err)
                  : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (!status)
        status = nib_trainer_state_parse(&s, (const char *)map.base, map.bytes, path, err);
done:
    if (status) nib_trainer_state_free(&s);
    else *out = s;
    nib_filemap_close(&map);
    nib_free(ctx, path);
    return status;
}

nib_status nib_run_row(nib_ctx *ctx, const char *dir, json_t **out, nib_error *err)
{
    json_t *settings = json_object(), *row = json_pack("{s:s}", "run", dir);
    int64_t newest = newest_checkpoint(ctx, dir);
    bool finished = has(ctx, dir, "trainer_state.json"), diverged = false;
    char *checkpoint = newest >= 0 ? nib_sprintf(ctx, "%s/checkpoint-%" PRId64, dir, newest) : NULL;
    const char *state;
    nib_rundir_state place = NIB_RUNDIR_FREE;
    nib_status status = NIB_OK;

    if (!settings || !row || (newest >= 0 && !checkpoint))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (!status) status = nib_rundir_look(ctx, dir, &place, err);
    if (place != NIB_RUNDIR_FREE) finished = false; /* what stands there is of a run before */
    if (!status && (finished || checkpoint))
        status = read_state(ctx, finished ? dir : checkpoint, row, &diverged, err);
    if (!status)
        status = read_settings(ctx, finished || !checkpoint ? dir : checkpoint, settings, err);
    if (status) goto done;
    diverged |= ended_by_loss(ctx, dir);
    state = place == NIB_RUNDIR_HELD ? "running"
            : diverged               ? "diverged"
            : finished               ? "finished"
                                     : "interrupted";
    if (json_object_set_new(row, "state", json_string(state)) ||
        json_object_set(row, "settings", settings)) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
        goto done;
    }
    *out = row;
    row = NULL; /* handed over */
done:
    json_decref(settings);
    json_decref(row);
    nib_free(ctx, checkpoint);
    return status;
}
