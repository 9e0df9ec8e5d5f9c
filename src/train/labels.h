/* labels.h - what a classifier learns from: the answers of records, and the names of classes.
 *
 * An answer is a list of floats: one class, some classes, numbers, or a class for each token.  A
 * class is its number, which a float holds exactly.  While records are read, words get numbers in
 * the order in which they come; nib_labels_settle() sorts them, as the reference's scripts do. */
#ifndef NIB_TRAIN_LABELS_H
#define NIB_TRAIN_LABELS_H

#include <jansson.h>

#include "base/base.h"
#include "nibble/model.h"

typedef enum nib_label_kind {
    NIB_LABEL_NONE,
    NIB_LABEL_CLASS,   /* one class a record */
    NIB_LABEL_SET,     /* any number of classes a record */
    NIB_LABEL_NUMBERS, /* regression: as many numbers as `count` */
    NIB_LABEL_TAGS,    /* one class a token, NIB_NO_TAG where none is asked for */
    NIB_LABEL_SPAN     /* two tokens: where an answer begins and ends; there are no classes */
} nib_label_kind;

enum { NIB_NO_TAG = -1, NIB_MOST_LABELS = 1 << 20 };

typedef struct nib_labels {
    nib_ctx *ctx;
    nib_label_kind kind;
    char **names;          /* of the classes, by number; NULL entries: called LABEL_i */
    size_t count, capacity;
    bool known;            /* the names were given: others are errors */
    bool words, integers;  /* records had them */
    bool multi_hot;        /* sets are lists of 0.0 and 1.0 */
    float *answers;        /* of all records, one after another */
    size_t used, answer_capacity;
    float *class_weights;  /* [count], or NULL */
} nib_labels;

void nib_labels_free(nib_labels *l); /* zeroed is fine */
/* A class that is known beforehand, the next number's.  false: no memory. */
bool nib_labels_know(nib_labels *l, const char *name);
/* Makes `to` know what `from` has settled. */
nib_status nib_labels_copy_names(const nib_labels *from, nib_labels *to, nib_error *err);
/* The name of a class; room is used where it has none of its own. */
const char *nib_label_name(const nib_labels *l, size_t i, char room[24]);

/* What a record's label asks for: `regression` where numbers are wanted whatever they look like.
 * NIB_E_FORMAT: nothing that a label can be. */
nib_status nib_labels_detect(nib_labels *l, const json_t *value, bool regression, const char *where,
                             const char *field, nib_error *err);
/* Adds the answer of a record; of tags see nib_labels_class().  NIB_E_FORMAT names the record, the
 * field, what was found and what is expected. */
nib_status nib_labels_add(nib_labels *l, const json_t *value, const char *where, const char *field,
                          nib_error *err);
nib_status nib_labels_put(nib_labels *l, float answer, const char *where, nib_error *err);
/* The number of one class, given as a word or an integer. */
nib_status nib_labels_class(nib_labels *l, const json_t *value, const char *where,
                            const char *field, int *id, nib_error *err);

/* After the last record: words are sorted and answers renumbered, words that are all integers are
 * taken as these; classes are counted.  `where` names the data. */
nib_status nib_labels_settle(nib_labels *l, const char *where, nib_error *err);
/* scikit-learn's "balanced": answers / (classes * answers of the class). */
nib_status nib_labels_balance(nib_labels *l, nib_error *err);

#endif
