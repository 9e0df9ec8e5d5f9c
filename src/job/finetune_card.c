/* finetune_card.c - what a run knows of itself, as Markdown for the adapter's README.md. */
#include "base/outname.h"
#include "job/finetune_job.h"

static void put_data(const nib_finetune_job *j, nib_text *t)
{
    uint64_t tokens, targets;
    size_t count;
    const nib_source_report *sources = nib_dataset_sources(j->data, &count);

    nib_dataset_epoch_tokens(j->data, &tokens, &targets);
    if (count)
        nib_text_printf(t, "- data: %zu records of %zu source%s", nib_dataset_epoch(j->data), count,
                        count == 1 ? "" : "s");
    else
        nib_text_printf(t, "- data: `%s`, %zu records", nib_last_part(j->o->data.data),
                        nib_dataset_count(j->data));
    nib_text_printf(t, ", %" PRIu64 " tokens an epoch, %" PRIu64 " of them trained\n", tokens,
                    targets);
    for (size_t i = 0; i < count; i++)
        nib_text_printf(t, "  - `%s`: %" PRIu64 " of its %" PRIu64 " records an epoch (weight "
                        "%g)\n", nib_last_part(sources[i].path), sources[i].per_epoch,
                        sources[i].records, sources[i].weight);
}

/* The last lines of the history. */
static void put_losses(const nib_finetune_job *j, nib_text *t)
{
    double train = -1, eval = -1, exact = -1, chrf = -1;

    for (size_t i = 0; i < j->state.log_count; i++) {
        const nib_log_entry *e = &j->state.log[i];
        if (e->kind == NIB_LOG_TRAIN) train = e->values[2];
        if (e->kind != NIB_LOG_EVAL) continue;
        eval = e->values[NIB_EVAL_LOSS];
        exact = e->values[NIB_EVAL_EXACT_MATCH];
        chrf = e->values[NIB_EVAL_CHRF];
    }
    if (train >= 0) nib_text_printf(t, "- loss in the end: %.4f\n", train);
    if (eval >= 0) nib_text_printf(t, "- loss on the %zu records held out: %.4f\n",
                                   nib_eval_loop_records(&j->eval), eval);
    if (j->answers.ctx && exact >= 0)
        nib_text_printf(t, "- its answers to these: exact_match %.4f, chrf %.4f\n", exact, chrf);
}

void nib_finetune_card(const nib_finetune_job *j, nib_text *t)
{
    const nib_train_options *o = &j->trainer->o;
    char form[NIB_BASE_FORM_ROOM];

    nib_base_form(j->model, form);
    if (j->adapter->unfinished[0])
        nib_text_printf(t, "**Not the end of its run: %s.**\n\n", j->adapter->unfinished);
    nib_text_printf(t, "- weights of the base model: %s; computed in %s\n", form,
                    nib_dtype_name(j->model->graph->type));
    put_data(j, t);
    nib_text_printf(t, "- steps: %" PRIu64 " of %" PRIu64 ", epoch %.2f\n", j->trainer->step,
                    j->trainer->steps, j->state.epoch);
    nib_text_printf(t, "- learning rate: %g, %s; optimizer: %s; seed: %" PRIu64 "\n",
                    o->learning_rate, o->lr_scheduler_type, o->optim, o->seed);
    put_losses(j, t);
    nib_text_puts(t, "- every setting: `recipe.yaml`\n");
}
