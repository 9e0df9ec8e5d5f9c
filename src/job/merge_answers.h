/* merge_answers.h - what two models answer to the same prompts, side by side. */
#ifndef NIB_JOB_MERGE_ANSWERS_H
#define NIB_JOB_MERGE_ANSWERS_H

#include "job/merge_records.h"

enum { NIB_MERGE_ANSWERS = 10, NIB_ANSWER_TOKENS = 48 };

typedef struct nib_merge_answer {
    char *prompt, *adapter, *merged; /* special tokens left out */
    bool same;                       /* token by token */
} nib_merge_answer;

/* Prompts are the first records' tokens before what is trained (of a record that is trained from
 * its start: its first half); both models continue greedily, until a token that ends a text or
 * NIB_ANSWER_TOKENS.  Without a tokenizer, and of classifiers, there are none.  Prompts that leave
 * no room are passed over.  list [NIB_MERGE_ANSWERS]. */
nib_status nib_merge_answers(nib_ctx *ctx, nib_model *adapter, nib_model *merged,
                             const nib_merge_records *records, nib_merge_answer *list,
                             size_t *count, nib_error *err);
void nib_merge_answers_free(nib_ctx *ctx, nib_merge_answer *list, size_t count);

#endif
