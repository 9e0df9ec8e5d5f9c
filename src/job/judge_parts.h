/* judge_parts.h - what the judge's files share: contestants, their answers, the report. */
#ifndef NIB_JOB_JUDGE_PARTS_H
#define NIB_JOB_JUDGE_PARTS_H

#include <jansson.h>

#include "job/answer_interval.h"
#include "job/asked.h"
#include "job/json_schema.h"
#include "nibble/judge.h"

typedef struct nib_contestant {
    const char *name;      /* of an adapter, or "base"; borrowed */
    bool base;
    char **answers;        /* [records]; of multiple choice the choice of acc */
    double **likelihoods;  /* [records][choices] of multiple choice, their logarithms; else NULL */
    bool *fields;          /* [records, fields of the schema] is right; NULL: there is no schema */
    uint64_t new_tokens, unended; /* answers that max_new_tokens cut off */
    double seconds;
} nib_contestant;

/* Of multiple choice (judge_choices.h). */
typedef struct nib_choice {
    char *text;
    uint32_t *ids;         /* [count] behind the prompt's */
    size_t count;
} nib_choice;

typedef struct nib_choice_question {
    uint32_t *prompt;      /* [prompt_count] */
    size_t prompt_count;
    nib_choice *choices;   /* [count] */
    size_t count, right;
} nib_choice_question;

typedef struct nib_judgement {
    nib_ctx *ctx;
    const nib_judge_options *o;
    nib_contestant *contestants;
    size_t contestant_count, against;
    nib_asked *asked;              /* [records], or NULL: of multiple choice */
    char **prompts, **wanted;      /* [records] */
    nib_json_schema *schema;       /* or NULL */
    nib_choice_question *questions;       /* [records], or NULL: answers are generated */
    size_t rooms[3];               /* of questions, prompts and wanted texts while they are read */
    size_t records, max_new_tokens;
    uint64_t truncated;
    nib_answer_scores *scores;     /* [contestants, records] */
    nib_answer_summary *summaries; /* [contestants] */
} nib_judgement;

/* The report; *out is the caller's.  NIB_E_NOMEM. */
nib_status nib_judge_report(const nib_judgement *j, nib_report_form form, char **out,
                            nib_error *err);
/* A record as a line of JSON: its number, prompt, what was wanted, each contestant's answer and
 * scores; new, NULL: no memory. */
json_t *nib_judge_record(const nib_judgement *j, size_t record);

#endif
