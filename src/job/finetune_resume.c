/* finetune_resume.c - finds the checkpoint to resume from, holds the run to it, takes it up. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/filemap.h"
#include "job/finetune_job.h"
#include "job/quantize_config.h"

typedef nib_finetune_job job;

static nib_status no_memory(const job *j, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", j->o->output_dir);
}

/* --- finding --- */

/* The newest checkpoint of output_dir that is whole; those that are not are named. */
static nib_status find_last(job *j, nib_error *err)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    nib_error why;
    nib_status status = nib_checkpoint_list(j->ctx, j->dir.path, &numbers, &count, err);

    while (count && !status && !j->resume_dir) {
        char *path = nib_sprintf(j->ctx, "%s/checkpoint-%" PRIu64, j->dir.path, numbers[--count]);
        status = path ? nib_checkpoint_read(j->ctx, path, &j->resume, &why) : no_memory(j, &why);
        if (!status) {
            j->resume_dir = path;
            break;
        }
        nib_free(j->ctx, path);
        if (status == NIB_E_NOMEM) {
            status = nib_fail(err, status, "%s", why.message);
        } else {
            nib_warn(j->ctx, "%s: passed over, the one before it is taken", why.message);
            status = NIB_OK;
        }
    }
    nib_free(j->ctx, numbers);
    return status;
}

/* Nothing is written into a directory given as input, unless it is a checkpoint of this very
 * run. */
static nib_status take_given(job *j, const char *dir, nib_error *err)
{
    char *parent = nib_sprintf(j->ctx, "%s/..", dir);
    struct stat a, b;
    nib_status status = parent ? NIB_OK : no_memory(j, err);

    if (!status && (stat(parent, &a) || stat(j->dir.path, &b)))
        status = nib_fail(err, NIB_E_IO, "resume_from_checkpoint: %s: %s", dir, strerror(errno));
    if (!status && (a.st_ino != b.st_ino || a.st_dev != b.st_dev))
        status = nib_quantize_check_places(dir, j->dir.path, err);
    if (!status) j->resume_dir = nib_strdup(j->ctx, dir);
    if (!status && !j->resume_dir) status = no_memory(j, err);
    if (!status) status = nib_checkpoint_read(j->ctx, dir, &j->resume, err);
    nib_free(j->ctx, parent);
    return status;
}

const char *nib_finetune_resume_from(const nib_finetune_options *o)
{
    const char *from = o->resume_from_checkpoint;

    if (!from || !*from || strcasecmp(from, "false") == 0) return NULL;
    return strcasecmp(from, "true") == 0 ? "last" : from;
}

nib_status nib_finetune_look_for_resume(job *j, nib_error *err)
{
    const char *from = nib_finetune_resume_from(j->o);
    nib_status status = NIB_OK;

    if (from && strcmp(from, "last") != 0) status = take_given(j, from, err);
    else if (from || j->dir.mark) status = find_last(j, err);
    if (status) return status;
    j->started = j->resume_dir ? j->resume.started
                               : json_integer_value(json_object_get(j->dir.mark, "started"));
    if (!j->started) j->started = (int64_t)time(NULL);
    if (j->resume_dir) j->recorded = j->resume.identity;
    else if (j->dir.mark) j->recorded = json_object_get(j->dir.mark, "identity");
    return NIB_OK;
}

nib_compute nib_finetune_compute(const job *j)
{
    const char *type = json_string_value(json_object_get(j->recorded, "compute_dtype"));

    if (j->o->model.compute_dtype != NIB_COMPUTE_AUTO || !type) return j->o->model.compute_dtype;
    return strcmp(type, "bfloat16") == 0 ? NIB_COMPUTE_BFLOAT16 : NIB_COMPUTE_FLOAT32;
}

/* --- taking up --- */

