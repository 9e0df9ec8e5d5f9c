/* finetune_inputs.c - what a run is made of before a weight is loaded: the tokenizer, the task, the
 * records and their labels. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "job/finetune_job.h"
#include "job/labelled.h"

typedef nib_finetune_job job;

static nib_status check_metric(const nib_train_options *t, nib_task task, nib_error *err)
{
    const char *metric = nib_finetune_metric(t);
    bool of_words = nib_finetune_metric_is_perplexity(t);
    nib_answer_score judged;

    if (strcmp(metric, "eval_loss") == 0 ||
        of_words == (task == NIB_TASK_CAUSAL_LM || task == NIB_TASK_MASKED_LM) ||
        (task == NIB_TASK_CAUSAL_LM && nib_finetune_metric_is_judged(t, &judged)))
        return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is not measured of %s",
                    metric + 5, nib_task_name(task));
}

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0) names++;
    return *names != NULL;
}

/* Of classes others are measured than of numbers; what is not has no best. */
static nib_status check_score(const nib_train_options *t, const nib_labels *l, nib_error *err)
{
    static const char *const numbers[] = { "loss", "mse", "pearson", "spearmanr", NULL };
    static const char *const sets[] = { "loss", "accuracy", "f1", NULL };
    static const char *const answers[] = { "loss", "exact_match", "f1", NULL };
    static const char *const classes[] = { "loss", "accuracy", "f1", "matthews_correlation", NULL };
    static const char *const spans[] = { "loss", "accuracy", "f1", "matthews_correlation",
                                         "overall_f1", "overall_precision", "overall_recall",
                                         NULL };
    const char *metric = nib_finetune_metric(t) + strlen("eval_");
    bool marks = l->kind == NIB_LABEL_TAGS && nib_labels_mark_spans(l, l->count);
    const char *const *known = l->kind == NIB_LABEL_NUMBERS ? numbers
                               : l->kind == NIB_LABEL_SET   ? sets
                               : l->kind == NIB_LABEL_SPAN  ? answers
                               : marks                      ? spans
                                                            : classes;
    char list[200] = "";
    size_t used = 0;

    if (is_one_of(metric, known)) return NIB_OK;
    for (size_t i = 0; known[i]; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 !i ? "" : known[i + 1] ? ", " : " or ", known[i]);
    return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is not measured of records with "
                    "%s; take %s", metric,
                    l->kind == NIB_LABEL_NUMBERS ? "numbers"
                    : l->kind == NIB_LABEL_SET   ? "several labels"
                    : l->kind == NIB_LABEL_SPAN  ? "answers in a context"
                    : l->kind == NIB_LABEL_CLASS ? "classes"
                    : marks                      ? "spans"
                                                 : "tags that are not O, B-, I-, E- or S-",
                    list);
}

static nib_status check_of_embeddings(const job *j, nib_task task, nib_error *err)
{
    const nib_train_options *o = &j->o->train;

    if (task == NIB_TASK_FEATURE_EXTRACTION ||
        !(o->loss || o->pooling || o->scale > 0 || o->triplet_margin > 0 ||
          o->matryoshka_dim_count || o->mini_batch_size))
        return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "loss, pooling, scale, triplet_margin, matryoshka_dims and "
                    "mini_batch_size are of embeddings (task_type FEATURE_EXTRACTION), and this "
                    "is %s", nib_task_name(task));
}

/* What the model is trained for, from the option or from config.json. */
static nib_status choose_task(job *j, const json_t *json, const nib_config *config, nib_error *err)
{
    nib_model_options *o = &j->options.model;
    const char *type = j->o->task_type;
    nib_purpose p;
    nib_status status;

    if (type && !nib_task_parse(type, &o->task))
        return nib_fail(err, NIB_E_INVALID,
                        "task_type: '%s', known are CAUSAL_LM, SEQ_CLS, TOKEN_CLS, "
                        "FEATURE_EXTRACTION, MASKED_LM, QUESTION_ANS", type);
    status = nib_purpose_read(json, config->arch, o, o->model, &p, err);
    if (status) return status;
    j->guessed_task = !type && o->task == NIB_TASK_AUTO;
    o->task = p.task;
    if (p.task == NIB_TASK_SEQ_CLS && p.labels == 1 && p.loss == NIB_LOSS_BINARY) {
        o->num_labels = 1; /* a cross-encoder's: labels are read as numbers */
        o->problem_type = nib_problem_type(p.loss);
    }
    if (p.task == NIB_TASK_QUESTION_ANS && j->o->train.label_smoothing_factor > 0)
        return nib_fail(err, NIB_E_INVALID, "label_smoothing_factor: answers in a context have no "
                        "labels that the Trainer would smooth");
    status = check_metric(&j->o->train, p.task, err);
    if (!status) status = check_of_embeddings(j, p.task, err);
    if (status) return status;
    o->head_seed = j->o->train.seed;
    j->batch_is_free = j->o->train.per_device_train_batch_size < 0 &&
                       nib_finetune_teaches(j->o, p.task);
    nib_finetune_settle_defaults(&j->options, p.task);
    if (p.task == NIB_TASK_CAUSAL_LM || p.task == NIB_TASK_FEATURE_EXTRACTION ||
        p.task == NIB_TASK_MASKED_LM || nib_task_has_head(p.task))
        return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: config.json makes it a model for %s, which is not trained: set task_type "
                    "to SEQ_CLS, TOKEN_CLS or FEATURE_EXTRACTION", o->model, nib_task_name(p.task));
}

