/* finetune_loop.c - the main job's loop: steps, logs, evaluations, saving, the end.
 *
 * After a step in this order, as the Trainer does: log, evaluate, save.  So a checkpoint holds
 * what was logged and found out at its own step. */
#include <math.h>
#include <stdio.h>

#include "base/outfile.h"
#include "job/finetune_job.h"
#include "job/memory.h"

typedef nib_finetune_job job;

/* At `steps` steps, or where an epoch (or the last part of one) ends. */
static bool is_due(const job *j, const char *strategy, int steps)
{
    const nib_trainer *t = j->trainer;

    if (strcmp(strategy, "steps") == 0) return steps > 0 && t->step % (uint64_t)steps == 0;
    return strcmp(strategy, "epoch") == 0 && (nib_trainer_epoch_ended(t) || t->step == t->steps);
}

uint64_t nib_finetune_evaluations_left(const job *j)
{
    const nib_train_options *o = &j->o->train;
    const nib_trainer *t = j->trainer;
    bool epochs = strcmp(o->eval_strategy, "epoch") == 0;
    uint64_t every = epochs ? t->layout.per_epoch : (uint64_t)nib_finetune_eval_steps(o);

    if (!j->eval.ctx || !every || (!epochs && strcmp(o->eval_strategy, "steps") != 0)) return 0;
    return t->steps / every - t->step / every + (epochs && t->steps % every && t->step < t->steps);
}

static bool is_save_due(const job *j)
{
    const nib_train_options *o = &j->o->train;
    bool last = j->trainer->step == j->trainer->steps && strcmp(o->save_strategy, "steps") == 0 &&
                o->save_steps > 0;

    if (strcmp(o->save_strategy, "best") == 0) return j->best_now;
    return last || is_due(j, o->save_strategy, o->save_steps);
}

static nib_status log_entry(job *j, const nib_log_entry *e, nib_error *err)
{
    nib_trainer_state_log(&j->state, e);
    return nib_run_logs_put(&j->logs, e, err);
}

/* --- training steps --- */

static double seconds_left(const job *j, double now)
{
    const nib_trainer *t = j->trainer;
    double trained = now - j->session_began - j->evaluated_seconds;

    return trained / (double)(t->step - j->session_step) * (double)(t->steps - t->step) +
           j->evaluation_seconds * (double)nib_finetune_evaluations_left(j);
}

static nib_status report_step(job *j, const nib_trainer_step *s, nib_error *err)
{
    double now = nib_clock_seconds();
    const nib_trainer *t = j->trainer;
    nib_log_window *w = &j->window;
    double loss = w->loss / (double)w->steps;
    nib_log_entry e = {
        NIB_LOG_TRAIN, t->step, s->epoch, { s->grad_norm, s->learning_rate, loss }
    };
    nib_step_report r = { .step = t->step, .steps = t->steps, .epoch = s->epoch, .loss = loss,
                          .grad_norm = s->grad_norm,
                          .learning_rate = s->learning_rate,
                          .tokens_per_second =
                              (double)j->session_tokens / fmax(now - j->window_began, 1e-9),
                          .seconds_left = seconds_left(j, now) };

    if (j->o->on_step) j->o->on_step(j->o->user, &r);
    *w = (nib_log_window){ 0 };
    j->session_tokens = 0;
    j->window_began = now;
    return log_entry(j, &e, err);
}

static nib_status step(job *j, nib_error *err)
{
    const nib_train_options *o = &j->o->train;
    nib_trainer *t = j->trainer;
    nib_trainer_step s;
    nib_status status = nib_trainer_run_step(t, &s, err);

    if (status) return status;
    j->window.loss += s.loss;
    j->window.tokens += s.tokens;
    j->window.steps++;
    j->session_tokens += s.tokens;
    j->state.epoch = s.epoch;
    j->state.total_flos += 6.0 * (double)s.tokens * (double)j->model->parameters;
    if (t->step == t->steps || is_due(j, o->logging_strategy, o->logging_steps) ||
        (t->step == 1 && o->logging_first_step))
        status = report_step(j, &s, err);
    return status;
}

/* --- evaluation --- */

/* Better than the best by more than `threshold`. */
static bool is_better(const job *j, double metric, double threshold)
{
    double best = j->state.best_metric;
    bool greater = nib_finetune_greater_is_better(&j->o->train);

    if (isnan(metric)) return false;
    if (isnan(best)) return true;
    return (greater ? metric > best : metric < best) &&
           !(threshold > 0 && fabs(metric - best) <= threshold);
}

