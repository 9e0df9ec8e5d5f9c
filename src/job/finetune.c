/* finetune.c - the main job: open, plan, train.  Task and records are finetune_inputs.c, the plan
 * is finetune_plan.c, training and saving finetune_loop.c. */
#include "nibble/finetune.h"

#include <stdio.h>
#include <math.h>
#include <sys/stat.h>

#include "job/finetune_job.h"
#include "job/labelled.h"
#include "job/lora_continue.h"
#include "job/lora_options.h"
#include "job/memory.h"
#include "job/open.h"
#include "job/other_form.h"
#include "job/quantize_config.h"
#include "job/whole.h"
#include "train/prompt_form.h"

typedef nib_finetune_job job;

static nib_status check_steps(const nib_train_options *t, nib_error *err)
{
    if (t->mini_batch_size < 0)
        return nib_fail(err, NIB_E_INVALID, "mini_batch_size: %d is negative", t->mini_batch_size);
    if (!(t->scale >= 0 && isfinite(t->scale) && t->triplet_margin >= 0 &&
          isfinite(t->triplet_margin)))
        return nib_fail(err, NIB_E_INVALID, "scale %g and triplet_margin %g are not from 0 on",
                        t->scale, t->triplet_margin);
    if (t->tokens_per_batch < 0)
        return nib_fail(err, NIB_E_INVALID, "tokens_per_batch: %d is negative",
                        t->tokens_per_batch);
    if (t->gradient_accumulation_steps < 1)
        return nib_fail(err, NIB_E_INVALID, "gradient_accumulation_steps: %d is less than 1",
                        t->gradient_accumulation_steps);
    if (!(t->learning_rate >= 0 || isnan(t->learning_rate)) || isinf(t->learning_rate))
        return nib_fail(err, NIB_E_INVALID, "learning_rate: %g is not a rate", t->learning_rate);
    if (!(t->weight_decay >= 0 && isfinite(t->weight_decay)))
        return nib_fail(err, NIB_E_INVALID, "weight_decay: %g is negative", t->weight_decay);
    if (t->data_seed < -1)
        return nib_fail(err, NIB_E_INVALID, "data_seed: %" PRId64 " is negative", t->data_seed);
    if (t->max_steps <= 0 && !(t->num_train_epochs > 0))
        return nib_fail(err, NIB_E_INVALID, "num_train_epochs: %g is not above 0",
                        t->num_train_epochs);
    return NIB_OK;
}

static nib_status check_optimizer(const nib_train_options *t, nib_error *err)
{
    if (!(t->adam_beta1 >= 0 && t->adam_beta1 < 1 && t->adam_beta2 >= 0 && t->adam_beta2 < 1))
        return nib_fail(err, NIB_E_INVALID, "adam_beta1 %g and adam_beta2 %g are not in [0, 1)",
                        t->adam_beta1, t->adam_beta2);
    if (!(t->adam_epsilon > 0))
        return nib_fail(err, NIB_E_INVALID, "adam_epsilon: %g is not above 0", t->adam_epsilon);
    if (!(t->max_grad_norm >= 0))
        return nib_fail(err, NIB_E_INVALID, "max_grad_norm: %g is negative", t->max_grad_norm);
    if (!(t->label_smoothing_factor >= 0 && t->label_smoothing_factor < 1))
        return nib_fail(err, NIB_E_INVALID, "label_smoothing_factor: %g is not in [0, 1)",
                        t->label_smoothing_factor);
    if (!(t->neftune_noise_alpha >= 0 && isfinite(t->neftune_noise_alpha)))
        return nib_fail(err, NIB_E_INVALID, "neftune_noise_alpha: %g is not a number from 0 on",
                        t->neftune_noise_alpha);
    return nib_optimizer_check(t, err);
}

