/* answer_scores.h - how near an answer is to the one that was wanted.
 *
 *   exact        the same text but for blanks at its ends
 *   exact_match  the same in lower case, each run of blanks one space, without quotation marks
 *                around it and without . , ; : ! ? at its end
 *   contains     the wanted text, so made, stands in the answer, so made
 *   json_valid   of wanted texts that are JSON objects or lists: the answer is JSON, and alone
 *   json_fields  of wanted texts that are objects: the fraction of members that the answer has
 *                with the same value
 *   rouge_l      F measure of the longest common subsequence of words (Lin 2004), as rouge-score
 *                0.1.2's rougeL without a stemmer
 *   chrf         chrF2 of characters, n-grams of 1 to 6 (Popovic 2015), as sacrebleu 2.6.0's CHRF()
 *
 * All from 0 to 1; NaN: does not apply to this record. */
#ifndef NIB_JOB_ANSWER_SCORES_H
#define NIB_JOB_ANSWER_SCORES_H

#include "base/base.h"

enum { NIB_CHRF_ORDER = 6, NIB_MOST_ANSWER = 100000 /* characters that are compared */ };

typedef enum nib_answer_score {
    NIB_ANSWER_EXACT,
    NIB_ANSWER_EXACT_MATCH,
    NIB_ANSWER_CONTAINS,
    NIB_ANSWER_REGEX, /* set by the caller */
    NIB_ANSWER_JSON_VALID,
    NIB_ANSWER_JSON_FIELDS,
    NIB_ANSWER_ROUGE_L,
    NIB_ANSWER_CHRF,
    NIB_ANSWER_JSON_SCHEMA,        /* these two set by the caller (json_schema.h) */
    NIB_ANSWER_JSON_SCHEMA_FIELDS, /* the fraction of the fields */
    NIB_ANSWER_ACC,       /* these three of multiple choice, in place of all others: set by the */
    NIB_ANSWER_ACC_NORM,  /* caller (choice_scores.h) */
    NIB_ANSWER_ACC_BYTES,
    NIB_ANSWER_SCORES
} nib_answer_score;

typedef struct nib_answer_scores {
    double of[NIB_ANSWER_SCORES];
    /* What chrF is made of: n-grams of the answer, of the wanted text, of both.  Those of several
     * records are summed, then scored: sacrebleu's score of a corpus. */
    uint32_t chrf[NIB_CHRF_ORDER][3];
} nib_answer_scores;

/* "exact", "exact_match", ... */
const char *nib_answer_score_name(nib_answer_score which);
/* The same backwards, of those that an answer and the wanted text make; "rougeL" is rouge_l too.
 * false: none of them is called so. */
bool nib_answer_score_named(const char *name, nib_answer_score *out);
/* Texts are UTF-8; bytes that are not count as U+FFFD.  NIB_E_NOMEM; NIB_E_INVALID: a text of more
 * than NIB_MOST_ANSWER characters. */
nib_status nib_answer_score_one(nib_ctx *ctx, const char *answer, const char *wanted,
                                nib_answer_scores *out, nib_error *err);
/* The mean of each over the records that it applies to, NaN: there are none; chrf of the sums of
 * its counts.  drawn [records]: which records, in place of each once; or NULL. */
void nib_answer_score_means(const nib_answer_scores *scores, size_t records,
                            const uint32_t *drawn, double out[NIB_ANSWER_SCORES]);
/* Does a score of one record apply to this wanted text? */
bool nib_answer_score_applies(nib_answer_score which, const char *wanted);
/* Of counts [NIB_CHRF_ORDER][3], which may be sums. */
double nib_chrf_score(const double counts[NIB_CHRF_ORDER][3]);

#endif