/* The best one, and for how many evaluations there was none better. */
static bool judge(job *j, double metric)
{
    nib_trainer_state *s = &j->state;
    bool best = is_better(j, metric, 0);

    if (is_better(j, metric, s->early_stopping_threshold)) s->early_stopping_patience_counter = 0;
    else s->early_stopping_patience_counter++;
    if (best) {
        s->best_metric = metric;
        s->best_global_step = j->trainer->step;
    }
    return best;
}

static bool is_early_end(const job *j)
{
    return j->state.early_stopping_patience &&
           j->state.early_stopping_patience_counter >= j->state.early_stopping_patience;
}

static void log_scores(nib_log_entry *e, const nib_scores *s, bool scored)
{
    for (size_t i = 0; i < NIB_LOG_VALUES; i++) e->values[i] = (double)NAN;
    if (!scored) return;
    e->values[NIB_EVAL_ACCURACY] = s->accuracy;
    e->values[NIB_EVAL_EXACT_MATCH] = s->exact_match;
    e->values[NIB_EVAL_F1] = s->f1;
    e->values[NIB_EVAL_MATTHEWS] = s->matthews_correlation;
    e->values[NIB_EVAL_MRR] = s->mrr;
    e->values[NIB_EVAL_OVERALL_F1] = s->overall_f1;
    e->values[NIB_EVAL_OVERALL_PRECISION] = s->overall_precision;
    e->values[NIB_EVAL_OVERALL_RECALL] = s->overall_recall;
    e->values[NIB_EVAL_RECALL_1] = s->recall[0];
    e->values[NIB_EVAL_RECALL_3] = s->recall[1];
    e->values[NIB_EVAL_RECALL_5] = s->recall[2];
    e->values[NIB_EVAL_RECALL_10] = s->recall[3];
    e->values[NIB_EVAL_MSE] = s->mse;
    e->values[NIB_EVAL_PEARSON] = s->pearson;
    e->values[NIB_EVAL_SPEARMANR] = s->spearmanr;
}

/* What metric_for_best_model names. */
static double metric_of(const job *j, const nib_log_entry *e)
{
    const char *const *names = nib_log_names(NIB_LOG_EVAL),
               *metric = nib_finetune_metric(&j->o->train);

    for (size_t i = 0; names[i]; i++)
        if (strcmp(names[i], metric) == 0) return e->values[i];
    return e->values[NIB_EVAL_LOSS];
}

void nib_finetune_judge_rates(job *j, const nib_log_entry *e)
{
    nib_trainer_judge(j->trainer, metric_of(j, e));
}

/* Answers the evaluation records, where the metric is of that. */
static nib_status answer(job *j, nib_log_entry *e, nib_answer_means *means, nib_error *err)
{
    double of[NIB_ANSWER_SCORES];
    nib_status status;

    if (!j->answers.ctx) return NIB_OK;
    status = nib_answer_loop_run(&j->answers, of, j->o->on_progress, j->o->user, err);
    if (status) return status;
    *means = (nib_answer_means){
        .exact = of[NIB_ANSWER_EXACT], .exact_match = of[NIB_ANSWER_EXACT_MATCH],
        .contains = of[NIB_ANSWER_CONTAINS], .rouge_l = of[NIB_ANSWER_ROUGE_L],
        .chrf = of[NIB_ANSWER_CHRF], .json_valid = of[NIB_ANSWER_JSON_VALID],
        .json_fields = of[NIB_ANSWER_JSON_FIELDS]
    };
    e->values[NIB_EVAL_EXACT] = means->exact;
    e->values[NIB_EVAL_EXACT_MATCH] = means->exact_match;
    e->values[NIB_EVAL_CONTAINS] = means->contains;
    e->values[NIB_EVAL_ROUGE_L] = means->rouge_l;
    e->values[NIB_EVAL_CHRF] = means->chrf;
    e->values[NIB_EVAL_JSON_VALID] = means->json_valid;
    e->values[NIB_EVAL_JSON_FIELDS] = means->json_fields;
    return NIB_OK;
}

