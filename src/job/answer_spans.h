/* answer_spans.h - the piece of a context that a model answers a question with.
 *
 * Each window gives the 20 tokens where an answer may best begin and the 20 where it may best end;
 * the pairs of them that lie in the context, in this order and not too far apart are candidates, by
 * the sum of the two logits.  The best 20 of all windows are kept; a candidate's score is its share
 * of their softmax.  The least sum of a window's first token stands for "no answer": as
 * transformers' run_qa does it (formats-encoder.md 6.5). */
#ifndef NIB_JOB_ANSWER_SPANS_H
#define NIB_JOB_ANSWER_SPANS_H

#include "train/data.h"

enum { NIB_BEST_SPANS = 20 };

typedef struct nib_span_candidate {
    nib_token_range at;  /* bytes of the context */
    float begin, end;    /* logits */
} nib_span_candidate;

/* Of one question. */
typedef struct nib_span_finder {
    size_t longest;      /* tokens of an answer */
    nib_span_candidate best[NIB_BEST_SPANS];
    size_t count;
    float none;          /* the least of a window's first token */
    size_t windows;
} nib_span_finder;

typedef struct nib_found_span {
    bool found;          /* there was a candidate */
    nib_token_range at;
    double score;        /* of it among the candidates, with `no answer` as one where that is
                            possible */
    double none;         /* how much more the logits speak for `no answer` than for it */
} nib_found_span;

void nib_span_finder_begin(nib_span_finder *f, size_t longest);
/* logits [r.length, 2]. */
void nib_span_finder_add(nib_span_finder *f, nib_record r, const float *logits);
/* may_be_none: the context need not hold an answer. */
nib_found_span nib_span_finder_end(const nib_span_finder *f, bool may_be_none);

#endif
