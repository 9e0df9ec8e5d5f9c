/* spans.h - how many of the spans that tags mark are found: seqeval's measure.
 *
 * Tags are O, or B-, I-, E- or S- with a type.  A span begins and ends where seqeval (its default
 * mode, conlleval's rules) sees one; it is found where type, begin and end are right. */
#ifndef NIB_JOB_SPANS_H
#define NIB_JOB_SPANS_H

#include "nibble/evaluate.h"
#include "train/labels.h"

/* One sentence's tags as they come. */
typedef struct nib_span_reader {
    char tag;       /* the last one's letter */
    size_t type, begin;
} nib_span_reader;

typedef struct nib_spans {
    nib_ctx *ctx;
    size_t labels, types;    /* types 0: the labels mark no spans */
    char *tags;              /* [labels] the letter of each */
    size_t *type_of;         /* [labels] */
    nib_class_scores *scores;/* [types] */
    char (*names)[64];       /* [types] */
    uint64_t *hits, *said, *right; /* [types] */
    nib_span_reader here, there; /* predicted, right */
    size_t place;
} nib_spans;

/* Are all labels O, or B-, I-, E- or S- with a type? */
bool nib_labels_mark_spans(const nib_labels *labels, size_t count);

nib_status nib_spans_create(nib_ctx *ctx, const nib_labels *labels, size_t count, nib_spans *out,
                            nib_error *err);
void nib_spans_free(nib_spans *s); /* zeroed is fine */
void nib_spans_clear(nib_spans *s);
/* A word's predicted and right tag; a sentence's end. */
void nib_spans_add(nib_spans *s, size_t said, size_t right);
void nib_spans_end(nib_spans *s);
/* Fills overall_* and spans of *scores, which borrows from s; nothing where there are no types. */
void nib_spans_scores(nib_spans *s, nib_scores *scores);

#endif
