/* trainer.c - one optimizer step after another. */
#include "train/trainer.h"

#include <math.h>

#include "graph/magnitude.h"

uint64_t nib_trainer_bytes(const nib_trainer *t, uint64_t *scratch)
{
    *scratch = nib_run_bytes(t->graph, t->plan, t->longest);
    if (t->embedder) *scratch += nib_embedder_bytes(t->embedder, t->layout.extent, true);
    return t->plan->arena_bytes;
}

static uint64_t planned_bytes(const nib_trainer *t)
{
    uint64_t scratch, activations = nib_trainer_bytes(t, &scratch);
    return activations + scratch;
}

static nib_status make_plan(nib_trainer *t, uint64_t memory, nib_error *err)
{
    int forced = t->o.gradient_checkpointing;
    nib_status status = nib_plan_create(t->graph, forced == 1 ? NIB_PLAN_CHECKPOINT : NIB_PLAN_KEEP,
                                        t->layout.tokens, t->layout.targets, &t->plan, err);

    if (status || forced >= 0 || planned_bytes(t) <= memory) return status;
    nib_plan_destroy(t->ctx, t->plan);
    t->plan = NULL;
    return nib_plan_create(t->graph, NIB_PLAN_CHECKPOINT, t->layout.tokens, t->layout.targets,
                           &t->plan, err);
}

static size_t longest_sequence(const nib_dataset *d)
{
    size_t longest = 1;
    for (size_t i = 0; i < nib_dataset_count(d); i++)
        longest = nib_max(longest, nib_dataset_record(d, i).length);
    return longest;
}

/* A step that is not done 5 s after the wish to stop is dropped: no parameter has changed yet. */
static bool is_overdue(void *user)
{
    nib_trainer *t = user;

    if (!nib_should_stop(t->ctx)) return false;
    if (t->stop_seen == 0) t->stop_seen = nib_clock_seconds();
    return nib_clock_seconds() - t->stop_seen > 5;
}

static nib_status plan(nib_ctx *ctx, nib_graph *graph, nib_params *params, const nib_dataset *data,
                       nib_embedder *embedder, bool distinct, const nib_train_options *o,
                       uint64_t memory, nib_trainer **out, nib_error *err)
{
    nib_trainer *t = nib_new(ctx, sizeof *t);
    nib_status status;

    /* the task's are settled */
    assert(o->learning_rate >= 0 && o->per_device_train_batch_size > 0);
    if (!t) return nib_fail(err, NIB_E_NOMEM, "trainer: out of memory");
    *t = (nib_trainer){ .ctx = ctx, .graph = graph, .params = params, .data = data, .o = *o,
                         .embedder = embedder };
    status = embedder ? nib_epochs_init_compared(ctx, embedder, distinct, o, &t->layout, err)
                      : nib_epochs_init(ctx, data, o, &t->layout, err);
    if (!status) status = nib_optimizer_check(o, err);
    t->steps = t->layout.steps;
    t->epochs = t->layout.count;
    if (!status) status = nib_schedule_init(o, t->steps, &t->schedule, err);
    t->plateau = t->schedule.plateau;
    if (status) goto done;
    t->longest = embedder ? embedder->texts->longest : longest_sequence(data);
    status = make_plan(t, memory, err);
    if (status) goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_trainer_destroy(t);
    return status;
}

nib_status nib_trainer_plan(nib_ctx *ctx, nib_graph *graph, nib_params *params,
                            const nib_dataset *data, const nib_train_options *o, uint64_t memory,
                            nib_trainer **out, nib_error *err)
{
    return plan(ctx, graph, params, data, NULL, false, o, memory, out, err);
}

nib_status nib_trainer_plan_compared(nib_ctx *ctx, nib_graph *graph, nib_params *params,
                                     nib_embedder *embedder, bool distinct,
                                     const nib_train_options *o, uint64_t memory,
                                     nib_trainer **out, nib_error *err)
{
    return plan(ctx, graph, params, embedder->texts->data, embedder, distinct, o, memory, out,
                err);
}

