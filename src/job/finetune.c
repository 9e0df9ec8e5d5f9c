/* finetune.c - the main job: tokenize, open, plan; training and saving are finetune_loop.c. */
#include "nibble/finetune.h"

#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <sys/stat.h>

#include "job/finetune_job.h"
#include "job/lora_options.h"
#include "job/memory.h"
#include "job/open.h"
#include "job/quantize_config.h"

typedef nib_finetune_job job;

static nib_status check_options(const nib_finetune_options *o, nib_error *err)
{
    const nib_train_options *t = &o->train;

    if (!o->model.model || !o->data.data) return nib_fail(err, NIB_E_INVALID, "a model and data are needed");
    if (!o->output_dir && !o->dry_run) return nib_fail(err, NIB_E_INVALID, "output_dir is needed");
    if (t->per_device_train_batch_size < 1)
        return nib_fail(err, NIB_E_INVALID, "per_device_train_batch_size: %d is less than 1", t->per_device_train_batch_size);
    if (t->gradient_accumulation_steps < 1)
        return nib_fail(err, NIB_E_INVALID, "gradient_accumulation_steps: %d is less than 1", t->gradient_accumulation_steps);
    if (!(t->learning_rate >= 0 && isfinite(t->learning_rate)))
        return nib_fail(err, NIB_E_INVALID, "learning_rate: %g is not a rate", t->learning_rate);
    if (t->max_steps <= 0 && !(t->num_train_epochs > 0))
        return nib_fail(err, NIB_E_INVALID, "num_train_epochs: %g is not above 0", t->num_train_epochs);
    if (!(t->adam_beta1 >= 0 && t->adam_beta1 < 1 && t->adam_beta2 >= 0 && t->adam_beta2 < 1))
        return nib_fail(err, NIB_E_INVALID, "adam_beta1 %g and adam_beta2 %g are not in [0, 1)", t->adam_beta1, t->adam_beta2);
    if (!(t->adam_epsilon > 0)) return nib_fail(err, NIB_E_INVALID, "adam_epsilon: %g is not above 0", t->adam_epsilon);
    if (!(t->max_grad_norm >= 0)) return nib_fail(err, NIB_E_INVALID, "max_grad_norm: %g is negative", t->max_grad_norm);
    if (o->data.max_seq_length < 2)
        return nib_fail(err, NIB_E_INVALID, "max_seq_length: %d is less than 2", o->data.max_seq_length);
    return nib_finetune_check_strategies(o, err);
}

/* OUT must not be, hold or lie in any directory that is read. */
static nib_status check_places(const nib_finetune_options *o, nib_error *err)
{
    nib_status status;

    if (!o->output_dir) return NIB_OK;
    status = nib_quantize_check_places(o->model.model, o->output_dir, err);
    if (!status && o->adapter) status = nib_quantize_check_places(o->adapter, o->output_dir, err);
    return status;
}

static nib_status open_adapter(job *j, nib_error *err)
{
    nib_peft_config config = nib_peft_config_default();
    nib_status status;

    if (j->o->adapter) return nib_adapter_open(j->model, j->o->adapter, 0, true, &j->adapter, err);
    status = nib_lora_config(j->ctx, &j->o->lora, &config, err);
    if (status) return status;
    config.base_model_name_or_path = nib_base_model_name(j->ctx, j->o->base_model_name, j->o->model.model, j->model->json);
    status = config.base_model_name_or_path
                 ? nib_adapter_create(j->model, &config, j->o->train.seed, &j->adapter, err)
                 : nib_fail(err, NIB_E_NOMEM, "adapter: out of memory");
    nib_peft_config_free(j->ctx, &config);
    return status;
}

/* Bytes of the weights that training touches: of an untied embedding only the rows in use. */
static uint64_t touched_weights(const job *j)
{
    const nib_weight *e = j->model->embedding->weight;
    uint64_t bytes = j->model->weight_bytes, rows = 0, row = e->resident_bytes / e->out;
    uint8_t *used;

    if (j->model->config->tied || e->as.dense.owned) return bytes;
    used = nib_new_array(j->ctx, e->out, 1);
    if (!used) return bytes;
    for (size_t i = 0; i < nib_dataset_count(j->data); i++) {
        nib_record r = nib_dataset_record(j->data, i);
        for (uint32_t t = 0; t < r.length; t++) rows += !used[r.ids[t]], used[r.ids[t]] = 1;
    }
    nib_free(j->ctx, used);
    /* A row's pages come whole, and the kernel maps some around each. */
    row = (row + 4095) / 4096 * 4096 + 65536;
    return bytes - e->resident_bytes + (rows * row < e->resident_bytes ? rows * row : e->resident_bytes);
}

static void fill_plan(job *j, uint64_t baseline, uint64_t available)
{
    const nib_trainer *t = j->trainer;
    nib_memory_plan *p = &j->plan;
    uint64_t elements = nib_adapter_trainable(j->adapter);

    *p = (nib_memory_plan){
        .weights = touched_weights(j), .adapters = 2 * elements * sizeof(float),
        .optimizer = 2 * elements * sizeof(float), .activations = t->plan->arena_bytes,
        .scratch = nib_eval_loop_bytes(&j->eval) + t->run->scratch.bytes + t->run->tables.bytes, .baseline = baseline,
        .available = available, .checkpointing = t->plan->kind == NIB_PLAN_CHECKPOINT
    };
    p->total = p->weights + p->adapters + p->optimizer + p->activations + p->scratch + p->baseline;
}

