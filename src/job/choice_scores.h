/* choice_scores.h - which of several answers a model finds the likeliest, and whether that is the
 * right one, by the arithmetic of lm-evaluation-harness (0.4.13, api/task.py):
 *
 *   acc        of the greatest sum of its tokens' log-probabilities
 *   acc_norm   of the greatest sum by character of the choice (without the space before it)
 *   acc_bytes  of the greatest sum by byte of it
 *
 * The first of several alike. */
#ifndef NIB_JOB_CHOICE_SCORES_H
#define NIB_JOB_CHOICE_SCORES_H

#include "job/answer_scores.h"

/* Sets the three of *out, and all others to NaN; the choice of acc.  texts [count]: UTF-8, none
 * empty. */
size_t nib_choice_scores(const double *log_likelihood, const char *const *texts, size_t count,
                         size_t right, nib_answer_scores *out);

#endif
