/* finetune_length.c - max_seq_length where nobody gave one and the longest records do not fit in
 * memory: the most tokens that do.
 *
 * The length is looked for with the plan of a micro-batch of one record of so many tokens, beside
 * an evaluation of records as long.  Which records are held out depends on which are left, so this
 * is an estimate: the records are read again and the run is planned as any other. */
#include <stdio.h>

#include "job/finetune_job.h"

typedef nib_finetune_job job;

enum { LEAST = 16 /* tokens: below that nothing is learned */ };

/* More of the records than this are not left out unless somebody asks for it. */
static const double most_left_out = 0.05;

/* What a plan takes; SIZE_MAX: there is none. */
static uint64_t plan_bytes(job *j, nib_plan_kind kind, size_t tokens, size_t rows, size_t longest)
{
    nib_plan *p = NULL;
    nib_error none;
    uint64_t bytes;

    if (nib_plan_create(j->model->graph, kind, tokens, rows, &p, &none)) return SIZE_MAX;
    bytes = p->arena_bytes + nib_run_bytes(j->model->graph, p, longest);
    nib_plan_destroy(j->ctx, p);
    return bytes;
}

/* Of a run whose longest record has so many tokens. */
static bool may_fit(job *j, size_t length)
{
    const nib_memory_plan *p = &j->plan;
    bool keeps = j->o->train.gradient_checkpointing == 0;
    uint64_t there = p->available, fixed = p->weights + p->adapters + p->optimizer + p->baseline,
             start = p->weights + p->adapters + p->baseline + nib_start_peak(j->adapter), step,
             evaluation = 0;

    step = plan_bytes(j, keeps ? NIB_PLAN_KEEP : NIB_PLAN_CHECKPOINT, length, length, length);
    if (j->eval.plan) {
        size_t tokens = nib_min(j->eval.tokens, length * j->eval.batch);
        evaluation = plan_bytes(j, NIB_PLAN_INFERENCE, tokens, nib_min(j->eval.targets, tokens),
                                nib_min(j->eval.longest, length));
        if (evaluation != SIZE_MAX) evaluation += j->answers.bytes;
    }
    return start <= there && fixed <= there && step <= there - fixed &&
           evaluation <= there - fixed - step;
}

static uint64_t count_longer(const nib_dataset *d, size_t length)
{
    uint64_t n = 0;

    for (size_t i = 0; d && i < nib_dataset_count(d); i++)
        n += nib_dataset_record(d, i).length > length;
    return n;
}

/* Most records are to be trained on. */
static nib_status check_left_out(const job *j, size_t length, nib_error *err)
{
    const nib_data_options *o = &j->o->data;
    const nib_dataset *held = j->eval.data ? j->eval.data : j->eval_records;
    uint64_t all = nib_dataset_counts(j->data).records, n = count_longer(j->data, length);

    if (j->o->val_size > 0) n += count_longer(held, length);
    n += nib_dataset_counts(j->data).too_long;
    if (nib_dataset_shape(j->data) == NIB_SHAPE_STREAM) return NIB_OK; /* windows of fewer tokens */
    if (strcmp(o->long_records, "drop") != 0 || o->skip_bad ||
        (double)n <= most_left_out * (double)all)
        return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "max_seq_length: records of up to %zu tokens fit in the "
                    "%" PRIu64 " MiB of memory that are there, and %" PRIu64 " of %" PRIu64
                    " are longer: more than 5 %% are not left out without being asked; set "
                    "max_seq_length %zu with long_records cut or with skip_bad, raise max_memory, "
                    "or take a smaller or low-bit model (load_in_4bit)",
                    length, j->plan.available >> 20, n, all, length);
}

bool nib_finetune_length_counts(job *j)
{
    if (!j->length_is_free || j->trainer->o.per_device_train_batch_size > 1) return false;
    if (j->plan.total - nib_eval_loop_bytes(&j->eval) > j->plan.available ||
        j->o->train.per_device_eval_batch_size == 1)
        return true;
    snprintf(j->advice, sizeof j->advice, "lower per_device_eval_batch_size, which is %d",
             j->o->train.per_device_eval_batch_size);
    return false;
}

nib_status nib_finetune_shorter(job *j, int *length, nib_error *err)
{
    size_t now = (size_t)j->o->data.max_seq_length, low = LEAST - 1, high;

    *length = 0;
    /* an estimate that did not hold is taken back by more than a token */
    high = now - (j->length_by_memory ? nib_max(now / 16, 1) : 1);
    if (now <= LEAST || high < LEAST) return NIB_OK;
    while (low < high) { /* low fits, or is nothing */
        size_t middle = low + (high - low + 1) / 2;
        if (may_fit(j, middle)) low = middle;
        else high = middle - 1;
    }
    if (low < LEAST) return NIB_OK;
    *length = (int)low;
    return check_left_out(j, low, err);
}
