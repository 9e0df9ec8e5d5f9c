/* scores.h - counting how well a classifier does: scikit-learn's and scipy's measures. */
#ifndef NIB_JOB_SCORES_H
#define NIB_JOB_SCORES_H

#include "job/spans.h"
#include "train/labels.h"

typedef struct nib_scorer {
    nib_ctx *ctx;
    nib_label_kind kind;
    size_t labels, rows, room;
    uint64_t exact;             /* rows that are right */
    uint64_t *confusion;        /* [labels, labels] of one class a row: right, predicted */
    uint64_t *hits, *said, *support; /* [labels] right and predicted, predicted, right */
    double *predicted, *right;  /* [labels, room] of numbers */
    double *ranks;              /* [2, room] */
    nib_class_scores *classes;
    nib_spans spans;            /* of tags */
    char (*plain)[24];          /* names of labels without one */
} nib_scorer;

/* For at most `rows` rows of what the labels are (kind CLASS, SET, NUMBERS, TAGS), with a head of
 * `count` rows.  The names are borrowed. */
nib_status nib_scorer_create(nib_ctx *ctx, const nib_labels *labels, size_t count, size_t rows,
                             nib_scorer *out, nib_error *err);
void nib_scorer_free(nib_scorer *s); /* zeroed is fine */
void nib_scorer_clear(nib_scorer *s);
uint64_t nib_scorer_bytes(const nib_scorer *s);
/* A row by its logits [labels]: the greatest is chosen (the first of equals); labels above 0 are;
 * numbers as they are. */
void nib_scorer_add_class(nib_scorer *s, const float *logits, uint32_t right);
void nib_scorer_add_each(nib_scorer *s, const float *logits, const float *right);
/* Nothing measured: NaN. */
nib_scores nib_scores_none(void);
/* Borrows from s until the next call. */
nib_scores nib_scorer_scores(nib_scorer *s);

/* A measure by the name that metric_for_best_model gives it ("accuracy", "eval_f1", ...); false:
 * none is called so.  *greater: more is better. */
bool nib_score_named(const char *name, const nib_scores *s, double *value, bool *greater);
/* "accuracy, f1, matthews_correlation, ..." */
const char *nib_score_names(void);

#endif
