/* finetune_outcome.c - did the run get anywhere?  A loss far above its start, or a gradient that is
 * zero, ends with a finite adapter all the same; the history tells. */
#include <math.h>

#include "job/finetune_job.h"

enum { GRAD_NORM, LEARNING_RATE, LOSS }; /* of an NIB_LOG_TRAIN entry's values */
enum { FEWEST = 6, TAIL = 3 };

typedef struct ending {
    size_t count;        /* of the lines that have a loss */
    double first;        /* loss, before any update or of the first line */
    double least, steepest; /* of the last lines: the least loss, the greatest gradient */
    double rate;         /* and the greatest learning rate */
} ending;

static size_t count_lines(const nib_trainer_state *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->log_count; i++) n += s->log[i].kind == NIB_LOG_TRAIN;
    return n;
}

/* The last lines: a tenth of all, three at least. */
static ending read_history(const nib_trainer_state *s)
{
    ending e = { .count = count_lines(s), .least = (double)INFINITY };
    size_t tail = nib_max((size_t)TAIL, e.count / 10), seen = 0;

    for (size_t i = 0; i < s->log_count; i++) {
        const double *v = s->log[i].values;

        if (s->log[i].kind != NIB_LOG_TRAIN) continue;
        if (seen++ == 0) e.first = v[LOSS];
        if (seen + tail <= e.count) continue;
        e.least = fmin(e.least, v[LOSS]);
        e.steepest = fmax(e.steepest, v[GRAD_NORM]);
        e.rate = fmax(e.rate, v[LEARNING_RATE]);
    }
    return e;
}

/* In each of the last lines a whole nat above the start, and by half of it or by a nat and a half:
 * more than records of different difficulty make. */
static bool is_far_above(double loss, double start)
{
    return loss > start + 1 && (loss > 1.5 * start || loss > start + 1.5);
}

bool nib_history_diverged(const nib_trainer_state *s)
{
    ending e = read_history(s);

    return e.count >= FEWEST && is_far_above(e.least, e.first);
}

void nib_finetune_judge_end(nib_finetune_job *j)
{
    ending e = read_history(&j->state);

    if (e.count < FEWEST) return;
    if (is_far_above(e.least, e.first))
        nib_warn_code(j->ctx, "diverged",
                      "the run diverged: the loss began at %.4g and ended at %.4g or more%s; the "
                      "adapter is worse than none, try a lower learning_rate than %g",
                      e.first, e.least,
                      e.steepest < 1e-3 ? ", with a gradient of nearly 0, so that it stays there"
                                        : "",
                      j->o->train.learning_rate);
    else if (e.steepest < 1e-6 && e.rate > 0)
        nib_warn_code(j->ctx, "stands-still",
                      "the run stands still: the norm of the gradient was %.2g at most in the last "
                      "lines, so that nothing more is learned, at a loss of %.4g", e.steepest,
                      e.least);
}