nib_status nib_trainer_allocate(nib_trainer *t, const char *page_dir, nib_error *err)
{
    nib_status status = nib_run_create(t->ctx, t->graph, t->plan, t->longest, &t->run, err);

    if (!status && t->embedder)
        status = nib_embedder_allocate(t->embedder, t->layout.extent, true, err);
    else if (!status)
        status = nib_batch_maker_init(t->ctx, t->graph, t->layout.sequences, t->layout.tokens,
                                      t->layout.targets, &t->maker, err);
    if (!status && (page_dir || !nib_optimizer_is_paged(&t->o)))
        status = nib_optimizer_init(t->ctx, &t->graph->kernels, t->params, &t->o, page_dir,
                                    &t->optimizer, err);
    if (!status)
        status = nib_arena_create(t->ctx, nib_params_trained_bytes(t->params), &t->before, err);
    if (status) return status;
    t->run->dropout_seed = t->o.seed;
    t->run->label_smoothing = t->o.label_smoothing_factor;
    t->run->noise = t->o.neftune_noise_alpha;
    t->run->abandon = is_overdue;
    t->run->abandon_user = t;
    return NIB_OK;
}

nib_status nib_trainer_create(nib_ctx *ctx, nib_graph *graph, nib_params *params,
                              const nib_dataset *data, const nib_train_options *o, uint64_t memory,
                              const char *page_dir, nib_trainer **out, nib_error *err)
{
    nib_trainer *t = NULL;
    nib_status status = nib_trainer_plan(ctx, graph, params, data, o, memory, &t, err);

    if (!status && planned_bytes(t) > memory && o->gradient_checkpointing < 0)
        status = nib_fail(
            err, NIB_E_NOMEM,
            "a batch of %zu tokens needs %" PRIu64 " MiB of activations even when layers "
            "are run again, %" PRIu64 " MiB are free: lower per_device_train_batch_size or "
            "max_seq_length",
            t->layout.tokens, planned_bytes(t) >> 20, memory >> 20);
    if (!status) status = nib_trainer_allocate(t, page_dir, err);
    if (status) goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_trainer_destroy(t);
    return status;
}

void nib_trainer_destroy(nib_trainer *t)
{
    if (!t) return;
    nib_arena_destroy(t->ctx, &t->before);
    nib_optimizer_free(&t->optimizer);
    nib_batch_maker_free(&t->maker);
    nib_run_destroy(t->run);
    nib_plan_destroy(t->ctx, t->plan);
    nib_epochs_free(&t->layout);
    nib_free(t->ctx, t);
}

bool nib_trainer_epoch_ended(const nib_trainer *t)
{
    uint64_t first;
    nib_epochs_of(&t->layout, t->step, &first);
    return first == t->step;
}

/* The micro-batch of the first epoch with the most tokens. */
static size_t find_largest(nib_trainer *t, const uint32_t **order, size_t *most)
{
    uint64_t at_step = 0, at_micro = 0;

    *most = 1;
    for (uint64_t s = 0; s < nib_min(t->layout.per_epoch, t->steps); s++)
        for (uint64_t m = 0; m < (uint64_t)t->o.gradient_accumulation_steps; m++) {
            size_t tokens = 0, count = nib_epochs_micro(&t->layout, s, m, order);
            for (size_t i = 0; i < count; i++)
                tokens += nib_dataset_record(t->data, (*order)[i]).length;
            if (tokens > *most) *most = tokens, at_step = s, at_micro = m;
        }
    return nib_epochs_micro(&t->layout, at_step, at_micro, order);
}

/* Forward and backward; the batch that was run last. */
static const nib_batch *run_micro(nib_trainer *t, const uint32_t *order, size_t count,
                                  uint32_t epoch)
{
    const nib_batch *batch;

    if (t->embedder) {
        nib_embedder_step(t->embedder, t->run, order, count, epoch);
        return &t->embedder->batch;
    }
    batch = nib_batch_make(&t->maker, t->data, order, count, epoch);
    nib_run_step(t->run, batch);
    return batch;
}

