/* schedule_arguments.c - lr_scheduler_kwargs: which names a schedule has, what they may be, and
 * which it cannot do without. */
#include <math.h>
#include <stdio.h>

#include "train/schedule.h"

typedef enum value_range { AT_LEAST_0, STEPS, STEPS_ABOVE_0, BELOW_1, WORDS } value_range;

enum {
    CYCLES = 1 << 0,
    MIN_LR = 1 << 1,
    MIN_LR_RATE = 1 << 2,
    WARMUP_LR_RATE = 1 << 3,
    LR_END = 1 << 4,
    POWER = 1 << 5,
    TIMESCALE = 1 << 6,
    DECAY_STEPS = 1 << 7,
    STABLE_STEPS = 1 << 8,
    WARMUP_TYPE = 1 << 9,
    DECAY_TYPE = 1 << 10,
    MIN_LR_RATIO = 1 << 11,
    FACTOR = 1 << 12,
    PATIENCE = 1 << 13,
    THRESHOLD = 1 << 14,
    COOLDOWN = 1 << 15,
    EPS = 1 << 16,
    MODE = 1 << 17,
    THRESHOLD_MODE = 1 << 18
};

/* In the order of nib_slope, and of what is false and true. */
static const char *const slopes[] = { "linear", "cosine", "1-sqrt", NULL };
static const char *const modes[] = { "min", "max", NULL };
static const char *const threshold_modes[] = { "rel", "abs", NULL };

/* In the order of the bits; words: the texts that it may be. */
static const struct argument {
    const char *name;
    value_range range;
    const char *const *words;
} arguments[] = {
    { "num_cycles", AT_LEAST_0, NULL },   { "min_lr", AT_LEAST_0, NULL },
    { "min_lr_rate", AT_LEAST_0, NULL },  { "warmup_lr_rate", AT_LEAST_0, NULL },
    { "lr_end", AT_LEAST_0, NULL },       { "power", AT_LEAST_0, NULL },
    { "timescale", STEPS_ABOVE_0, NULL }, { "num_decay_steps", STEPS, NULL },
    { "num_stable_steps", STEPS, NULL },  { "warmup_type", WORDS, slopes },
    { "decay_type", WORDS, slopes },      { "min_lr_ratio", AT_LEAST_0, NULL },
    { "factor", BELOW_1, NULL },          { "patience", STEPS, NULL },
    { "threshold", AT_LEAST_0, NULL },    { "cooldown", STEPS, NULL },
    { "eps", AT_LEAST_0, NULL },          { "mode", WORDS, modes },
    { "threshold_mode", WORDS, threshold_modes },
};

static const unsigned known[] = {
    [NIB_SCHEDULE_LINEAR] = 0,
    [NIB_SCHEDULE_COSINE] = CYCLES,
    [NIB_SCHEDULE_COSINE_RESTARTS] = CYCLES,
    [NIB_SCHEDULE_COSINE_MIN_LR] = CYCLES | MIN_LR | MIN_LR_RATE,
    [NIB_SCHEDULE_COSINE_WARMUP_MIN_LR] = CYCLES | MIN_LR | MIN_LR_RATE | WARMUP_LR_RATE,
    [NIB_SCHEDULE_POLYNOMIAL] = LR_END | POWER,
    [NIB_SCHEDULE_INVERSE_SQRT] = TIMESCALE,
    [NIB_SCHEDULE_STABLE_DECAY] = DECAY_STEPS | STABLE_STEPS | WARMUP_TYPE | DECAY_TYPE |
                                  MIN_LR_RATIO | CYCLES,
    [NIB_SCHEDULE_CONSTANT] = 0,
    [NIB_SCHEDULE_CONSTANT_WARMUP] = 0,
    [NIB_SCHEDULE_PLATEAU] = FACTOR | PATIENCE | THRESHOLD | COOLDOWN | EPS | MODE |
                             THRESHOLD_MODE | MIN_LR,
};

typedef struct given {
    unsigned mask;
    double value[NIB_COUNT(arguments)]; /* of a word: which */
} given;

static double value_of(const given *g, unsigned bit, double otherwise)
{
    size_t i = 0;

    while (bit >> i != 1) i++;
    return g->mask & bit ? g->value[i] : otherwise;
}

static nib_status unknown_name(const char *schedule, nib_schedule_kind kind, const char *name,
                               nib_error *err)
{
    char list[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < NIB_COUNT(arguments); i++)
        if (known[kind] >> i & 1)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     arguments[i].name);
    return nib_fail(err, NIB_E_INVALID, "lr_scheduler_kwargs: %s has no '%s', it has %s", schedule,
                    name, used ? list : "none");
}

