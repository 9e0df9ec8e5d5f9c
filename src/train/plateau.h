/* plateau.h - reduce_lr_on_plateau: learning rates that fall when evaluations get no better.
 *
 * torch's ReduceLROnPlateau, fed by each evaluation as the Trainer does (formats.md 14.3).  Its
 * state follows from the metrics so far, so that a resumed run feeds it what its history holds. */
#ifndef NIB_TRAIN_PLATEAU_H
#define NIB_TRAIN_PLATEAU_H

#include "base/base.h"

typedef struct nib_plateau {
    bool greater;  /* mode max: a greater metric is better */
    bool absolute; /* threshold_mode abs */
    double factor, patience, threshold, cooldown, min_lr, eps;
    double best;          /* inf or -inf: none yet */
    double bad, cooling;  /* evaluations: without a better one, and left to cool down */
} nib_plateau;

/* The defaults of torch: mode min, factor 0.1, patience 10, threshold 1e-4 rel, eps 1e-8. */
nib_plateau nib_plateau_default(void);
/* One evaluation.  True: the rates fall. */
bool nib_plateau_judge(nib_plateau *p, double metric);
/* What a rate falls to; the same where the step would be no larger than eps. */
double nib_plateau_lower(const nib_plateau *p, double rate);

#endif
