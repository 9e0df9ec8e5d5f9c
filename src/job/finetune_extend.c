/* finetune_extend.c - a run that is given more steps than it began with.  It resumes where a run of
 * that many steps would have had the same learning rates so far; else its result would be that of
 * no run. */
#include "job/finetune_job.h"

/* The steps that the identity `there` was made for, when more are wanted now; else 0. */
static uint64_t fewer_steps(const nib_finetune_job *j, const json_t *there)
{
    int64_t steps = json_integer_value(json_object_get(there, "max_steps"));

    return steps > 0 && (uint64_t)steps < j->trainer->steps ? (uint64_t)steps : 0;
}

static nib_status check_rates(const nib_finetune_job *j, const char *where, uint64_t old_steps,
                              uint64_t done, nib_error *err)
{
    const nib_train_options *o = &j->trainer->o;
    uint64_t steps = j->trainer->steps;
    nib_schedule before;
    nib_status status = nib_schedule_init(o, old_steps, &before, err);

    if (status || nib_schedule_agrees(&before, &j->trainer->schedule, done)) return status;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: cannot continue from %" PRIu64 " to %" PRIu64 " steps: with %" PRIu64
                    " the %s schedule would have had other learning rates in the %" PRIu64
                    " steps done; --adapter %s with another output_dir trains its adapter further "
                    "with a fresh optimizer; a run can be lengthened whose schedule does not "
                    "depend on the number of steps (constant; with warmup_steps, and not "
                    "warmup_ratio, constant_with_warmup and inverse_sqrt)",
                    where, old_steps, steps, steps, o->lr_scheduler_type, done, where);
}

/* More is done than is asked for. */
static nib_status check_done(const nib_finetune_job *j, const char *where, uint64_t done,
                             nib_error *err)
{
    if (done <= j->trainer->steps) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s: %" PRIu64 " steps are done, more than the %" PRIu64
                    " that max_steps or num_train_epochs ask for: ask for more, or name another "
                    "output_dir", where, done, j->trainer->steps);
}

nib_status nib_finetune_same_or_longer(nib_finetune_job *j, const char *where, const json_t *there,
                                       uint64_t done, nib_error *err)
{
    static const char *const from_steps[] = { "max_steps", "warmup_steps" };
    uint64_t old_steps = fewer_steps(j, there);
    json_t *longer;
    nib_status status = check_done(j, where, done, err);

    if (status) return status;
    if (!old_steps) return nib_finetune_same(j->ctx, where, there, j->identity, err);
    longer = json_copy((json_t *)(uintptr_t)there);
    for (size_t i = 0; longer && i < NIB_COUNT(from_steps); i++)
        if (json_object_set(longer, from_steps[i], json_object_get(j->identity, from_steps[i])))
            break;
    status = longer ? nib_finetune_same(j->ctx, where, longer, j->identity, err)
                    : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    json_decref(longer);
    if (status == NIB_E_MISMATCH) /* of more than the steps: all of it */
        return nib_finetune_same(j->ctx, where, there, j->identity, err);
    return status ? status : check_rates(j, where, old_steps, done, err);
}