static nib_status evaluate(job *j, nib_error *err)
{
    double began = nib_clock_seconds(), loss = 0, seconds;
    nib_log_entry e = { NIB_LOG_EVAL, j->trainer->step, j->state.epoch, { 0 } };
    bool scored = nib_eval_loop_scores(&j->eval, NULL);
    nib_scores scores = { 0 };
    nib_answer_means means = { 0 };
    nib_eval_report r;
    nib_status status;

    j->evaluate_pending = true; /* an interruption in the middle leaves it so */
    status = nib_eval_loop_run(&j->eval, &loss, err);
    if (status) return status;
    (void)nib_eval_loop_scores(&j->eval, &scores);
    log_scores(&e, &scores, scored);
    status = answer(j, &e, &means, err);
    if (status) return status;
    seconds = fmax(nib_clock_seconds() - began, 1e-9);
    j->evaluation_seconds = seconds;
    j->evaluated_seconds += seconds;
    r = (nib_eval_report){ .step = j->trainer->step, .epoch = j->state.epoch, .eval_loss = loss,
                           .perplexity = scored ? (double)NAN : exp(loss),
                           .eval_runtime = seconds };
    if (scored) r.scores = &scores;
    if (j->answers.ctx) r.answers = &means;
    e.values[NIB_EVAL_LOSS] = loss;
    e.values[NIB_EVAL_PERPLEXITY] = r.perplexity;
    e.values[NIB_EVAL_RUNTIME] = seconds;
    e.values[NIB_EVAL_SAMPLES] = (double)nib_eval_loop_records(&j->eval) / seconds;
    e.values[NIB_EVAL_STEPS] = (double)nib_eval_loop_batches(&j->eval) / seconds;
    if (nib_finetune_wants_best(&j->o->train)) r.best = judge(j, metric_of(j, &e));
    j->best_now = r.best;
    nib_finetune_judge_rates(j, &e);
    if (j->o->on_evaluate) j->o->on_evaluate(j->o->user, &r);
    status = log_entry(j, &e, err);
    j->evaluate_pending = false;
    return status;
}

/* --- the loop --- */

static nib_status save(job *j, nib_error *err)
{
    nib_status status;

    j->state.should_save = true;
    j->state.should_training_stop = j->trainer->step == j->trainer->steps || is_early_end(j);
    status = nib_finetune_save_checkpoint(j, err);
    if (!status) j->saved_step = j->trainer->step;
    return status;
}

static nib_status train(job *j, nib_error *err)
{
    const nib_train_options *o = &j->o->train;
    nib_trainer *t = j->trainer;
    nib_status status = NIB_OK;

    if (j->evaluate_pending) {
        status = evaluate(j, err);
        if (!status) status = save(j, err);
    }
    while (!status && t->step < t->steps && !is_early_end(j)) {
        if (nib_should_stop(j->ctx))
            return nib_fail(err, NIB_E_INTERRUPTED,
                            "interrupted after step %" PRIu64 " of %" PRIu64, t->step, t->steps);
        j->best_now = false;
        status = step(j, err);
        if (!status && is_due(j, o->eval_strategy, nib_finetune_eval_steps(o)))
            status = evaluate(j, err);
        if (!status && is_save_due(j)) status = save(j, err);
    }
    return status;
}

/* --- the end --- */

static nib_status load_best(job *j, nib_error *err)
{
    const char *dir = j->state.best_model_checkpoint;
    nib_checkpoint c = { 0 };
    nib_status status;

    if (!j->o->train.load_best_model_at_end) return NIB_OK;
    if (!dir) {
        nib_warn(j->ctx,
                 "load_best_model_at_end: no evaluation has a checkpoint, the last state is kept");
        return NIB_OK;
    }
    status = nib_checkpoint_read(j->ctx, dir, &c, err); /* whole? */
    if (!status) status = nib_finetune_read_values(j, dir, err);
    if (!status)
        nib_note(j->ctx, "the best state is that of step %" PRIu64 ", %s %.6g", c.step,
                 nib_finetune_metric(&j->o->train),
                 j->state.best_metric);
    nib_checkpoint_free(j->ctx, &c);
    return status;
}

static nib_status log_end(job *j, double seconds, nib_error *err)
{
    const nib_trainer *t = j->trainer;
    uint64_t steps = t->step - j->session_step;
    double records = t->o.tokens_per_batch ? (double)t->records_seen
                                           : (double)steps * t->o.per_device_train_batch_size *
                                                 t->o.gradient_accumulation_steps;
    nib_log_entry e = { NIB_LOG_END, t->step, j->state.epoch,
                        { (double)nib_memory_peak(), j->state.total_flos,
                          t->step ? t->loss_total / (double)t->step : (double)NAN, seconds,
                          records / fmax(seconds, 1e-9), (double)steps / fmax(seconds, 1e-9) } };

    return log_entry(j, &e, err);
}

