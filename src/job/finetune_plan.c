/* finetune_plan.c - the memory plan of a run, and the micro-batch that it allows. */
#include <stdio.h>

#include "job/finetune_job.h"

typedef nib_finetune_job job;

/* Bytes of the weights that training touches: of an untied embedding only the rows in use. */
static uint64_t touched_weights(const job *j)
{
    const nib_weight *e = j->model->embedding->weight;
    uint64_t bytes = j->model->weight_bytes, rows = 0, row = e->bytes / e->out;
    uint8_t *used;

    if (j->model->tied || e->owned_bytes) return bytes;
    used = nib_new_array(j->ctx, e->out, 1);
    if (!used) return bytes;
    for (size_t i = 0; i < nib_dataset_count(j->data); i++) {
        nib_record r = nib_dataset_record(j->data, i);
        for (uint32_t t = 0; t < r.length; t++) rows += !used[r.ids[t]], used[r.ids[t]] = 1;
    }
    nib_free(j->ctx, used);
    /* A row's pages come whole, and the kernel maps some around each. */
    row = (row + 4095) / 4096 * 4096 + 65536;
    return bytes - e->bytes +
           (rows * row < e->bytes ? rows * row : e->bytes);
}

bool nib_finetune_fits(const job *j) { return j->plan.total <= j->plan.available; }

/* What evaluations take beside training. */
static uint64_t evaluation_bytes(const job *j)
{
    return nib_eval_loop_bytes(&j->eval) + j->answers.bytes;
}

uint64_t nib_finetune_params_bytes(const nib_params *params)
{
    uint64_t bytes = nib_params_trained_bytes(params); /* as they were a step before */

    for (size_t i = 0; i < params->count; i++)
        bytes += (params->items[i]->kind == NIB_PARAM_MAGNITUDE ? 5 : 2) * sizeof(float) *
                 nib_param_count(params->items[i]); /* norms and gains with the magnitudes */
    return bytes;
}

/* Plans the run with this micro-batch and accumulation; its trainer takes the place of the last
 * one. */
static nib_status plan_with(job *j, int batch, int accumulation, nib_error *err)
{
    nib_train_options t = j->o->train;
    nib_memory_plan *p = &j->plan;
    const nib_params *params = &j->adapter->params;
    uint64_t rest, start;
    nib_status status;

    t.per_device_train_batch_size = batch;
    t.gradient_accumulation_steps = accumulation;
    p->weights = touched_weights(j);
    p->adapters = nib_finetune_params_bytes(params) + nib_start_bytes(j->adapter);
    p->optimizer = nib_optimizer_bytes(params, &t, &p->paged);
    p->total = p->weights + p->adapters + p->optimizer + evaluation_bytes(j) + p->baseline;
    rest = p->available > p->total ? p->available - p->total : 0;
    nib_trainer_destroy(j->trainer);
    j->trainer = NULL;
    status = nib_finetune_compares(j)
                 ? nib_finetune_plan_compared(j, &t, j->mini_batch, rest, err)
                 : nib_trainer_plan(j->ctx, j->model->graph, &j->adapter->params, j->data, &t, rest,
                                    &j->trainer, err);
    if (status) return status;
    p->activations = nib_trainer_bytes(j->trainer, &p->scratch);
    p->scratch += evaluation_bytes(j);
    p->total = p->weights + p->adapters + p->optimizer + p->baseline + p->activations + p->scratch;
    /* before any of that is taken, the adapter starts */
    start = p->weights + p->adapters + p->baseline + nib_start_peak(j->adapter);
    if (start > p->total) {
        p->scratch += start - p->total;
        p->total = start;
    }
    p->checkpointing = j->trainer->plan->kind == NIB_PLAN_CHECKPOINT;
    return NIB_OK;
}

/* The greatest micro-batch below `most` with which the step keeps its `records`, if one fits; else
 * as it was. */
static nib_status look_for_fit(job *j, int records, int most, bool *found, nib_error *err)
{
    nib_status status = NIB_OK;

    *found = false;
    for (int batch = most - 1; batch > 0 && !status && !*found; batch--) {
        if (records % batch) continue;
        status = plan_with(j, batch, records / batch, err);
        *found = !status && nib_finetune_fits(j);
    }
    return status;
}