static nib_status check_options(const nib_finetune_options *given, nib_error *err)
{
    nib_finetune_options filled = *given, *o = &filled; /* what is open is checked as the libraries'
                                                           values, which are all right */
    nib_status status;

    if (given->defaults && strcmp(given->defaults, "nibble") != 0 &&
        strcmp(given->defaults, "peft") != 0)
        return nib_fail(err, NIB_E_INVALID, "defaults: '%s', known are nibble, peft",
                        given->defaults);
    nib_finetune_peft_defaults(o);
    if (!o->model.model || !o->data.data)
        return nib_fail(err, NIB_E_INVALID, "a model and data are needed");
    if (o->full && o->train_head_only)
        return nib_fail(err, NIB_E_INVALID, "full and train_head_only exclude each other");
    if (nib_finetune_is_whole(o) && o->adapter)
        return nib_fail(err, NIB_E_INVALID, "adapter goes with LoRA, not with %s",
                        o->full ? "full" : "train_head_only");
    if (!o->output_dir && !o->dry_run) return nib_fail(err, NIB_E_INVALID, "output_dir is needed");
    status = check_steps(&o->train, err);
    if (!status) status = check_optimizer(&o->train, err);
    if (status) return status;
    if (o->data.max_seq_length < 2)
        return nib_fail(err, NIB_E_INVALID, "max_seq_length: %d is less than 2",
                        o->data.max_seq_length);
    return nib_finetune_check_strategies(o, err);
}

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Nothing is written into a folder of records, which may be a snapshot of the hub's cache; a file
 * may lie in OUT. */
static nib_status check_data_place(const char *data, const char *out, nib_error *err)
{
    bool file = nib_file_exists(data) && !is_directory(data);

    return file ? NIB_OK : nib_check_data_place(data, out, err);
}

/* OUT must not be, hold or lie in any directory that is read. */
static nib_status check_places(const nib_finetune_options *o, nib_error *err)
{
    nib_status status;

    if (!o->output_dir) return NIB_OK;
    status = nib_quantize_check_places(o->model.model, o->output_dir, err);
    if (!status && o->adapter) status = nib_quantize_check_places(o->adapter, o->output_dir, err);
    if (!status && o->base_original)
        status = nib_quantize_check_places(o->base_original, o->output_dir, err);
    if (!status) status = check_data_place(o->data.data, o->output_dir, err);
    for (size_t i = 0; i < o->data.sources.count && !status; i++)
        status = check_data_place(o->data.sources.items[i].path, o->output_dir, err);
    if (!status && o->eval_data) status = check_data_place(o->eval_data, o->output_dir, err);
    return status;
}

static bool has_names(const nib_names *n) { return n->count || n->all_linear; }

/* What is for adapters, where there are none. */
static void note_unused(job *j)
{
    const nib_lora_options *l = &j->o->lora;
    const struct { const char *key; bool given; } keys[] = {
        { "target_modules", has_names(&l->target_modules) },
        { "target_parameters", has_names(&l->target_parameters) },
        { "trainable_token_indices", l->trainable_token_count > 0 },
        { "use_dora", l->use_dora },
        { "init_lora_weights",
          l->init_lora_weights && strcmp(l->init_lora_weights, "true") != 0 },
    };

    for (size_t i = 0; i < NIB_COUNT(keys) && nib_finetune_is_whole(j->o); i++)
        if (keys[i].given)
            nib_note(j->ctx, "without effect here: %s, for with %s there is no adapter",
                     keys[i].key, j->o->full ? "full" : "train_head_only");
}