static void report_end(job *j, double seconds, bool interrupted)
{
    nib_trainer *t = j->trainer;
    nib_end_report r = { .steps = t->step, .train_runtime = seconds,
                         .train_loss = t->step ? t->loss_total / (double)t->step : 0,
                         .peak_memory_bytes = nib_memory_peak(),
                         .planned_memory_bytes = j->plan.total,
                         .arenas = j->plan.activations + j->plan.scratch + j->plan.adapters +
                                   j->plan.optimizer,
                         .weights_resident = j->plan.weights, .baseline = j->plan.baseline,
                         .interrupted = interrupted };

    if (j->o->on_end) j->o->on_end(j->o->user, &r);
}

static nib_status finish(job *j, nib_error *err)
{
    nib_status status = load_best(j, err);

    if (!status) status = log_end(j, nib_clock_seconds() - j->session_began, err);
    if (!status) status = nib_run_logs_sync(&j->logs, err);
    if (!status) status = nib_finetune_save_adapter(j, err);
    /* a kill may have come between the last save and this */
    if (!status) status = nib_finetune_prune(j, err);
    return status ? status : nib_rundir_finish(&j->dir, err);
}

static bool adapter_is_finite(const job *j)
{
    const nib_params *params = &j->adapter->params;

    for (size_t i = 0; i < params->count; i++)
        for (size_t k = 0; k < nib_param_count(params->items[i]); k++)
            if (!isfinite(params->items[i]->value[k])) return false;
    return true;
}

/* The last good adapter of a run that diverged: one whose loss was finite.  Where the loss is not,
 * here or in an evaluation, the last update is to blame and is taken back; where only the gradient
 * is not, the adapter of this step is good. */
static bool go_back_to_good(job *j)
{
    nib_trainer *t = j->trainer;
    uint64_t bad = t->step;

    if (t->loss_is_bad || j->evaluate_pending || !adapter_is_finite(j)) {
        if (!nib_trainer_take_back(t)) {
            nib_note(j->ctx,
                     "the adapter of step %" PRIu64
                     " is not saved: with it the loss is not finite, and this process "
                     "has no other",
                     bad);
            return false;
        }
        nib_note(
            j->ctx,
            "step %" PRIu64
            " is taken back: with its adapter the loss is not finite; the one before it is saved, "
            "with which the loss was finite",
            bad);
    }
    /* a value that is not may be in a row that no token asks for */
    if (adapter_is_finite(j)) return true;
    nib_note(j->ctx,
             "the adapter of step %" PRIu64 " has values that are not finite: it is not saved",
             t->step);
    return false;
}

/* An interrupted run keeps its last finished state, to resume from and to use; a diverged one its
 * last good adapter. */
static nib_status keep(job *j, nib_status why, bool *kept, nib_error *err)
{
    nib_error save_error;
    nib_status status = NIB_OK;

    *kept = false;
    if (j->trainer->step == 0) return why;
    if (why == NIB_E_INTERRUPTED && (j->saved_step != j->trainer->step || j->evaluate_pending))
        status = save(j, &save_error);
    if (why == NIB_E_NUMERIC && !go_back_to_good(j)) return why;
    snprintf(j->adapter->unfinished, sizeof j->adapter->unfinished,
             "%s after step %" PRIu64 " of %" PRIu64,
             why == NIB_E_INTERRUPTED ? "interrupted" : "ended by a loss that was not finite",
             j->trainer->step, j->trainer->steps);
    if (!status) status = nib_finetune_save_adapter(j, &save_error);
    if (status) return nib_fail_in(err, status, "%s", save_error.message);
    *kept = true;
    if (why == NIB_E_INTERRUPTED)
        nib_note(j->ctx, "step %" PRIu64 " is saved: the same command resumes there",
                 j->trainer->step);
    return why;
}

nib_status nib_finetune_train(job *j, nib_error *err)
{
    nib_status status;
    bool kept = true;

    j->session_began = j->window_began = nib_clock_seconds();
    j->session_step = j->saved_step = j->trainer->step;
    status = train(j, err);
    if (status == NIB_OK) status = finish(j, err);
    else if (status == NIB_E_INTERRUPTED || status == NIB_E_NUMERIC)
        status = keep(j, status, &kept, err);
    else return status;
    if (!status) nib_finetune_judge_end(j);
    if (!status || ((status == NIB_E_INTERRUPTED || status == NIB_E_NUMERIC) && kept))
        report_end(j, nib_clock_seconds() - j->session_began, status == NIB_E_INTERRUPTED);
    if (!status) status = nib_warnings_check(j->ctx, err);
    nib_warnings_repeat(j->ctx);
    return status;
}