static nib_status prepare(job *j, nib_error *err)
{
    const nib_finetune_options *o = j->o;
    nib_model_progress progress = { o->on_progress, o->user };
    nib_dtype compute = nib_open_compute(j->ctx, nib_finetune_compute(j));
    uint64_t baseline, available, elements;
    json_t *json = NULL;
    const nib_arch *arch;
    nib_config *config = NULL;
    nib_status status = nib_open_tokenizer(j->ctx, o->model.model, &j->tokenizer, err);

    if (!status) status = nib_config_open(j->ctx, o->model.model, &json, &arch, &config, err);
    if (!status) status = nib_dataset_open(j->ctx, &o->data, j->tokenizer, (uint32_t)config->vocabulary, false, &j->data, err);
    json_decref(json);
    nib_config_free(j->ctx, config);
    if (status) return status;
    baseline = nib_memory_resident();
    available = o->train.max_memory ? o->train.max_memory : nib_memory_free();
    status = nib_model_open(j->ctx, &o->model, compute, progress, &j->model, err);
    if (!status) status = open_adapter(j, err);
    if (status) return status;
    elements = nib_adapter_trainable(j->adapter);
    {   /* What the arenas may take: what is free, less weights, adapter and optimizer. */
        uint64_t taken = touched_weights(j) + 4 * elements * sizeof(float);
        status = nib_trainer_create(j->ctx, j->model->graph, &j->adapter->params, j->data, &o->train,
                                    available > taken ? available - taken : 0, &j->trainer, err);
    }
    if (!status && strcmp(o->train.eval_strategy, "no") != 0)
        status = nib_eval_loop_open(j->ctx, j->model->graph, o->eval_data, &o->data, j->tokenizer,
                                    (uint32_t)j->model->config->vocabulary, (size_t)o->train.per_device_eval_batch_size,
                                    &j->eval, err);
    if (!status) fill_plan(j, baseline, available);
    return status;
}

/* Every value that changes the result, a line each. */
static void describe(job *j)
{
    const nib_train_options *t = &j->o->train;
    const nib_peft_config *c = &j->adapter->config;
    const char *bits = j->model->stored_4bit ? "4-bit as stored" : j->model->quantized_now ? "4-bit, quantized while loading" : "as stored";

    snprintf(j->settings, sizeof j->settings,
             "weights %s, compute_dtype %s\n"
             "r %" PRId64 ", lora_alpha %g, lora_dropout %g, use_rslora %s, bias %s\n"
             "learning_rate %g (transformers' default is 5e-5), lr_scheduler_type %s, warmup_steps %" PRIu64 "\n"
             "adam_beta1 %g, adam_beta2 %g, adam_epsilon %g, weight_decay %g, max_grad_norm %g\n"
             "per_device_train_batch_size %d, gradient_accumulation_steps %d, steps %" PRIu64 ", seed %" PRIu64 ", shuffle %s\n"
             "max_seq_length %d",
             bits, nib_dtype_name(j->model->graph->type), c->r, c->lora_alpha, c->lora_dropout,
             c->use_rslora ? "true" : "false",
             c->bias == NIB_PEFT_BIAS_NONE ? "none" : c->bias == NIB_PEFT_BIAS_ALL ? "all" : "lora_only",
             t->learning_rate, t->lr_scheduler_type, j->trainer->schedule.warmup, t->adam_beta1, t->adam_beta2,
             t->adam_epsilon, t->weight_decay, t->max_grad_norm, t->per_device_train_batch_size,
             t->gradient_accumulation_steps, j->trainer->steps, t->seed, t->shuffle ? "true" : "false",
             j->o->data.max_seq_length);
}

static void report_start(job *j)
{
    nib_data_counts c = nib_dataset_counts(j->data);
    nib_run_report r = {
        .trainable_parameters = nib_adapter_trainable(j->adapter), .all_parameters = nib_adapter_all(j->adapter),
        .records = nib_dataset_count(j->data), .truncated = c.truncated, .empty = c.empty,
        .masked_out = c.masked_out, .duplicate_bos = c.had_bos, .tokens_per_epoch = c.tokens,
        .supervised_per_epoch = c.targets, .steps = j->trainer->steps, .plan = j->plan,
        .compute_dtype = nib_dtype_name(j->model->graph->type), .isa = nib_cpu_name(nib_ctx_cpu(j->ctx)),
        .settings = j->settings
    };

    j->trial_seconds = nib_trainer_trial(j->trainer);
    r.seconds_per_step = j->trial_seconds;
    r.seconds_total = j->trial_seconds * (double)(j->trainer->steps - j->trainer->step);
    describe(j);
    if (j->o->on_start) j->o->on_start(j->o->user, &r);
}

static nib_status run(job *j, nib_error *err)
{
    nib_status status = prepare(j, err);

    if (!status && !j->o->dry_run) status = nib_finetune_begin(j, err);
    if (status) return status;
    report_start(j);
    return j->o->dry_run ? NIB_OK : nib_finetune_train(j, err);
}

nib_status nib_finetune(nib_ctx *ctx, const nib_finetune_options *options, nib_error *err)
{
    job j = { .ctx = ctx, .o = options, .dir = { .lock = -1 } };
    nib_status status = check_options(options, err);

    if (!status) status = check_places(options, err);
    if (!status && !options->dry_run)
        status = nib_rundir_open(ctx, options->output_dir, options->resume_from_checkpoint ? NIB_RUNDIR_RESUME
                                 : options->overwrite ? NIB_RUNDIR_OVERWRITE : NIB_RUNDIR_NEW, &j.dir, err);
    if (!status && !options->dry_run) status = nib_finetune_look_for_resume(&j, err);
    if (!status) status = run(&j, err);
    nib_finetune_end(&j);
    nib_trainer_destroy(j.trainer);
    nib_dataset_close(j.data);
    nib_adapter_close(j.adapter);
    nib_model_close(j.model);
    nib_tokenizer_close(j.tokenizer);
    nib_rundir_close(&j.dir);
    return status;
}
