/* answered.h - the questions of a data set answered one after another, from the logits of their
 * windows, and how right the answers are. */
#ifndef NIB_JOB_ANSWERED_H
#define NIB_JOB_ANSWERED_H

#include "graph/run.h"
#include "job/answer_spans.h"
#include "nibble/evaluate.h"

/* Of some questions: sums. */
typedef struct nib_answer_sums { uint64_t count, exact; double f1; } nib_answer_sums;

typedef struct nib_answered {
    nib_ctx *ctx;
    const nib_dataset *data;
    bool may_be_none;
    float *logits;           /* [longest window, 2] */
    nib_span_finder finder;
    size_t next;             /* the question at hand */
    nib_answer_sums with, without; /* an answer in their context */
} nib_answered;

/* What a question is answered with. */
typedef struct nib_answer {
    size_t question;
    const char *text;        /* [bytes], of the context; 0 bytes: no answer */
    size_t bytes, begin;     /* where it begins in the context */
    nib_found_span span;
} nib_answer;

/* For a data set of questions, which is borrowed.  NIB_E_NOMEM. */
nib_status nib_answered_create(nib_ctx *ctx, const nib_dataset *data, nib_answered *out,
                               nib_error *err);
void nib_answered_free(nib_answered *a); /* zeroed is fine */
/* Begins again with the first question. */
void nib_answered_clear(nib_answered *a);

/* The next window, of record r, whose rows of logits begin at `row` of the run's.  *done: it was
 * the question's last, and *answer is what it is answered with.  NIB_E_NUMERIC: a logit is not
 * finite. */
nib_status nib_answered_add(nib_answered *a, nib_run *run, nib_record r, size_t row, bool *done,
                            nib_answer *answer, nib_error *err);
/* Counts how right it is.  NIB_E_NOMEM. */
nib_status nib_answered_count(nib_answered *a, const nib_answer *answer, nib_error *err);
/* Of all that were counted, in percent. */
nib_scores nib_answered_scores(const nib_answered *a);

#endif
