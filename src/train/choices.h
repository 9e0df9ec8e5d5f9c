/* choices.h - a record of multiple choice: a question, the answers to choose from, the right one.
 *
 *     {"question": "...", "choices": ["one", "two"], "answer": 1}          the index, from 0
 *     {"prompt": "...",   "choices": ["one", "two"], "label": "B"}         its letter
 *     {"question": "...", "choices": {"text": [...], "label": ["A", ...]}, "answerKey": "A"}
 *
 * The right one is a number, or a text: a label where the record brings labels, else one of the
 * choices (the first that is equal), else, without labels, a letter A to Z.  It stands in `answer`,
 * `label` or `answerKey`.
 *
 * As text a question is put as of FAQ records ("Question: ...\nAnswer:"), a prompt as it stands; a
 * space comes before the choice unless a blank is there already. */
#ifndef NIB_TRAIN_CHOICES_H
#define NIB_TRAIN_CHOICES_H

#include <jansson.h>

#include "format/jsontext.h"

enum { NIB_MOST_CHOICES = 26 };

typedef struct nib_choices {
    const json_t *prompt;   /* all borrowed of the record; strings */
    const json_t *texts[NIB_MOST_CHOICES]; /* none is empty */
    size_t count, right;    /* 2 or more */
    bool question;          /* the prompt is a question */
} nib_choices;

/* By the fields alone. */
bool nib_choices_are_in(const json_t *record);

/* The prompt is the field `key`: "question" or "prompt".  NIB_E_FORMAT names the field. */
nib_status nib_choices_read(nib_ctx *ctx, const json_t *record, const char *key, const char *where,
                            nib_choices *out, nib_error *err);
/* Appends the prompt, and then what stands between it and a choice and the choice. */
void nib_choices_put_prompt(const nib_choices *c, nib_text *to);
void nib_choices_put_choice(const nib_choices *c, size_t i, nib_text *to);

#endif
