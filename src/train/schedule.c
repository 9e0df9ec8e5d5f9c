/* schedule.c - factors by step, in double, operation for operation as transformers computes
 * them. */
#include "train/schedule.h"

#include <math.h>

static const char *const names[] = {
    [NIB_SCHEDULE_LINEAR] = "linear", [NIB_SCHEDULE_COSINE] = "cosine",
    [NIB_SCHEDULE_COSINE_RESTARTS] = "cosine_with_restarts", [NIB_SCHEDULE_CONSTANT] = "constant",
    [NIB_SCHEDULE_CONSTANT_WARMUP] = "constant_with_warmup",
};

static nib_status read_arguments(const nib_train_options *o, nib_schedule *s, nib_error *err)
{
    bool cosine = s->kind == NIB_SCHEDULE_COSINE || s->kind == NIB_SCHEDULE_COSINE_RESTARTS;

    for (size_t i = 0; i < o->lr_scheduler_kwarg_count; i++) {
        const nib_pattern *a = &o->lr_scheduler_kwargs[i];
        if (!cosine || strcmp(a->name, "num_cycles") != 0)
            return nib_fail(err, NIB_E_INVALID, "lr_scheduler_kwargs: %s has no '%s'%s",
                            names[s->kind], a->name,
                            cosine ? ", it has num_cycles"
                                   : ", cosine and cosine_with_restarts have num_cycles");
        if (!(a->value >= 0 && isfinite(a->value)))
            return nib_fail(err, NIB_E_INVALID,
                            "lr_scheduler_kwargs: num_cycles is %g, expected a number from 0 on",
                            a->value);
        s->cycles = a->value;
    }
    return NIB_OK;
}

nib_status nib_schedule_init(const nib_train_options *o, uint64_t steps, nib_schedule *out,
                             nib_error *err)
{
    nib_schedule s = { .steps = steps };
    size_t i = 0;
    nib_status status;

    while (i < NIB_COUNT(names) && strcmp(names[i], o->lr_scheduler_type) != 0) i++;
    if (i == NIB_COUNT(names))
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_type: '%s', known are linear, cosine, cosine_with_restarts, "
                        "constant, constant_with_warmup",
                        o->lr_scheduler_type);
    if (o->warmup_steps < 0 || !(o->warmup_ratio >= 0 && o->warmup_ratio <= 1))
        return nib_fail(err, NIB_E_INVALID,
                        "warmup_steps %d and warmup_ratio %g: steps from 0, a ratio in [0, 1]",
                        o->warmup_steps, o->warmup_ratio);
    s.kind = (int)i;
    s.cycles = s.kind == NIB_SCHEDULE_COSINE ? 0.5 : 1;
    s.warmup = o->warmup_steps > 0 ? (uint64_t)o->warmup_steps
                                   : (uint64_t)ceil((double)steps * o->warmup_ratio);
    status = read_arguments(o, &s, err);
    if (!status) *out = s;
    return status;
}

double nib_schedule_factor(const nib_schedule *s, uint64_t t)
{
    static const double pi = 3.14159265358979323846;
    double warmup = (double)s->warmup, now = (double)t, span = fmax(1, (double)s->steps - warmup);
    double progress = (now - warmup) / span;

    if (s->kind == NIB_SCHEDULE_CONSTANT) return 1;
    if (t < s->warmup) return now / fmax(1, warmup);
    switch (s->kind) {
    case NIB_SCHEDULE_LINEAR: return fmax(0, ((double)s->steps - now) / span);
    case NIB_SCHEDULE_COSINE: return fmax(0, 0.5 * (1 + cos(pi * s->cycles * 2 * progress)));
    case NIB_SCHEDULE_COSINE_RESTARTS:
        return progress >= 1 ? 0 : fmax(0, 0.5 * (1 + cos(pi * fmod(s->cycles * progress, 1))));
    case NIB_SCHEDULE_CONSTANT: case NIB_SCHEDULE_CONSTANT_WARMUP: break;
    }
    return 1;
}
