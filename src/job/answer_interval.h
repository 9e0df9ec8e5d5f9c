/* answer_interval.h - how sure a mean of few records is: the bootstrap (Efron 1979).
 *
 * Records are drawn anew, as many as there are and each as often as it comes, NIB_RESAMPLES times;
 * the interval is from the 2.5th to the 97.5th percentile of what the draws score.  All contestants
 * are scored on the same draws, so that differences between them are paired. */
#ifndef NIB_JOB_ANSWER_INTERVAL_H
#define NIB_JOB_ANSWER_INTERVAL_H

#include "job/answer_scores.h"

enum { NIB_RESAMPLES = 1000 };

typedef struct nib_interval { double score, low, high; } nib_interval;

/* Of one contestant: each score over all records, and its difference to the one that it is compared
 * with.  NaN: a score applies to no record. */
typedef struct nib_answer_summary {
    nib_interval score[NIB_ANSWER_SCORES], difference[NIB_ANSWER_SCORES];
} nib_answer_summary;

/* scores [contestants, records].  A score is the mean over the records that it applies to; chrf is
 * made of the sums of its counts.  `against`: the contestant whom the others are compared with.
 * out [contestants].  NIB_E_NOMEM. */
nib_status nib_answer_intervals(nib_ctx *ctx, const nib_answer_scores *scores, size_t contestants,
                                size_t records, size_t against, uint64_t seed,
                                nib_answer_summary *out, nib_error *err);

#endif
