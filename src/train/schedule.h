/* schedule.h - the learning rate's factor at each step, as transformers has it (formats.md
 * 14.3). */
#ifndef NIB_TRAIN_SCHEDULE_H
#define NIB_TRAIN_SCHEDULE_H

#include "base/base.h"
#include "nibble/finetune.h"
#include "train/plateau.h"

typedef enum nib_schedule_kind {
    NIB_SCHEDULE_LINEAR,
    NIB_SCHEDULE_COSINE,
    NIB_SCHEDULE_COSINE_RESTARTS,
    NIB_SCHEDULE_COSINE_MIN_LR,
    NIB_SCHEDULE_COSINE_WARMUP_MIN_LR,
    NIB_SCHEDULE_POLYNOMIAL,
    NIB_SCHEDULE_INVERSE_SQRT,
    NIB_SCHEDULE_STABLE_DECAY,
    NIB_SCHEDULE_CONSTANT,
    NIB_SCHEDULE_CONSTANT_WARMUP,
    NIB_SCHEDULE_PLATEAU /* factor 1; evaluations lower the rates themselves */
} nib_schedule_kind;

/* How warmup_stable_decay rises and falls. */
typedef enum nib_schedule_slope { NIB_SLOPE_LINEAR, NIB_SLOPE_COSINE, NIB_SLOPE_SQRT } nib_slope;

typedef struct nib_schedule {
    nib_schedule_kind kind;
    uint64_t warmup, steps;
    double cycles;       /* waves of the cosines */
    double floor;        /* the least factor: min_lr_rate, min_lr_ratio */
    double warmup_floor; /* cosine_warmup_with_min_lr: the first factor; below 0: not given */
    double rate, end;    /* polynomial: learning_rate and lr_end */
    double power;        /* polynomial */
    double timescale;    /* inverse_sqrt: steps */
    double stable, decay; /* warmup_stable_decay: steps after the warm-up; stable may be negative */
    nib_slope rise, fall;
    nib_plateau plateau; /* as it begins */
} nib_schedule;

/* NIB_E_INVALID on an unknown name (with the known ones), a warm-up out of range, or an entry of
 * lr_scheduler_kwargs that this schedule has not, needs, or cannot take. */
nib_status nib_schedule_init(const nib_train_options *o, uint64_t steps, nib_schedule *out,
                             nib_error *err);
/* What learning rates are multiplied by, bit for bit; t = 0 at the first step. */
double nib_schedule_factor(const nib_schedule *s, uint64_t t);

/* Are the factors of the steps before `t` the same in both? */
bool nib_schedule_agrees(const nib_schedule *a, const nib_schedule *b, uint64_t t);

/* schedule_arguments.c: what lr_scheduler_kwargs gives, over the defaults in *s, whose kind, warmup
 * and steps are set. */
nib_status nib_schedule_arguments(const nib_train_options *o, const char *name, nib_schedule *s,
                                  nib_error *err);

#endif