/* A classifier's own labels are the known ones, unless a new head is asked for. */
static nib_status know_labels(job *j, const json_t *json, const nib_config *config,
                              nib_labels *labels, nib_error *err)
{
    nib_model_options stored = { .task = NIB_TASK_AUTO };
    nib_purpose p;
    bool named = false;
    nib_status status = nib_purpose_read(json, config->arch, &stored, j->o->model.model, &p, err);

    /* choose_task() has read the same with the task: here no class of ours, so no known labels */
    if (status || p.task != j->o->model.task) return NIB_OK;
    if (j->o->model.num_labels && (size_t)j->o->model.num_labels != p.labels) return NIB_OK;
    if (!nib_task_has_labels(p.task) || p.loss == NIB_LOSS_SQUARED || p.labels == 1) return NIB_OK;
    status = nib_labels_of_config(json, j->o->model.model, p.labels, labels, &named, err);
    if (!named) nib_labels_free(labels);
    labels->ctx = j->ctx;
    return status;
}

/* After the records were read: what they say of the model. */
static nib_status take_labels(job *j, const json_t *json, const nib_config *config, nib_error *err)
{
    nib_labels *l = nib_dataset_labels_mut(j->data);
    nib_status status = NIB_OK;

    if (!nib_task_has_head(j->o->model.task)) return NIB_OK;
    if (j->o->data.class_weights) status = nib_labels_balance(l, err);
    if (!status) status = check_score(&j->o->train, l, err);
    if (status || l->kind == NIB_LABEL_SPAN) return status;
    return nib_labels_apply(l, json, config->arch, &j->options.model, err);
}

/* The records to train on, and those to evaluate on. */
static nib_status open_data(job *j, const nib_labels *known, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    const nib_outline *outline = &j->outline;
    const nib_train_options *t = &o->train;
    nib_data_options eval = o->data;
    nib_dataset_source source = { .options = &o->data, .model_dir = o->model.model,
                                  .tokenizer = j->tokenizer,
                                  .vocabulary = (uint32_t)outline->vocabulary,
                                  .task = o->model.task, .positions = outline->positions,
                                  .box_limit = outline->box_limit,
                                  .refused = outline->refused_fields,
                                  .labels = known->known ? known : NULL, .labels_matter = true,
                                  .guessed_task = j->guessed_task, .mask_seed = t->seed,
                                  .regression =
                                      nib_labels_are_graded(&o->model) ||
                                      (o->model.problem_type &&
                                       strcmp(o->model.problem_type, "regression") == 0),
                                  .now = j->started ? j->started : (int64_t)time(NULL) };
    bool evaluates = strcmp(t->eval_strategy, "no") != 0;
    nib_status status;

    if (j->sentence.longest)
        source.positions = nib_min((size_t)j->sentence.longest,
                                   source.positions ? source.positions : SIZE_MAX);
    status = nib_dataset_open(j->ctx, &source, &j->data, err);
    if (!status && o->model.task == NIB_TASK_CAUSAL_LM) nib_dataset_warn_ends(j->data);
    if (!status && nib_finetune_compares(j)) status = nib_finetune_check_compared(j, err);
    if (!status && o->val_size > 0) {
        status = nib_dataset_hold_out(j->data, o->val_size,
                                      t->data_seed >= 0 ? (uint64_t)t->data_seed : t->seed,
                                      &j->eval_records, err);
        if (!status && !evaluates) {
            nib_warn_code(j->ctx, "not-evaluated",
                          "val_size: %zu records are held out and nothing is evaluated on them, "
                          "for eval_strategy is no",
                          nib_dataset_count(j->eval_records));
            nib_dataset_close(j->eval_records);
            j->eval_records = NULL;
        }
    } else if (!status && evaluates) {
        if (o->eval_data) eval.data = o->eval_data, eval.sources.count = 0;
        if (o->eval_data || o->eval_split) eval.split = o->eval_split;
        if (o->eval_data || o->eval_dataset_config) eval.dataset_config = o->eval_dataset_config;
        source.options = &eval;
        source.unweighted = true;
        source.labels = nib_task_has_labels(o->model.task) ? nib_dataset_labels(j->data) : NULL;
        status = nib_dataset_open(j->ctx, &source, &j->eval_records, err);
        if (status)
            nib_fail_in(err, status, o->eval_data ? "eval_data (with eval_dataset_config and "
                                                    "eval_split)"
                                                  : "eval_split");
    } else if (!status && (o->eval_data || o->eval_split)) {
        nib_warn_code(j->ctx, "not-evaluated",
                      "%s: nothing is evaluated on it, for eval_strategy is no",
                      o->eval_data ? "eval_data" : "eval_split");
    }
    return status;
}