double nib_trainer_trial(nib_trainer *t)
{
    const uint32_t *order;
    size_t tokens, count = find_largest(t, &order, &tokens);
    double start = nib_clock_seconds();
    uint64_t of_epoch, targets;

    run_micro(t, order, count, 0);
    start = nib_clock_seconds() - start;
    nib_params_clear_grads(t->params);
    nib_dataset_epoch_tokens(t->data, &of_epoch, &targets);
    return start * (double)of_epoch / (double)tokens /
           (double)t->layout.per_epoch;
}

nib_status nib_trainer_run_step(nib_trainer *t, nib_trainer_step *out, nib_error *err)
{
    double loss = 0, targets = 0, scale, norm, factor;
    uint64_t first, epoch = nib_epochs_of(&t->layout, t->step, &first);

    *out = (nib_trainer_step){ 0 };
    t->loss_is_bad = false;
    nib_params_clear_grads(t->params);
    for (uint64_t m = 0; m < (uint64_t)t->o.gradient_accumulation_steps; m++) {
        const uint32_t *order;
        const nib_batch *batch;
        size_t count = nib_epochs_micro(&t->layout, t->step, m, &order);
        if (!count) break; /* the last step of an epoch may be short */
        batch = run_micro(t, order, count, (uint32_t)epoch);
        if (t->run->abandoned)
            return nib_fail(err, NIB_E_INTERRUPTED,
                            "interrupted within step %" PRIu64 " of %" PRIu64 ", which is dropped",
                            t->step + 1, t->steps);
        if (!isfinite(t->run->loss_sum)) {
            t->loss_is_bad = true;
            t->bad_module = nib_run_find_bad(t->run, batch);
            return nib_fail(err, NIB_E_NUMERIC,
                            "step %" PRIu64 ": the loss is not finite; the first value "
                            "that is not comes out of %s",
                            t->step + 1, t->bad_module);
        }
        loss += t->run->loss_sum;
        targets += t->run->loss_weight;
        for (size_t i = 0; i < count; i++)
            out->tokens += nib_dataset_record(t->data, order[i]).length;
        t->records_seen += count;
    }
    scale = targets > 0 ? 1 / targets : 1; /* no word may be hidden in a step: no gradient then */
    norm = nib_gradient_norm(&t->graph->kernels, t->params, scale);
    if (!isfinite(norm))
        return nib_fail(err, NIB_E_NUMERIC,
                        "step %" PRIu64 ": the norm of the gradient is not finite", t->step + 1);
    if (t->o.max_grad_norm > 0 && norm > 0)
        scale *= fmin(1, t->o.max_grad_norm / (norm + 1e-6));
    factor = nib_schedule_factor(&t->schedule, t->step);
    nib_params_copy_out(t->params, t->before.base);
    nib_optimizer_step(&t->optimizer, factor, scale);
    nib_magnitudes_measure(t->graph);
    t->can_take_back = true;
    t->step++;
    out->loss = targets > 0 ? loss / targets : 0;
    out->grad_norm = norm;
    out->learning_rate = t->o.learning_rate * factor; /* of the first group, as Trainer logs it */
    out->epoch = nib_epochs_done(&t->layout, t->step);
    t->last_loss = out->loss;
    t->loss_total += out->loss;
    t->tokens_seen += out->tokens;
    return NIB_OK;
}

void nib_trainer_judge(nib_trainer *t, double metric)
{
    if (t->schedule.kind != NIB_SCHEDULE_PLATEAU || !nib_plateau_judge(&t->plateau, metric)) return;
    nib_optimizer_lower_rates(&t->optimizer, &t->plateau);
    t->o.learning_rate = nib_plateau_lower(&t->plateau, t->o.learning_rate);
}

bool nib_trainer_take_back(nib_trainer *t)
{
    if (!t->can_take_back) return false;
    nib_params_copy_back(t->params, t->before.base);
    nib_magnitudes_measure(t->graph);
    t->can_take_back = false;
    t->step--;
    t->loss_total -= t->last_loss;
    return true;
}
