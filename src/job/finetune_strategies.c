/* finetune_strategies.c - when to log, evaluate and save, and what must go together for it. */
#include <math.h>

#include "job/finetune_job.h"

#define JUDGED_NAMES "exact_match, exact, contains, rougeL, chrf, json_valid, json_fields"

static nib_status check_word(const char *key, const char *word, nib_error *err)
{
    const char *more = strcmp(key, "save_strategy") == 0 ? ", best" : "";

    if (word &&
        (strcmp(word, "no") == 0 || strcmp(word, "steps") == 0 || strcmp(word, "epoch") == 0))
        return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "%s: '%s', known are no, steps, epoch%s", key,
                    word ? word : "", more);
}

static void settle(int *number, double *ratio, uint64_t steps)
{
    if (*ratio > 0) *number = (int)ceil((double)steps * *ratio); /* as TrainerState.compute_steps */
    *ratio = 0;
}

void nib_finetune_settle_steps(nib_train_options *t, uint64_t steps)
{
    settle(&t->logging_steps, &t->logging_steps_ratio, steps);
    settle(&t->save_steps, &t->save_steps_ratio, steps);
    settle(&t->eval_steps, &t->eval_steps_ratio, steps);
}

static bool is_fraction(double x) { return x >= 0 && x < 1; }

int nib_finetune_eval_steps(const nib_train_options *t)
{
    return t->eval_steps > 0 ? t->eval_steps : t->logging_steps;
}

bool nib_finetune_wants_best(const nib_train_options *t)
{
    return t->load_best_model_at_end || t->early_stopping_patience || t->metric_for_best_model;
}

bool nib_finetune_metric_is_perplexity(const nib_train_options *t)
{
    const char *m = t->metric_for_best_model;
    return m && strcmp(strncmp(m, "eval_", 5) == 0 ? m + 5 : m, "perplexity") == 0;
}

bool nib_finetune_metric_is_judged(const nib_train_options *t, nib_answer_score *score)
{
    const char *m = t->metric_for_best_model;

    return m && nib_answer_score_named(strncmp(m, "eval_", 5) == 0 ? m + 5 : m, score);
}

const char *nib_finetune_metric(const nib_train_options *t)
{
    const char *const *names = nib_log_names(NIB_LOG_EVAL);
    const char *m = t->metric_for_best_model;
    nib_answer_score judged;
    nib_scores none = { 0 };
    double value;
    bool greater;

    if (m && strncmp(m, "eval_", 5) == 0) m += 5;
    if (!m || (!nib_finetune_metric_is_perplexity(t) &&
               !nib_finetune_metric_is_judged(t, &judged) &&
               !nib_score_named(m, &none, &value, &greater)))
        return "eval_loss";
    if (strcmp(m, "rouge_l") == 0) m = "rougeL"; /* as others log it */
    for (size_t i = 0; names[i]; i++)
        if (strcmp(names[i] + 5, m) == 0) return names[i];
    return "eval_loss";
}

bool nib_finetune_greater_is_better(const nib_train_options *t)
{
    nib_scores none = { 0 };
    nib_answer_score judged;
    double value;
    bool greater = false;

    if (t->greater_is_better >= 0) return t->greater_is_better == 1;
    if (nib_finetune_metric_is_judged(t, &judged)) return true;
    (void)nib_score_named(nib_finetune_metric(t), &none, &value, &greater);
    return greater;
}

/* As the Trainer: without the name of a metric nothing is the best. */
static nib_status check_save_best(const nib_train_options *t, nib_error *err)
{
    if (strcmp(t->save_strategy, "best") != 0) return NIB_OK;
    if (strcmp(t->eval_strategy, "no") == 0)
        return nib_fail(err, NIB_E_INVALID,
                        "save_strategy best needs eval_strategy steps or epoch, and records to "
                        "evaluate on (eval_data, eval_split or val_size)");
    if (!t->metric_for_best_model)
        return nib_fail(err, NIB_E_INVALID,
                        "save_strategy best needs metric_for_best_model: loss, perplexity, "
                        JUDGED_NAMES ", or of classifiers %s", nib_score_names());
    return NIB_OK;
}

