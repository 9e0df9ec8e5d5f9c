/* finetune_loop.c - the main job's loop: steps, reports, saving. */
#include <math.h>

#include "base/outfile.h"
#include "job/finetune_job.h"
#include "job/memory.h"
#include "job/quantize_config.h"

typedef nib_finetune_job job;

/* --- saving --- */

static nib_status save_into(job *j, const char *path, nib_error *err)
{
    nib_outdir *out = NULL;
    nib_status status = nib_tensors_unchanged(j->model->tensors, err);

    if (!status) status = nib_outdir_create(j->ctx, path, true, &out, err);
    if (!status) status = nib_adapter_save(j->adapter, nib_outdir_path(out), err);
    if (!status) status = nib_copy_tokenizer_files(j->ctx, j->o->model.model, nib_outdir_path(out), err);
    if (status) nib_outdir_discard(out);
    else status = nib_outdir_commit(out, err);
    return status;
}

static nib_status save_checkpoint(job *j, nib_error *err)
{
    char *path = nib_sprintf(j->ctx, "%s/checkpoint-%" PRIu64, j->o->output_dir, j->trainer->step);
    nib_status status = path ? save_into(j, path, err) : nib_fail(err, NIB_E_NOMEM, "checkpoint: out of memory");

    nib_free(j->ctx, path);
    return status;
}

/* --- the loop --- */

typedef struct window { double loss, started; uint64_t tokens, steps; } window; /* since the last report */

static void report_step(job *j, const nib_trainer_step *s, window *w, double began)
{
    double now = nib_clock_seconds();
    nib_trainer *t = j->trainer;
    nib_step_report r = { .step = t->step, .steps = t->steps, .epoch = s->epoch,
                          .loss = w->loss / (double)w->steps, .grad_norm = s->grad_norm,
                          .learning_rate = s->learning_rate,
                          .tokens_per_second = (double)w->tokens / fmax(now - w->started, 1e-9),
                          .seconds_left = (now - began) / (double)t->step * (double)(t->steps - t->step) };

    if (j->o->on_step) j->o->on_step(j->o->user, &r);
    *w = (window){ .started = now };
}

static nib_status train(job *j, nib_error *err)
{
    nib_trainer *t = j->trainer;
    double began = nib_clock_seconds();
    window w = { .started = began };
    uint64_t logging = (uint64_t)(j->o->train.logging_steps > 0 ? j->o->train.logging_steps : 1);
    uint64_t saving = (uint64_t)(j->o->train.save_steps > 0 ? j->o->train.save_steps : 0);

    while (t->step < t->steps) {
        nib_trainer_step s;
        nib_status status;

        if (nib_should_stop(j->ctx))
            return nib_fail(err, NIB_E_INTERRUPTED, "interrupted after step %" PRIu64 " of %" PRIu64, t->step, t->steps);
        status = nib_trainer_run_step(t, &s, err);
        if (status) return status;
        w.loss += s.loss;
        w.tokens += s.tokens;
        w.steps++;
        if (t->step % logging == 0 || t->step == t->steps) report_step(j, &s, &w, began);
        if (saving && t->step % saving == 0 && t->step < t->steps && (status = save_checkpoint(j, err))) return status;
    }
    return NIB_OK;
}

static void report_end(job *j, double seconds, bool interrupted)
{
    nib_trainer *t = j->trainer;
    nib_end_report r = { .steps = t->step, .train_runtime = seconds,
                         .train_loss = t->step ? t->loss_total / (double)t->step : 0,
                         .peak_memory_bytes = nib_memory_peak(), .planned_memory_bytes = j->plan.total,
                         .arenas = j->plan.activations + j->plan.scratch + j->plan.adapters + j->plan.optimizer,
                         .weights_resident = j->plan.weights, .baseline = j->plan.baseline,
                         .interrupted = interrupted };

    if (j->o->on_end) j->o->on_end(j->o->user, &r);
}

nib_status nib_finetune_train(job *j, nib_error *err)
{
    double began = nib_clock_seconds();
    nib_error save_error;
    nib_status status = train(j, err), saved;

    /* An interrupted run keeps its last finished state, a diverged one its last good one. */
    if (status == NIB_OK || ((status == NIB_E_INTERRUPTED || status == NIB_E_NUMERIC) && j->trainer->step > 0)) {
        saved = save_into(j, j->o->output_dir, status ? &save_error : err);
        if (saved && status) return nib_fail_in(err, saved, "%s", save_error.message);
        if (saved) return saved;
        report_end(j, nib_clock_seconds() - began, status == NIB_E_INTERRUPTED);
    }
    return status;
}