/* The best checkpoint lies beside the one resumed from, wherever that was moved to. */
static nib_status find_best(job *j, nib_error *err)
{
    const char *slash = strrchr(j->resume_dir, '/');
    char *path, *file = NULL;

    if (!j->state.best_model_checkpoint || !j->state.best_global_step || !slash) return NIB_OK;
    path = nib_sprintf(j->ctx, "%.*s/checkpoint-%" PRIu64, (int)(slash - j->resume_dir),
                       j->resume_dir, j->state.best_global_step);
    if (path) file = nib_sprintf(j->ctx, "%s/nibble_state.json", path);
    if (!file) {
        nib_free(j->ctx, path);
        return no_memory(j, err);
    }
    if (nib_file_exists(file)) {
        nib_free(j->ctx, j->state.best_model_checkpoint);
        j->state.best_model_checkpoint = path;
        path = NULL;
    }
    nib_free(j->ctx, path);
    nib_free(j->ctx, file);
    return NIB_OK;
}

/* The rates that the evaluations so far have left: they follow from the history. */
static void judge_again(job *j)
{
    for (size_t i = 0; i < j->state.log_count; i++)
        if (j->state.log[i].kind == NIB_LOG_EVAL) nib_finetune_judge_rates(j, &j->state.log[i]);
}

static nib_status restore(job *j, nib_error *err)
{
    const nib_checkpoint *c = &j->resume;
    const char *isa = nib_cpu_name(nib_ctx_cpu(j->ctx));
    nib_status status = nib_finetune_same_or_longer(j, j->resume_dir, c->identity, c->step, err);

    if (!status) status = nib_finetune_read_values(j, j->resume_dir, err);
    if (!status)
        status = nib_checkpoint_restore(j->ctx, j->resume_dir, c, j->trainer, &j->state, err);
    if (!status) status = find_best(j, err);
    if (status) return status;
    judge_again(j);
    j->window = c->window;
    j->evaluate_pending = c->evaluate_pending;
    nib_note(j->ctx, "resuming from %s, step %" PRIu64 " of %" PRIu64, j->resume_dir, c->step,
             j->trainer->steps);
    if (strcmp(c->version, NIB_VERSION) != 0 || strcmp(c->isa, isa) != 0)
        nib_warn(
            j->ctx,
            "%s was written by nibble %s with %s kernels, this is %s with %s: the result's bits "
            "will differ from an uninterrupted run's",
            j->resume_dir, c->version, c->isa, NIB_VERSION, isa);
    return NIB_OK;
}

/* --- logs --- */

static const char *recorded_logging_dir(const job *j)
{
    if (j->resume_dir && j->resume.logging_dir) return j->resume.logging_dir;
    return json_string_value(json_object_get(j->dir.mark, "logging_dir"));
}

/* "runs/Nov24_15-04-05_host" below output_dir; a resumed run keeps the one it had. */
static nib_status name_logging_dir(job *j, nib_error *err)
{
    char host[128] = "", when[32];
    const char *recorded = recorded_logging_dir(j);
    time_t started = (time_t)j->started;
    struct tm local;

    if (recorded && strncmp(recorded, "runs/", 5) == 0 && !strstr(recorded, "..")) {
        j->logging_dir = nib_strdup(j->ctx, recorded);
    } else {
        gethostname(host, sizeof host - 1);
        if (!localtime_r(&started, &local)) memset(&local, 0, sizeof local);
        strftime(when, sizeof when, "%b%d_%H-%M-%S", &local);
        j->logging_dir = nib_sprintf(j->ctx, "runs/%s_%s", when, host);
    }
    return j->logging_dir ? NIB_OK : no_memory(j, err);
}

