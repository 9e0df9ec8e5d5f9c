/* squad.h - how right an answer is by SQuAD's measures (transformers' squad_metrics, which are the
 * contest's own scripts').
 *
 * Texts are compared in lower case, without ASCII's punctuation, without a, an and the, each run of
 * blanks one space.  exact: the same.  f1: 2 common / (words of both), the words that both have as
 * often as both have them; where either has no word, exact. */
#ifndef NIB_JOB_SQUAD_H
#define NIB_JOB_SQUAD_H

#include "format/jsontext.h"

/* Replaces `out` by the text [bytes] of valid UTF-8 in the form that is compared; out->failed: no
 * memory. */
void nib_squad_normalize(const char *text, size_t bytes, nib_text *out);

typedef struct nib_squad_score { bool exact; double f1; } nib_squad_score;

/* The best over the right answers, of which those without a word do not count; without any that
 * does the empty answer is right.  NIB_E_NOMEM. */
nib_status nib_squad_best(nib_ctx *ctx, const char *answer, size_t bytes,
                          const char *const *right, size_t count, nib_squad_score *out,
                          nib_error *err);

#endif
