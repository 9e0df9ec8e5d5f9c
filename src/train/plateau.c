/* plateau.c - see plateau.h; operation for operation as torch 2.13 computes it. */
#include "train/plateau.h"

#include <math.h>

nib_plateau nib_plateau_default(void)
{
    return (nib_plateau){ .factor = 0.1, .patience = 10, .threshold = 1e-4, .eps = 1e-8,
                          .best = HUGE_VAL };
}

static bool is_better(const nib_plateau *p, double metric)
{
    if (p->absolute)
        return p->greater ? metric > p->best + p->threshold : metric < p->best - p->threshold;
    return p->greater ? metric > p->best * (p->threshold + 1)
                      : metric < p->best * (1 - p->threshold);
}

bool nib_plateau_judge(nib_plateau *p, double metric)
{
    if (is_better(p, metric)) {
        p->best = metric;
        p->bad = 0;
    } else {
        p->bad++;
    }
    if (p->cooling > 0) {
        p->cooling--;
        p->bad = 0;
    }
    if (!(p->bad > p->patience)) return false;
    p->cooling = p->cooldown;
    p->bad = 0;
    return true;
}

double nib_plateau_lower(const nib_plateau *p, double rate)
{
    double lower = fmax(rate * p->factor, p->min_lr);

    return rate - lower > p->eps ? lower : rate;
}