static nib_status read_word(const nib_argument *a, const char *const *words, double *out,
                            nib_error *err)
{
    char list[64] = "";
    size_t used = 0;

    for (size_t i = 0; words[i]; i++) {
        if (a->text && strcmp(a->text, words[i]) == 0) {
            *out = (double)i;
            return NIB_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", words[i]);
    }
    return nib_fail(err, NIB_E_INVALID, "lr_scheduler_kwargs: %s is '%s', known are %s", a->name,
                    a->text ? a->text : "a number", list);
}

static nib_status read_value(const nib_argument *a, const struct argument *known_as, double *out,
                             nib_error *err)
{
    value_range range = known_as->range;
    static const char *const ranges[] = { [AT_LEAST_0] = "a number from 0 on",
                                          [STEPS] = "a whole number of steps from 0 on",
                                          [STEPS_ABOVE_0] = "a whole number of steps from 1 on",
                                          [BELOW_1] = "a number from 0 to below 1" };
    double x = a->value;
    bool fits = isfinite(x) && x >= 0;

    if (range == WORDS) return read_word(a, known_as->words, out, err);
    if (range == BELOW_1) fits = fits && x < 1;
    if (range == STEPS_ABOVE_0) fits = fits && x > 0;
    if (range == STEPS || range == STEPS_ABOVE_0) fits = fits && x == floor(x) && x < 0x1p53;
    *out = x;
    if (a->text)
        return nib_fail(err, NIB_E_INVALID, "lr_scheduler_kwargs: %s is '%.200s', expected %s",
                        a->name, a->text, ranges[range]);
    return fits ? NIB_OK
                : nib_fail(err, NIB_E_INVALID, "lr_scheduler_kwargs: %s is %g, expected %s",
                           a->name, x, ranges[range]);
}

static nib_status read_all(const nib_train_options *o, const char *name, nib_schedule_kind kind,
                           given *g, nib_error *err)
{
    for (size_t k = 0; k < o->lr_scheduler_kwarg_count; k++) {
        const nib_argument *a = &o->lr_scheduler_kwargs[k];
        size_t i = 0;
        nib_status status;

        while (i < NIB_COUNT(arguments) && strcmp(arguments[i].name, a->name) != 0) i++;
        if (i == NIB_COUNT(arguments) || !(known[kind] >> i & 1))
            return unknown_name(name, kind, a->name, err);
        status = read_value(a, &arguments[i], &g->value[i], err);
        if (status) return status;
        g->mask |= 1u << i;
    }
    return NIB_OK;
}

/* The floor of the cosines: one of two ways to give it. */
static nib_status settle_floor(const given *g, const char *name, double rate, nib_schedule *s,
                               nib_error *err)
{
    unsigned both = MIN_LR | MIN_LR_RATE;

    if ((g->mask & both) == both)
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_kwargs: min_lr and min_lr_rate exclude each other");
    if (!(g->mask & both))
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_kwargs: %s needs min_lr or min_lr_rate, as in {min_lr_rate: "
                        "0.1}", name);
    if (g->mask & MIN_LR && !(rate > 0))
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_kwargs: min_lr needs a learning_rate above 0, it is %g",
                        rate);
    s->floor = g->mask & MIN_LR ? value_of(g, MIN_LR, 0) / rate : value_of(g, MIN_LR_RATE, 0);
    return NIB_OK;
}

static nib_status settle_polynomial(const given *g, double rate, nib_schedule *s, nib_error *err)
{
    s->rate = rate;
    s->end = value_of(g, LR_END, 1e-7);
    s->power = value_of(g, POWER, 1);
    if (rate > s->end) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID,
                    "lr_scheduler_kwargs: polynomial ends at lr_end %g, which must be below "
                    "learning_rate %g", s->end, rate);
}

static nib_status settle_stable_decay(const given *g, nib_schedule *s, nib_error *err)
{
    if (!(g->mask & DECAY_STEPS))
        return nib_fail(err, NIB_E_INVALID,
                        "lr_scheduler_kwargs: warmup_stable_decay needs num_decay_steps, as in "
                        "{num_decay_steps: 100}");
    s->decay = value_of(g, DECAY_STEPS, 0);
    s->stable = value_of(g, STABLE_STEPS, (double)s->steps - (double)s->warmup - s->decay);
    s->floor = value_of(g, MIN_LR_RATIO, 0);
    s->rise = (nib_slope)value_of(g, WARMUP_TYPE, NIB_SLOPE_LINEAR);
    s->fall = (nib_slope)value_of(g, DECAY_TYPE, NIB_SLOPE_COSINE);
    return NIB_OK;
}

static nib_status settle_plateau(const given *g, nib_schedule *s)
{
    nib_plateau p = nib_plateau_default();

    p.factor = value_of(g, FACTOR, p.factor);
    p.patience = value_of(g, PATIENCE, p.patience);
    p.threshold = value_of(g, THRESHOLD, p.threshold);
    p.cooldown = value_of(g, COOLDOWN, p.cooldown);
    p.min_lr = value_of(g, MIN_LR, p.min_lr);
    p.eps = value_of(g, EPS, p.eps);
    p.greater = value_of(g, MODE, 0) > 0;
    p.absolute = value_of(g, THRESHOLD_MODE, 0) > 0;
    if (p.greater) p.best = -HUGE_VAL;
    s->plateau = p;
    return NIB_OK;
}

nib_status nib_schedule_arguments(const nib_train_options *o, const char *name, nib_schedule *s,
                                  nib_error *err)
{
    given g = { 0 };
    nib_status status = read_all(o, name, s->kind, &g, err);

    if (status) return status;
    s->cycles = value_of(&g, CYCLES, s->kind == NIB_SCHEDULE_COSINE_RESTARTS ? 1 : 0.5);
    s->warmup_floor = value_of(&g, WARMUP_LR_RATE, -1);
    s->timescale = value_of(&g, TIMESCALE, s->warmup ? (double)s->warmup : 10000);
    switch (s->kind) {
    case NIB_SCHEDULE_COSINE_MIN_LR: case NIB_SCHEDULE_COSINE_WARMUP_MIN_LR:
        return settle_floor(&g, name, o->learning_rate, s, err);
    case NIB_SCHEDULE_POLYNOMIAL: return settle_polynomial(&g, o->learning_rate, s, err);
    case NIB_SCHEDULE_STABLE_DECAY: return settle_stable_decay(&g, s, err);
    case NIB_SCHEDULE_PLATEAU: return settle_plateau(&g, s);
    default: return NIB_OK;
    }
}