/* What a low-bit model was quantized from. */
static nib_status open_original(const job *j, nib_model **out, nib_error *err)
{
    const nib_model_options o = { .model = j->o->base_original, .task = j->model->purpose.task };
    nib_status status;

    if (!o.model || !j->model->tensors) return NIB_OK;
    status = nib_model_open(j->ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
    return status ? nib_fail_in(err, status, "base_original") : NIB_OK;
}

static nib_status create_adapter(job *j, nib_peft_config *config, nib_error *err)
{
    nib_model *original = NULL;
    nib_status status = open_original(j, &original, err);

    if (!status)
        status = nib_adapter_create_from(j->model, config, 0, j->o->train.seed,
                                         &(nib_start_options){
                                             original, { j->o->on_progress, j->o->user } },
                                         &j->adapter, err);
    nib_model_close(original);
    return status;
}

static nib_status open_adapter(job *j, nib_error *err)
{
    nib_peft_config config = nib_peft_config_default();
    nib_status status;

    if (j->o->base_original && (j->o->adapter || nib_finetune_is_whole(j->o)))
        nib_note(j->ctx, "without effect here: base_original, for no adapter is made new");
    if (j->o->adapter) {
        status = nib_adapter_open(j->model, j->o->adapter, 0, true, &j->adapter, err);
        if (!status) j->adapter->unfinished[0] = 0; /* of the run before; this one is its own */
        if (!status) status = nib_lora_continues(j->adapter, &j->o->lora, err);
        return status ? status : nib_compare_forms(j->adapter, "trained further on", false,
                                                   &(nib_merge_result){ 0 }, err);
    }
    note_unused(j);
    status = nib_finetune_is_whole(j->o)
                 ? nib_whole_config(j->ctx, j->model, j->o->full, &config, err)
                 : nib_lora_config(j->ctx, &j->o->lora, &config, err);
    if (status) {
        nib_peft_config_free(j->ctx, &config);
        return status;
    }
    config.base_model_name_or_path = nib_base_model_name(j->ctx, j->o->base_model_name,
                                                         j->o->model.model, j->model->json);
    status = nib_finetune_is_whole(j->o) ? NIB_OK
                                         : nib_lora_for_task(j->ctx, j->model, &config, err);
    if (!status)
        status = config.base_model_name_or_path
                 ? create_adapter(j, &config, err)
                 : nib_fail(err, NIB_E_NOMEM, "adapter: out of memory");
    nib_peft_config_free(j->ctx, &config);
    return status;
}

/* What is asked later is put as the records put it. */
static nib_status keep_prompt_form(job *j, nib_error *err)
{
    nib_free(j->ctx, j->adapter->prompt_form);
    j->adapter->prompt_form = NULL;
    if (j->model->purpose.task != NIB_TASK_CAUSAL_LM) return NIB_OK;
    return nib_prompt_form_make(j->ctx, &j->o->data, nib_dataset_shape(j->data),
                                &j->adapter->prompt_form, err);
}

/* Are the weights there?  A dry run does without. */
static nib_status look_for_weights(job *j, nib_error *err)
{
    nib_tensors *tensors = NULL;
    nib_status status;

    if (!j->o->dry_run) return NIB_OK;
    status = nib_tensors_open(j->ctx, j->o->model.model, &tensors, err);
    nib_tensors_close(tensors);
    j->weights_missing = status == NIB_E_IO;
    return j->weights_missing ? NIB_OK : status;
}

static nib_status open_parts(job *j, nib_dtype compute, bool blank, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_model_progress progress = { o->on_progress, o->user };
    nib_status status = blank
                            ? nib_model_open_blank(j->ctx, &o->model, compute, &j->model, err)
                            : nib_model_open(j->ctx, &o->model, compute, progress, &j->model, err);

    if (!status && isnan(o->train.learning_rate))
        j->options.train.learning_rate = nib_teaching_rate(j->model->parameters);
    if (!status) status = open_adapter(j, err);
    if (!status && nib_finetune_compares(j)) status = nib_finetune_train_dense(j, err);
    return status;
}

static void close_parts(job *j)
{
    nib_trainer_destroy(j->trainer);
    nib_embedder_free(&j->embedder);
    nib_dense_forget(j->sentence.dense, j->sentence.dense_count); /* the adapter's list has them */
    nib_adapter_close(j->adapter);
    nib_model_close(j->model);
    j->trainer = NULL;
    j->adapter = NULL;
    j->model = NULL;
}

/* Takes the records over. */
static nib_status open_compared(job *j, nib_dataset *records, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_embedder from = nib_compared_embedder(j->ctx, j->model->graph, &j->sentence, NULL);
    size_t width = nib_embedder_width(&from);
    nib_record first = nib_dataset_record(records, 0);
    nib_status status = nib_compared_loss(records, &o->train,
                                          (size_t)first.types[first.length - 1] + 1, width,
                                          &from.loss, err);

    if (status) {
        nib_dataset_close(records);
        return status;
    }
    return nib_eval_loop_open_compared(j->ctx, j->model->graph, &from,
                                       o->eval_data ? o->eval_data : o->data.data, records, NULL,
                                       (size_t)o->train.per_device_eval_batch_size, &j->eval, err);
}

/* Takes the records over. */
static nib_status open_evaluation(job *j, nib_dataset *records, nib_error *err)
{
    const nib_finetune_options *o = j->o;

    if (nib_finetune_compares(j)) return open_compared(j, records, err);
    return nib_eval_loop_open(j->ctx, j->model->graph, o->eval_data ? o->eval_data : o->data.data,
                              records, (size_t)o->train.per_device_eval_batch_size, &j->eval, err);
}

/* What evaluations are made with, beside training. */
static nib_status open_evaluations(job *j, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_dataset *records = j->eval_records;
    nib_status status;

    if (!records) return NIB_OK;
    j->eval_records = NULL; /* handed over */
    status = open_evaluation(j, records, err);
    if (status || !j->answers.ctx) return status;
    return nib_answer_loop_plan(&j->answers, o->model.model, j->tokenizer, j->model, j->adapter,
                                err);
}

/* Plans; where that does not fit, and nobody gave a length, again without the longest records.
 * ahead: without evaluations. */
static nib_status plan(job *j, bool ahead, nib_error *err)
{
    nib_status status = ahead ? NIB_OK : open_evaluations(j, err);
    int length;

    if (!status) status = nib_finetune_plan(j, err);
    while (!status && !nib_finetune_fits(j) && nib_finetune_length_counts(j)) {
        status = nib_finetune_shorter(j, &length, err);
        if (status || !length) break;
        nib_finetune_forget_records(j);
        *j->advice = 0;
        status = nib_finetune_read_again(j, length, err);
        if (!status && !ahead) status = open_evaluations(j, err);
        if (!status) status = nib_finetune_plan(j, err);
        j->length_by_memory = true;
    }
    return status;
}

/* Quantizing while loading takes minutes and most of the memory: what cannot fit is found out
 * before. *settled: it does not fit, and the parts are open, blank. */
static nib_status plan_ahead(job *j, nib_dtype compute, bool *settled, nib_error *err)
{
    nib_status status = open_parts(j, compute, true, err);

    if (!status) status = plan(j, true, err);
    *settled = !status && !nib_finetune_fits(j);
    if (!*settled) close_parts(j);
    return status == NIB_E_UNSUPPORTED ? NIB_OK : status; /* shapes that only the weights tell */
}

static nib_status open_model(job *j, bool quantizes, nib_error *err)
{
    nib_dtype compute = nib_open_compute(j->ctx, nib_finetune_compute(j));
    bool settled = false;
    nib_status status = look_for_weights(j, err);

    if (!status && quantizes && !j->weights_missing && !j->o->adapter)
        status = plan_ahead(j, compute, &settled, err);
    if (!status && !settled) status = open_parts(j, compute, j->weights_missing, err);
    if (!status) status = plan(j, false, err);
    if (!status && j->answers.ctx)
        nib_note(j->ctx, "each evaluation answers its %zu records, with at most %zu new tokens "
                         "each, for %s", j->answers.records, j->answers.max_new_tokens,
                 nib_finetune_metric(&j->o->train));
    return status;
}

static nib_status prepare(job *j, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    bool quantizes = false;
    nib_status status = nib_finetune_open_inputs(j, &quantizes, err);

    if (status) return status;
    j->plan.baseline = nib_memory_resident();
    j->plan.available = nib_memory_free() + j->plan.baseline;
    if (o->train.max_memory && o->train.max_memory < j->plan.available)
        j->plan.available = o->train.max_memory;
    status = open_model(j, quantizes, err);
    if (!status) status = keep_prompt_form(j, err);
    if (!status && !nib_finetune_compares(j))
        status = nib_check_types(j->model->graph, j->data, j->o->data.data, err);
    if (!status && j->eval.data)
        status = nib_check_types(j->model->graph, j->eval.data,
                                 j->o->eval_data ? j->o->eval_data : j->o->data.data, err);
    if (!status) nib_finetune_report_labels(j);
    if (status || o->dry_run) return status;
    if (!nib_finetune_fits(j))
        return nib_fail(
            err, NIB_E_NOMEM, "the plan needs %" PRIu64 " MiB%s, %" PRIu64 " MiB are there: %s",
            j->plan.total >> 20, j->plan.checkpointing ? " even when layers are run again" : "",
            j->plan.available >> 20,
            *j->advice ? j->advice : "lower max_seq_length, or take a smaller model");
    status = nib_trainer_allocate(j->trainer, j->dir.path, err);
    if (!status) status = nib_eval_loop_allocate(&j->eval, err);
    if (!status) status = nib_answer_loop_allocate(&j->answers, err);
    if (!status && j->eval.run) j->eval.run->label_smoothing = o->train.label_smoothing_factor;
    return status;
}

/* What an evaluation takes, with its answers. */
static nib_status try_evaluation(job *j, nib_error *err)
{
    double answers;
    nib_status status = NIB_OK;

    if (!nib_finetune_evaluations_left(j)) return NIB_OK;
    if (j->o->dry_run) status = nib_eval_loop_allocate(&j->eval, err);
    if (!status && j->o->dry_run) status = nib_answer_loop_allocate(&j->answers, err);
    if (!status) status = nib_answer_loop_trial(&j->answers, &answers, err);
    if (!status) j->evaluation_seconds = nib_eval_loop_trial(&j->eval) + answers;
    return status;
}

/* A dry run takes memory only when there is enough, and then times a step and a part of an
 * evaluation. */
static nib_status try_step(job *j, nib_error *err)
{
    nib_status status = NIB_OK;

    if (j->o->dry_run) {
        if (!nib_finetune_fits(j)) return NIB_OK;
        if (j->weights_missing)
            status = nib_model_fill(j->model, (nib_model_progress){ j->o->on_progress, j->o->user },
                                    err);
        if (!status) status = nib_trainer_allocate(j->trainer, NULL, err);
    }
    if (!status) j->trial_seconds = nib_trainer_trial(j->trainer);
    return status ? status : try_evaluation(j, err);
}

/* Which set of defaults holds; of the libraries' the values that are others, theirs in brackets. */
static void describe_defaults(const job *j, char *to, size_t room)
{
    const nib_finetune_options *o = j->o;

    if (nib_finetune_teaches(o, o->model.task)) {
        snprintf(to, room, "\nwhat was not given has nibble's defaults (docs/defaults.md); "
                           "--defaults peft has the libraries'");
        return;
    }
    snprintf(to, room, "\nwhat was not given has the libraries' defaults, but for "
             "bnb_4bit_quant_type nf4 (fp4), learning_rate %g (5e-5), logging_steps 1 (500)%s%s",
             nib_default_learning_rate(o->model.task, o->full, o->train_head_only),
             nib_finetune_asks_peft(o) ? "" : ", save_total_limit 2 (all)",
             o->model.task == NIB_TASK_FEATURE_EXTRACTION
                 ? ", per_device_train_batch_size 64 (8)" : "");
}

/* Every value that changes the result: the resolved recipe, in lines of a terminal's width. */
static void describe(job *j)
{
    enum { WIDTH = 110 };
    char form[NIB_BASE_FORM_ROOM];
    size_t used, line;

    nib_base_form(j->model, form);
    used = (size_t)snprintf(j->settings, sizeof j->settings, "weights %s%s", form,
                            j->model->quantized_now ? ", quantized while loading" : " as stored");
    line = used;
    for (const char *p = j->recipe, *end; *p; p = *end ? end + 1 : end) {
        size_t n = (size_t)((end = strchrnul(p, '\n')) - p), colon = strcspn(p, ":");
        bool fresh;

        if (*p == '#' || n == 0) continue;
        fresh = line + n > WIDTH;
        /* a pattern of thousands: recipe.yaml has it whole */
        if (used + n + 3 >= sizeof j->settings - 4) {
            strcpy(j->settings + used, "...");
            return;
        }
        used += (size_t)sprintf(j->settings + used, "%s%.*s%.*s", fresh ? "\n" : ", ", (int)colon,
                                p, (int)(n - colon - 1), p + colon + 1);
        line = fresh ? n : line + n + 1;
    }
    describe_defaults(j, j->settings + used, sizeof j->settings - used);
}

/* "LoRA of r 16 on all-linear" */
static void describe_trained(job *j)
{
    const nib_peft_config *c = &j->adapter->config;
    const nib_peft_names *n = &c->target_modules;
    bool all = n->kind == NIB_PEFT_ALL_LINEAR || j->o->lora.target_modules.all_linear;
    char names[120] = "the family's modules";
    size_t used = 0;

    if (nib_finetune_is_whole(j->o)) {
        snprintf(j->trained, sizeof j->trained, "%s",
                 j->o->full ? "all of the model" : "the head alone");
        return;
    }
    if (all) strcpy(names, "all-linear"); /* the config lists what it found */
    else if (n->kind == NIB_PEFT_REGEX) strcpy(names, "modules that match an expression");
    for (size_t i = 0; !all && n->kind == NIB_PEFT_LIST && i < n->count && used < 80; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%.30s", i ? ", " : "",
                                 n->names[i]);
    if (used >= 80) snprintf(names, sizeof names, "%zu names of modules", n->count);
    snprintf(j->trained, sizeof j->trained, "LoRA of r %" PRId64 " on %s", c->r, names);
}

static void report_start(job *j)
{
    nib_data_counts c = nib_dataset_counts(j->data);
    nib_run_report r = {
        .trainable_parameters = nib_adapter_trainable(j->adapter), .weights = j->form,
        .trained = j->trained, .learning_rate = j->o->train.learning_rate,
        .defaults = nib_finetune_teaches(j->o, j->o->model.task) ? "nibble's" : "the libraries'",
        .too_long = c.too_long, .max_seq_length = j->o->data.max_seq_length,
        .length_by_memory = j->length_by_memory,
        /* what is trained of a model itself is no parameter more */
        .all_parameters = nib_finetune_is_whole(j->o) ? j->model->parameters
                                                      : nib_adapter_all(j->adapter),
        .shape = nib_shape_name(nib_dataset_shape(j->data)),
        .chat_template = nib_dataset_template(j->data), .bad = c.bad, .duplicates = c.duplicates,
        .ends = c.ends, .eval_records = j->eval.ctx ? nib_eval_loop_records(&j->eval) : 0,
        .records = nib_dataset_count(j->data), .truncated = c.truncated, .empty = c.empty,
        .masked_out = c.masked_out, .duplicate_bos = c.had_bos, .steps = j->trainer->steps,
        .plan = j->plan,
        .compute_dtype = nib_dtype_name(j->model->graph->type),
        .isa = nib_cpu_name(nib_ctx_cpu(j->ctx)), .settings = j->settings,
        .fits = nib_finetune_fits(j), .weights_missing = j->weights_missing, .advice = j->advice,
        .per_device_train_batch_size = j->trainer->o.per_device_train_batch_size,
        .gradient_accumulation_steps = j->trainer->o.gradient_accumulation_steps,
        .tokens_per_batch = j->trainer->o.tokens_per_batch
    };

    r.sources = nib_dataset_sources(j->data, &r.source_count);
    nib_dataset_epoch_tokens(j->data, &r.tokens_per_epoch, &r.supervised_per_epoch);
    r.seconds_per_step = j->trial_seconds;
    r.seconds_per_epoch = j->trial_seconds * (double)j->trainer->layout.per_epoch;
    r.evaluations = nib_finetune_evaluations_left(j);
    r.seconds_per_evaluation = j->evaluation_seconds;
    r.seconds_total = j->trial_seconds * (double)(j->trainer->steps - j->trainer->step) +
                      j->evaluation_seconds * (double)r.evaluations;
    describe(j);
    describe_trained(j);
    nib_base_form(j->model, j->form);
    if (j->o->on_start) j->o->on_start(j->o->user, &r);
    nib_warnings_repeat(j->ctx);
}

/* What somebody who gave no more than needed should know. */
static void remark(const job *j)
{
    enum { FEW_STEPS = 100 };
    const nib_train_options *t = &j->o->train;

    if (!nib_finetune_teaches(j->o, j->o->model.task)) return;
    if (j->trainer->steps < FEW_STEPS)
        nib_note(j->ctx, "%" PRIu64 " steps are few, below %d an adapter seldom learns what its "
                         "records say: more records, or more than %g num_train_epochs",
                 j->trainer->steps, (int)FEW_STEPS, t->num_train_epochs);
    if (!j->eval.ctx)
        nib_note(j->ctx, "no records are held out, so that nothing shows what it learned: "
                         "--val-size 0.1 holds out a tenth, --eval-data FILE names others");
}

static nib_status run(job *j, nib_error *err)
{
    nib_status status = prepare(j, err);

    if (!status) {
        nib_finetune_settle_steps(&j->options.train, j->trainer->steps);
        status = nib_finetune_check_strategies(j->o, err);
    }
    if (!status) status = nib_finetune_resolve(j, err);
    if (!status) nib_finetune_warn_elsewhere(j);
    if (!status) status = nib_warnings_check(j->ctx, err); /* before anything is written */
    if (!status && !j->o->dry_run) status = nib_finetune_begin(j, err);
    if (!status) status = try_step(j, err);
    if (status) return status;
    report_start(j);
    remark(j);
    return j->o->dry_run ? NIB_OK : nib_finetune_train(j, err);
}

/* A place that nothing can be paged out to is found out before any weight is loaded. */
static nib_status check_paging(const job *j, nib_error *err)
{
    nib_status status = nib_optimizer_is_paged(&j->o->train) ? nib_pagefile_check(j->dir.path, err)
                                                             : NIB_OK;
    return status ? nib_fail_in(err, status, "optim %s", j->o->train.optim) : NIB_OK;
}

nib_status nib_finetune(nib_ctx *ctx, const nib_finetune_options *options, nib_error *err)
{
    job j = { .ctx = ctx, .options = *options, .dir = { .lock = -1 } };
    nib_status status = check_options(options, err);

    j.o = &j.options;
    if (!status) status = check_places(options, err);
    if (!status && !options->dry_run)
        status = nib_rundir_open(ctx, options->output_dir,
                                 nib_finetune_resume_from(options) ? NIB_RUNDIR_RESUME
                                 : options->overwrite              ? NIB_RUNDIR_OVERWRITE
                                                                   : NIB_RUNDIR_NEW,
                                 &j.dir, err);
    if (!status && !options->dry_run) status = check_paging(&j, err);
    if (!status && !options->dry_run) status = nib_finetune_look_for_resume(&j, err);
    if (!status) status = run(&j, err);
    nib_finetune_end(&j);
    close_parts(&j);
    nib_texts_free(&j.texts);
    nib_sentence_close(&j.sentence);
    nib_dataset_close(j.data);
    nib_dataset_close(j.eval_records);
    nib_tokenizer_close(j.tokenizer);
    nib_rundir_close(&j.dir);
    nib_free(ctx, j.recipe);
    return status;
}
