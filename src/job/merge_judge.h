/* merge_judge.h - is a merged model what its adapter made of the base?  Measures, reports, and
 * refuses. */
#ifndef NIB_JOB_MERGE_JUDGE_H
#define NIB_JOB_MERGE_JUDGE_H

#include "job/merge_report.h"

/* What was found, without the models. */
typedef struct nib_merge_judged {
    nib_ctx *ctx;
    const char *route;
    nib_merge_report report;   /* but for the texts */
    char *records;
    bool enough;               /* of min_retained, or of what is usual */
    char **damaged;            /* [damaged_count] matrices that kept far from all */
    size_t damaged_count;
    nib_text text, page, advice;
    json_t *json;
} nib_merge_judged;

/* Measures what lies in m->merged.  *out is freed after a failure too. */
nib_status nib_merge_judge(const nib_merge_measuring *m, const nib_merge_facts *f,
                           nib_merge_judged *out, nib_error *err);
void nib_merge_judged_free(nib_merge_judged *j); /* a zeroed one is fine */

/* The lower loss; without records less noise. */
bool nib_merge_judged_better(const nib_merge_judged *a, const nib_merge_judged *b);
/* Calls on_report, puts README.md (but where OUT has one that is none of a merge's) and
 * merge_report.json into `dir`, and warns (little-survived) of what keeps little.  other: the route
 * that is not taken, or NULL.  NIB_E_MISMATCH: min_retained refuses it. */
nib_status nib_merge_judged_end(nib_merge_judged *j, const nib_merge_judged *other,
                                const nib_merge_options *o, const char *dir, nib_error *err);

#endif