static nib_status open_logs(job *j, nib_error *err)
{
    nib_log_cut cut = { j->resume_dir != NULL, j->trainer->step, j->evaluate_pending };
    const char *given = j->o->train.logging_dir;
    char *dir = given ? nib_strdup(j->ctx, given)
                      : nib_sprintf(j->ctx, "%s/%s", j->dir.path, j->logging_dir);
    unsigned to = 0;
    nib_status status = dir ? nib_report_to(j->o->train.report_to, &to, err) : no_memory(j, err);

    if (!status && to) status = nib_run_logs_open(j->ctx, to, j->dir.path, dir, cut, &j->logs, err);
    nib_free(j->ctx, dir);
    return status;
}

/* --- beginning --- */

/* More entries than the steps to come can make. */
static size_t entries_to_come(const job *j)
{
    uint64_t left = j->trainer->steps - j->trainer->step, epochs = j->trainer->epochs;
    const nib_train_options *t = &j->o->train;
    uint64_t logs = strcmp(t->logging_strategy, "steps") == 0 ? left / (uint64_t)t->logging_steps
                                                              : epochs;
    uint64_t evals = strcmp(t->eval_strategy, "steps") == 0
                         ? left / (uint64_t)nib_finetune_eval_steps(t)
                     : strcmp(t->eval_strategy, "epoch") == 0 ? epochs
                                                              : 0;

    return (size_t)(logs + evals + 8);
}

static bool saves_checkpoints(const nib_train_options *t)
{
    return strcmp(t->save_strategy, "epoch") == 0 || strcmp(t->save_strategy, "best") == 0 ||
           (strcmp(t->save_strategy, "steps") == 0 && t->save_steps > 0);
}

static void fill_state(job *j)
{
    const nib_train_options *t = &j->o->train;
    nib_trainer_state *s = &j->state;

    s->max_steps = j->trainer->steps;
    s->num_train_epochs = j->trainer->epochs;
    s->train_batch_size = j->trainer->o.per_device_train_batch_size;
    s->logging_steps = t->logging_steps;
    s->eval_steps = nib_finetune_eval_steps(t);
    s->save_steps = t->save_steps;
    s->early_stopping_patience = t->early_stopping_patience;
    s->early_stopping_threshold = t->early_stopping_threshold;
}

nib_status nib_finetune_begin(job *j, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_status status = NIB_OK;

    j->identity = nib_finetune_identity(j, err);
    if (!j->identity) return err ? err->status : NIB_E_NOMEM;
    nib_trainer_state_init(j->ctx, &j->state);
    if (j->dir.mark) {
        status = nib_finetune_same_or_longer(j, j->dir.path,
                                             json_object_get(j->dir.mark, "identity"),
                                             j->resume_dir ? j->resume.step : 0, err);
        if (status == NIB_E_MISMATCH)
            status = nib_fail_in(err, status,
                                 "an unfinished run stands there (--overwrite begins anew)");
    }
    if (!status && j->resume_dir) status = restore(j, err);
    else if (!status && o->overwrite && !nib_finetune_resume_from(o))
        status = nib_checkpoint_delete_all(
            j->ctx, j->dir.path, saves_checkpoints(&o->train) ? j->trainer->steps : 0, err);
    else if (!status && (nib_finetune_resume_from(o) || j->dir.mark))
        nib_note(j->ctx, "%s: no complete checkpoint, starting from the beginning", j->dir.path);
    if (!status) status = nib_trainer_state_reserve(&j->state, entries_to_come(j), err);
    if (!status) status = name_logging_dir(j, err);
    if (!status) status = nib_rundir_begin(&j->dir, j->identity, j->started, j->logging_dir, err);
    if (!status) status = open_logs(j, err);
    fill_state(j);
    return status;
}

void nib_finetune_end(job *j)
{
    nib_run_logs_close(&j->logs);
    nib_trainer_state_free(&j->state);
    nib_answer_loop_close(&j->answers);
    nib_eval_loop_close(&j->eval);
    nib_checkpoint_free(j->ctx, &j->resume);
    json_decref(j->identity);
    nib_free(j->ctx, j->logging_dir);
    nib_free(j->ctx, j->resume_dir);
}
