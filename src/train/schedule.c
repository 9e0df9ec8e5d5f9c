/* schedule.c - learning rates by step, in double as transformers computes them. */
#include "train/schedule.h"

#include <math.h>

nib_status nib_schedule_init(const nib_train_options *o, uint64_t steps, nib_schedule *out, nib_error *err)
{
    static const char *const names[] = { "linear", "cosine", "constant", "constant_with_warmup" };
    nib_schedule s = { .learning_rate = o->learning_rate, .steps = steps };
    size_t i = 0;

    while (i < NIB_COUNT(names) && strcmp(names[i], o->lr_scheduler_type) != 0) i++;
    if (i == NIB_COUNT(names))
        return nib_fail(err, NIB_E_INVALID, "lr_scheduler_type: '%s', known are linear, cosine, constant, "
                        "constant_with_warmup", o->lr_scheduler_type);
    if (o->warmup_steps < 0 || !(o->warmup_ratio >= 0 && o->warmup_ratio <= 1))
        return nib_fail(err, NIB_E_INVALID, "warmup_steps %d and warmup_ratio %g: steps from 0, a ratio in [0, 1]",
                        o->warmup_steps, o->warmup_ratio);
    s.kind = (int)i;
    s.warmup = o->warmup_steps > 0 ? (uint64_t)o->warmup_steps : (uint64_t)ceil((double)steps * o->warmup_ratio);
    *out = s;
    return NIB_OK;
}

double nib_schedule_at(const nib_schedule *s, uint64_t t)
{
    double warmup = (double)s->warmup, left = (double)s->steps - (double)t, span = fmax(1, (double)s->steps - warmup);

    if (s->kind == NIB_SCHEDULE_CONSTANT) return s->learning_rate;
    if (t < s->warmup) return s->learning_rate * ((double)t / fmax(1, warmup));
    if (s->kind == NIB_SCHEDULE_LINEAR) return s->learning_rate * fmax(0, left / span);
    if (s->kind == NIB_SCHEDULE_COSINE)
        return s->learning_rate * fmax(0, 0.5 * (1 + cos(3.14159265358979323846 * 2 * 0.5 * ((double)t - warmup) / span)));
    return s->learning_rate;
}