/* The same bits with the optimizer's states in a file, if that would be enough. */
static void advise_paging(job *j)
{
    const char *optim = j->o->train.optim;
    bool plain = strcmp(optim, "adamw_torch") == 0;

    if (nib_optimizer_is_paged(&j->o->train) ||
        j->plan.total - j->plan.optimizer > j->plan.available)
        return;
    snprintf(j->advice, sizeof j->advice,
             "optim %s would fit: the states of %s in a file, with the same result",
             plain ? "paged_adamw_32bit" : "paged_adamw_8bit", optim);
}

/* A resumed run keeps the micro-batch that was chosen at its start. */
static bool recorded_batch(const job *j, int *batch, int *accumulation)
{
    json_int_t b = json_integer_value(json_object_get(j->recorded, "per_device_train_batch_size"));
    json_int_t a = json_integer_value(json_object_get(j->recorded, "gradient_accumulation_steps"));

    if (b < 1 || b > INT32_MAX || a < 1 || a > INT32_MAX) return false;
    *batch = (int)b;
    *accumulation = (int)a;
    return true;
}

/* The loss is of the whole batch, so that its records stay; fewer texts are run at a time, to the
 * same result. */
static nib_status plan_compared(job *j, nib_error *err)
{
    const nib_train_options *t = &j->o->train;
    int batch = t->per_device_train_batch_size ? t->per_device_train_batch_size : 64;
    json_int_t recorded = json_integer_value(json_object_get(j->recorded, "mini_batch_size"));
    nib_status status = nib_finetune_begin_compared(j, err);

    if (status) return status;
    j->mini_batch = j->recorded ? (int)nib_min((size_t)recorded, INT32_MAX) : t->mini_batch_size;
    status = plan_with(j, batch, t->gradient_accumulation_steps, err);
    if (status || j->recorded || t->mini_batch_size) return status;
    j->mini_batch = (int)(j->trainer->layout.extent.records * j->texts.columns);
    while (!status && !nib_finetune_fits(j) && j->mini_batch > 1) {
        j->mini_batch /= 2;
        status = plan_with(j, batch, t->gradient_accumulation_steps, err);
        if (!status && nib_finetune_fits(j))
            nib_note(j->ctx, "mini_batch_size %d: so many texts at a time fit", j->mini_batch);
    }
    if ((size_t)j->mini_batch == j->trainer->layout.extent.records * j->texts.columns)
        j->mini_batch = 0;
    return status;
}

nib_status nib_finetune_plan(job *j, nib_error *err)
{
    enum { AUTO_BATCH = 8 }; /* TrainingArguments' default */
    int batch = j->o->train.per_device_train_batch_size,
        accumulation = j->o->train.gradient_accumulation_steps;
    bool chosen = batch == 0 || j->batch_is_free, found;
    int64_t records;
    nib_status status;

    if (nib_finetune_compares(j)) return plan_compared(j, err);
    if (batch == 0) batch = AUTO_BATCH;
    if (chosen && recorded_batch(j, &batch, &accumulation))
        return plan_with(j, batch, accumulation, err);
    records = (int64_t)batch * accumulation;
    status = plan_with(j, batch, accumulation, err);
    if (!status && j->o->train.tokens_per_batch && !nib_finetune_fits(j)) {
        snprintf(j->advice, sizeof j->advice, "lower tokens_per_batch, which is %d",
                 j->o->train.tokens_per_batch);
        return NIB_OK;
    }
    if (status || nib_finetune_fits(j) || records > INT32_MAX || batch > 65536) return status;
    status = look_for_fit(j, (int)records, batch, &found, err);
    if (status || (chosen && found)) return status;
    if (found)
        snprintf(
            j->advice, sizeof j->advice,
            "per_device_train_batch_size %d with gradient_accumulation_steps %d would fit: "
            "the same records a step",
            j->trainer->o.per_device_train_batch_size, j->trainer->o.gradient_accumulation_steps);
    status = plan_with(j, chosen ? 1 : batch, chosen ? (int)records : accumulation, err);
    if (!status && !found) advise_paging(j);
    return status;
}
