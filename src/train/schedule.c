/* schedule.c - factors by step, in double, operation for operation as transformers computes
 * them. */
#include "train/schedule.h"

#include <math.h>

static const char *const names[] = {
    [NIB_SCHEDULE_LINEAR] = "linear",
    [NIB_SCHEDULE_COSINE] = "cosine",
    [NIB_SCHEDULE_COSINE_RESTARTS] = "cosine_with_restarts",
    [NIB_SCHEDULE_COSINE_MIN_LR] = "cosine_with_min_lr",
    [NIB_SCHEDULE_COSINE_WARMUP_MIN_LR] = "cosine_warmup_with_min_lr",
    [NIB_SCHEDULE_POLYNOMIAL] = "polynomial",
    [NIB_SCHEDULE_INVERSE_SQRT] = "inverse_sqrt",
    [NIB_SCHEDULE_STABLE_DECAY] = "warmup_stable_decay",
    [NIB_SCHEDULE_CONSTANT] = "constant",
    [NIB_SCHEDULE_CONSTANT_WARMUP] = "constant_with_warmup",
    [NIB_SCHEDULE_PLATEAU] = "reduce_lr_on_plateau",
};

static const double pi = 3.14159265358979323846;

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
                        "cosine_with_min_lr, cosine_warmup_with_min_lr, polynomial, inverse_sqrt, "
                        "warmup_stable_decay, constant, constant_with_warmup, reduce_lr_on_plateau",
                        o->lr_scheduler_type);
    if (o->warmup_steps < 0 || !(o->warmup_ratio >= 0 && o->warmup_ratio <= 1))
        return nib_fail(err, NIB_E_INVALID,
                        "warmup_steps %d and warmup_ratio %g: steps from 0, a ratio in [0, 1]",
                        o->warmup_steps, o->warmup_ratio);
    s.kind = (nib_schedule_kind)i;
    s.warmup = o->warmup_steps > 0 ? (uint64_t)o->warmup_steps
                                   : (uint64_t)ceil((double)steps * o->warmup_ratio);
    if (s.kind == NIB_SCHEDULE_PLATEAU && s.warmup)
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_type: reduce_lr_on_plateau has no warm-up; leave out "
                        "warmup_steps and warmup_ratio");
    status = nib_schedule_arguments(o, names[i], &s, err);
    if (!status) *out = s;
    return status;
}

/* Between the floor and 1. */
static double above_floor(double factor, double floor)
{
    return fmax(0, factor * (1 - floor) + floor);
}

static double wave(double cycles, double progress)
{
    return 0.5 * (1 + cos(pi * cycles * 2 * progress));
}

static double warm(const nib_schedule *s, double now)
{
    double warmup = (double)s->warmup, progress = now / fmax(1, warmup);

    switch (s->kind) {
    case NIB_SCHEDULE_CONSTANT: return 1;
    case NIB_SCHEDULE_COSINE_WARMUP_MIN_LR:
        if (s->warmup_floor < 0) return (now + 1) / fmax(1, warmup);
        return s->warmup_floor + (1 - s->warmup_floor) * now / fmax(1, warmup - 1);
    case NIB_SCHEDULE_STABLE_DECAY:
        if (s->rise == NIB_SLOPE_COSINE) progress = 0.5 * (1 - cos(pi * progress));
        if (s->rise == NIB_SLOPE_SQRT) progress = 1 - sqrt(1 - progress);
        return above_floor(progress, s->floor);
    default: return progress;
    }
}

/* after: steps since the warm-up ended. */
static double stable_decay(const nib_schedule *s, double after)
{
    double progress = (after - s->stable) / fmax(1, s->decay);

    if (after < s->stable) return 1;
    if (after >= s->stable + s->decay) return s->floor;
    switch (s->fall) {
    case NIB_SLOPE_LINEAR: return above_floor(1 - progress, s->floor);
    case NIB_SLOPE_COSINE: return above_floor(wave(s->cycles, progress), s->floor);
    case NIB_SLOPE_SQRT: break;
    }
    return above_floor(1 - sqrt(progress), s->floor);
}

static double polynomial(const nib_schedule *s, double after)
{
    double span = (double)s->steps - (double)s->warmup;

    if (after > span || span == 0) return s->end / s->rate;
    return ((s->rate - s->end) * pow(1 - after / span, s->power) + s->end) / s->rate;
}

double nib_schedule_factor(const nib_schedule *s, uint64_t t)
{
    double warmup = (double)s->warmup, now = (double)t, span = fmax(1, (double)s->steps - warmup);
    double progress = (now - warmup) / span;

    if (t < s->warmup) return warm(s, now);
    switch (s->kind) {
    case NIB_SCHEDULE_LINEAR: return fmax(0, ((double)s->steps - now) / span);
    case NIB_SCHEDULE_COSINE: return fmax(0, wave(s->cycles, progress));
    case NIB_SCHEDULE_COSINE_RESTARTS:
        return progress >= 1 ? 0 : fmax(0, 0.5 * (1 + cos(pi * fmod(s->cycles * progress, 1))));
    case NIB_SCHEDULE_COSINE_MIN_LR: return above_floor(wave(s->cycles, progress), s->floor);
    case NIB_SCHEDULE_COSINE_WARMUP_MIN_LR:
        return above_floor(wave(s->cycles, (now - warmup + 1) / span), s->floor);
    case NIB_SCHEDULE_POLYNOMIAL: return polynomial(s, now - warmup);
    case NIB_SCHEDULE_INVERSE_SQRT:
        return 1 / sqrt((now + (s->timescale - warmup)) / s->timescale);
    case NIB_SCHEDULE_STABLE_DECAY: return stable_decay(s, now - warmup);
    case NIB_SCHEDULE_CONSTANT: case NIB_SCHEDULE_CONSTANT_WARMUP: case NIB_SCHEDULE_PLATEAU:
        break;
    }
    return 1;
}

bool nib_schedule_agrees(const nib_schedule *a, const nib_schedule *b, uint64_t t)
{
    for (uint64_t i = 0; i < t; i++)
        if (nib_schedule_factor(a, i) != nib_schedule_factor(b, i)) return false;
    return true;
}