static nib_status check_best(const nib_train_options *t, nib_error *err)
{
    const char *m = t->metric_for_best_model;
    const char *bare = m && strncmp(m, "eval_", 5) == 0 ? m + 5 : m;

    if (m && strcmp(bare, "loss") != 0 && strcmp(nib_finetune_metric(t), "eval_loss") == 0)
        return nib_fail(err, NIB_E_INVALID,
                        "metric_for_best_model: '%s', known are loss, perplexity, of answers "
                        JUDGED_NAMES ", and of classifiers %s", m, nib_score_names());
    if (t->early_stopping_patience < 0 || !(t->early_stopping_threshold >= 0))
        return nib_fail(err, NIB_E_INVALID,
                        "early_stopping_patience %d and early_stopping_threshold %g: from 0",
                        t->early_stopping_patience, t->early_stopping_threshold);
    if ((t->early_stopping_patience || t->load_best_model_at_end) &&
        strcmp(t->eval_strategy, "no") == 0)
        return nib_fail(err, NIB_E_INVALID, "%s needs eval_strategy steps or epoch",
                        t->load_best_model_at_end ? "load_best_model_at_end"
                                                  : "early_stopping_patience");
    if (!t->load_best_model_at_end || strcmp(t->save_strategy, "best") == 0) return NIB_OK;
    if (strcmp(t->eval_strategy, t->save_strategy) != 0)
        return nib_fail(
            err, NIB_E_INVALID,
            "load_best_model_at_end: save_strategy is %s and eval_strategy %s, they must "
            "be the same",
            t->save_strategy, t->eval_strategy);
    /* once they are numbers */
    if (t->save_steps_ratio > 0 || t->eval_steps_ratio > 0) return NIB_OK;
    if (strcmp(t->save_strategy, "steps") == 0 &&
        (t->save_steps <= 0 || t->save_steps % nib_finetune_eval_steps(t)))
        return nib_fail(err, NIB_E_INVALID,
                        "load_best_model_at_end: save_steps %d is no multiple of eval_steps %d",
                        t->save_steps, nib_finetune_eval_steps(t));
    return NIB_OK;
}

nib_status nib_finetune_check_strategies(const nib_finetune_options *o, nib_error *err)
{
    const nib_train_options *t = &o->train;
    unsigned to;
    nib_status status = check_word("logging_strategy", t->logging_strategy, err);

    if (!status && (!t->save_strategy || strcmp(t->save_strategy, "best") != 0))
        status = check_word("save_strategy", t->save_strategy, err);
    if (!status) status = check_word("eval_strategy", t->eval_strategy, err);
    if (!status) status = nib_report_to(t->report_to, &to, err);
    if (status) return status;
    if (!(o->val_size >= 0))
        return nib_fail(err, NIB_E_INVALID, "val_size: %g is negative", o->val_size);
    if (o->val_size > 0 && (o->eval_data || o->eval_split))
        return nib_fail(err, NIB_E_INVALID, "val_size and %s exclude each other",
                        o->eval_data ? "eval_data" : "eval_split");
    if (!is_fraction(t->logging_steps_ratio) || !is_fraction(t->save_steps_ratio) ||
        !is_fraction(t->eval_steps_ratio))
        return nib_fail(err, NIB_E_INVALID,
                        "logging_steps %g, save_steps %g, eval_steps %g: a fraction of the steps "
                        "is in [0, 1)",
                        t->logging_steps_ratio, t->save_steps_ratio, t->eval_steps_ratio);
    if (t->logging_steps < 1 && !(t->logging_steps_ratio > 0))
        return nib_fail(err, NIB_E_INVALID, "logging_steps: %d is less than 1", t->logging_steps);
    if (t->save_steps < 0 || t->eval_steps < 0 || t->save_total_limit < 0)
        return nib_fail(err, NIB_E_INVALID,
                        "save_steps %d, eval_steps %d and save_total_limit %d: from 0",
                        t->save_steps, t->eval_steps, t->save_total_limit);
    if (strcmp(t->eval_strategy, "no") != 0) {
        if (!o->eval_data && !o->eval_split && !(o->val_size > 0))
            return nib_fail(err, NIB_E_INVALID,
                            "eval_strategy %s needs eval_data, eval_split or val_size",
                            t->eval_strategy);
        if (t->per_device_eval_batch_size < 1)
            return nib_fail(err, NIB_E_INVALID, "per_device_eval_batch_size: %d is less than 1",
                            t->per_device_eval_batch_size);
    }
    if (strcmp(t->lr_scheduler_type, "reduce_lr_on_plateau") == 0 &&
        strcmp(t->eval_strategy, "no") == 0)
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_type reduce_lr_on_plateau needs eval_strategy steps or "
                        "epoch, and records to evaluate on (eval_data, eval_split or val_size)");
    status = check_save_best(t, err);
    return status ? status : check_best(t, err);
}