/* A metric of answers takes its questions while there is no weight yet. */
static nib_status open_answers(job *j, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_answer_score score;

    if (o->model.task != NIB_TASK_CAUSAL_LM || !j->eval_records ||
        !nib_finetune_metric_is_judged(&o->train, &score))
        return NIB_OK;
    return nib_answer_loop_open(j->ctx, o->eval_data ? o->eval_data : o->data.data, j->eval_records,
                                &o->data, score, j->tokenizer, &j->answers, err);
}

/* What was left open is the longest record, also of those that are held out, evaluated on or have
 * nothing to train: the same run again then leaves out the same ones, and holds out the same. */
static nib_status settle_length(job *j, nib_error *err)
{
    uint32_t longest = nib_dataset_counts(j->data).longest_read;
    const char *recorded = json_string_value(json_object_get(j->recorded, "max_seq_length"));
    int begun = recorded ? atoi(recorded) : 0;

    if (j->o->data.max_seq_length != NIB_OPEN) return NIB_OK;
    if (j->eval_records)
        longest = (uint32_t)nib_max(longest, nib_dataset_counts(j->eval_records).longest_read);
    j->options.data.max_seq_length = (int)nib_max(longest, 2u);
    j->length_is_free = !j->recorded && !j->o->train.tokens_per_batch && !nib_finetune_compares(j);
    if (begun < 2 || begun >= j->options.data.max_seq_length) return NIB_OK;
    nib_finetune_forget_records(j); /* the run began with what its memory allowed */
    return nib_finetune_read_again(j, begun, err);
}

void nib_finetune_forget_records(job *j)
{
    nib_trainer_destroy(j->trainer);
    nib_answer_loop_close(&j->answers);
    nib_eval_loop_close(&j->eval);
    nib_dataset_close(j->eval_records);
    nib_dataset_close(j->data);
    j->trainer = NULL;
    j->data = j->eval_records = NULL;
}

nib_status nib_finetune_read_again(job *j, int length, nib_error *err)
{
    nib_labels none = { .ctx = j->ctx }; /* of a model that writes text */
    nib_status status;

    assert(!j->data && !j->eval_records);
    j->options.data.max_seq_length = length;
    status = open_data(j, &none, err);
    return status ? status : open_answers(j, err);
}

static void report_labels(job *j)
{
    const nib_labels *l = nib_dataset_labels(j->data);
    char names[400] = "", room[24];
    size_t used = 0;

    for (size_t i = 0; l->kind != NIB_LABEL_NUMBERS && i < l->count && used + 60 < sizeof names;
         i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%.40s", i ? ", " : ": ",
                                 nib_label_name(l, i, room));
    nib_note(j->ctx, "%s, %s, %d label%s%s", nib_task_name(j->o->model.task),
             j->o->model.problem_type ? j->o->model.problem_type : "a class a token",
             j->o->model.num_labels, j->o->model.num_labels == 1 ? "" : "s", names);
}

void nib_finetune_report_labels(job *j)
{
    char names[400] = "";
    size_t used = 0;

    if (nib_finetune_compares(j)) nib_finetune_report_compared(j);
    if (nib_dataset_questions(j->data)->count)
        nib_note(j->ctx, "%s: %zu questions in %zu windows of at most %u tokens",
                 nib_task_name(j->o->model.task), nib_dataset_questions(j->data)->count,
                 nib_dataset_count(j->data), nib_dataset_counts(j->data).longest);
    if (nib_task_has_labels(j->o->model.task)) report_labels(j);
    for (size_t i = 0; i < j->model->new_count && used + 100 < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%.80s", i ? ", " : "",
                                 j->model->new_linears[i]->name);
    if (j->model->new_count)
        nib_note(j->ctx, "not in the model's files, begun at random (seed %" PRIu64 "): %s",
                 j->o->train.seed, names);
}

nib_status nib_finetune_open_inputs(job *j, bool *quantizes, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_config *config = NULL;
    json_t *json = NULL;
    nib_labels known = { .ctx = j->ctx };
    nib_held asked = { 0 };
    nib_status status = nib_finetune_find_sentence(j, err);

    if (!status) status = nib_tokenizer_open_any(j->ctx, o->model.model, &j->tokenizer, err);
    if (!status)
        status = nib_config_open(j->ctx, o->model.model, false, &json, &config, err);
    if (!status) status = nib_outline_make(j->ctx, config, o->model.model, &j->outline, err);
    if (!status) status = choose_task(j, json, config, err);
    if (!status) status = know_labels(j, json, config, &known, err);
    if (!status) status = open_data(j, &known, err);
    if (!status) status = settle_length(j, err);
    if (!status) status = take_labels(j, json, config, err);
    if (!status && !j->answers.ctx) status = open_answers(j, err);
    if (!status)
        status = nib_held_asked(o->model.settings, &asked, &(const nib_setting *){ NULL }, err);
    *quantizes = asked.format && !json_is_object(json_object_get(json, "quantization_config"));
    nib_labels_free(&known);
    nib_config_free(j->ctx, config);
    json_decref(json);
    return status;
}
