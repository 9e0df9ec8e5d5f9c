/* schedule.h - the learning rate's factor at each step, as transformers has it (formats.md
 * 14.3). */
#ifndef NIB_TRAIN_SCHEDULE_H
#define NIB_TRAIN_SCHEDULE_H

#include "base/base.h"
#include "nibble/finetune.h"

typedef struct nib_schedule nib_schedule;
struct nib_schedule {
    enum {
        NIB_SCHEDULE_LINEAR,
        NIB_SCHEDULE_COSINE,
        NIB_SCHEDULE_COSINE_RESTARTS,
        NIB_SCHEDULE_CONSTANT,
        NIB_SCHEDULE_CONSTANT_WARMUP
    } kind;
    double cycles; /* of the cosines */
    uint64_t warmup, steps;
};
/* NIB_E_INVALID on an unknown name (with the known ones), a warm-up out of range, or an entry of
 * lr_scheduler_kwargs that this schedule has not. */
nib_status nib_schedule_init(const nib_train_options *o, uint64_t steps, nib_schedule *out,
                             nib_error *err);
/* What learning rates are multiplied by, bit for bit; t = 0 at the first step. */
double nib_schedule_factor(const nib_schedule *s, uint64_t t);

#endif
