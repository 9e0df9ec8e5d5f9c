/* finetune_save.c - writing checkpoints and the adapter. */
#include <errno.h>
#include <sys/stat.h>

#include "base/outfile.h"
#include "base/outname.h"
#include "job/finetune_job.h"
#include "job/labelled.h"
#include "job/quantize_config.h"
#include "job/whole.h"

typedef nib_finetune_job job;

static nib_status no_memory(const job *j, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", j->dir.path);
}

/* A chat template that was trained with in place of the model's goes with the adapter: who uses it
 * needs the same. */
static nib_status write_template(job *j, const char *dir, nib_error *err)
{
    const char *text = nib_dataset_template_text(j->data);
    char *path;
    nib_status status;

    if (!j->o->data.chat_template) return nib_copy_templates(j->ctx, j->o->model.model, dir, err);
    if (!text) return NIB_OK;
    path = nib_sprintf(j->ctx, "%s/chat_template.jinja", dir);
    status = path ? nib_outfile_replace(j->ctx, path, text, strlen(text), err) : no_memory(j, err);
    if (!status) status = nib_copy_templates(j->ctx, j->o->data.chat_template, dir, err);
    nib_free(j->ctx, path);
    return status;
}

/* What PEFT loads; or, of a run that trains the model itself, the model.  A checkpoint has what was
 * trained in an adapter's form in any case. */
static nib_status write_trained(job *j, const char *dir, bool checkpoint, nib_error *err)
{
    nib_text card = { .ctx = j->ctx };
    nib_status status = NIB_OK;

    if (nib_finetune_compares(j))
        status = nib_sentence_save(&j->sentence,
                                   j->model->graph->values[j->model->graph->hidden].width, dir,
                                   err);
    if (status) return status;
    if (nib_finetune_is_whole(j->o) && !checkpoint)
        return nib_whole_save(j->model, nib_dataset_labels(j->data), j->adapter->prompt_form, dir,
                              err);
    nib_finetune_card(j, &card);
    if (card.failed) status = no_memory(j, err);
    if (!status) status = nib_adapter_save(j->adapter, dir, card.data, err);
    nib_text_free(&card);
    if (!status && (nib_task_has_head(j->model->purpose.task) || nib_finetune_compares(j)))
        status = nib_write_label_config(j->model, nib_dataset_labels(j->data), false, dir, err);
    return status;
}

static nib_status write_adapter(job *j, const char *dir, bool checkpoint, nib_error *err)
{
    nib_status status = nib_tensors_unchanged(j->model->tensors, err);

    if (!status) status = write_trained(j, dir, checkpoint, err);
    if (!status) status = nib_copy_tokenizer_files(j->ctx, j->o->model.model, dir, err);
    if (!status) status = write_template(j, dir, err);
    if (!status) status = nib_finetune_save_recipe(j, dir, err);
    return status;
}

/* The best so far has a checkpoint once it is saved itself. */
static nib_status note_best(job *j, nib_error *err)
{
    char *path;

    if (!j->state.best_global_step || j->state.best_global_step != j->trainer->step) return NIB_OK;
    path = nib_sprintf(j->ctx, "%s/checkpoint-%" PRIu64, j->dir.path, j->trainer->step);
    if (!path) return no_memory(j, err);
    nib_free(j->ctx, j->state.best_model_checkpoint);
    j->state.best_model_checkpoint = path;
    return NIB_OK;
}

static uint64_t step_of(const char *checkpoint)
{
    const char *dash = checkpoint ? strrchr(checkpoint, '-') : NULL;
    uint64_t n = 0;

    for (const char *p = dash ? dash + 1 : ""; *p >= '0' && *p <= '9'; p++)
        n = 10 * n + (uint64_t)(*p - '0');
    return n;
}

static nib_status build(job *j, const char *dir, nib_error *err)
{
    const nib_trainer *t = j->trainer;
    nib_checkpoint c = { .step = t->step, .loss_total = t->loss_total,
                         .tokens_seen = t->tokens_seen,
                         .window = j->window, .evaluate_pending = j->evaluate_pending,
                         .started = j->started,
                         .logging_dir = j->logging_dir, .identity = j->identity };
    nib_status status = write_adapter(j, dir, true, err);

    j->state.global_step = t->step;
    j->state.num_input_tokens_seen = t->tokens_seen;
    if (!status) status = nib_checkpoint_write(j->ctx, dir, &c, t, &j->state, err);
    return status;
}

nib_status nib_finetune_prune(job *j, nib_error *err)
{
    return nib_checkpoint_prune(j->ctx, j->dir.path, j->o->train.save_total_limit, j->trainer->step,
                                step_of(j->state.best_model_checkpoint), err);
}

nib_status nib_finetune_save_checkpoint(job *j, nib_error *err)
{
    char *path = nib_sprintf(j->ctx, "%s/checkpoint-%" PRIu64, j->dir.path, j->trainer->step);
    nib_outdir *out = NULL;
    nib_status status = path ? nib_run_logs_sync(&j->logs, err) : no_memory(j, err);

    if (!status) status = note_best(j, err);
    if (!status) status = nib_outdir_create(j->ctx, path, true, &out, err);
    if (!status) status = build(j, nib_outdir_path(out), err);
    if (status) nib_outdir_discard(out);
    else status = nib_outdir_commit(out, err);
    if (!status) status = nib_finetune_prune(j, err);
    nib_free(j->ctx, path);
    return status;
}

/* trainer_state.json beside the adapter: the whole history, the end included. */
static nib_status write_history(job *j, const char *dir, nib_error *err)
{
    char *path = nib_sprintf(j->ctx, "%s/trainer_state.json", dir);
    nib_text t = { .ctx = j->ctx };
    nib_status status;

    j->state.global_step = j->trainer->step;
    j->state.num_input_tokens_seen = j->trainer->tokens_seen;
    nib_trainer_state_put(&t, &j->state);
    status = path && !t.failed ? nib_outfile_replace(j->ctx, path, t.data, t.bytes, err)
                               : no_memory(j, err);
    nib_text_free(&t);
    nib_free(j->ctx, path);
    return status;
}

nib_status nib_finetune_save_adapter(job *j, nib_error *err)
{
    const char *key = nib_finetune_is_whole(j->o) ? "config.json" : "adapter_config.json";
    char *beside = nib_sprintf(j->ctx, "%s/adapter", j->dir.path), *temp = NULL;
    nib_error ignored;
    bool made;
    nib_status status = NIB_OK;

    if (!beside) return no_memory(j, err);
    temp = nib_temp_beside(j->ctx, beside, err);
    nib_free(j->ctx, beside);
    if (!temp) return NIB_E_NOMEM;
    made = mkdir(temp, 0777) == 0;
    if (!made) status = nib_fail(err, NIB_E_IO, "%s: %s", temp, strerror(errno));
    if (!status) status = write_adapter(j, temp, false, err);
    if (!status) status = write_history(j, temp, err);
    if (!status) status = nib_rundir_publish(&j->dir, temp, key, err);
    if (status && made) (void)nib_tree_remove(j->ctx, temp, &ignored);
    nib_free(j->ctx, temp);
    return status;
}
