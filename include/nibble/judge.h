/* judge.h - what a model answers to held-out records, beside what its adapters answer, scored. */
#ifndef NIBBLE_JUDGE_H
#define NIBBLE_JUDGE_H

#include "nibble/finetune.h"
#include "nibble/inspect.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_judge_options {
    nib_model_options model;
    nib_data_options data;       /* records with a prompt and what is wanted: prompt and completion,
                                  * chats (their last turn of the assistant), FAQ, Alpaca, tokens;
                                  * or multiple choice */
    const nib_adapter_choice *adapters;
    size_t adapter_count;
    bool raw;                    /* records are put as data says alone; else what it leaves open
                                  * (templates, alpaca_ending) is as the first adapter was trained,
                                  * where its file says it */
    bool no_base;                /* the model without an adapter does not answer */
    const char *against;         /* whom the others are compared with: "base" or an adapter's name;
                                  * NULL: base, or where that does not answer the first adapter */
    const char *predictions;     /* a .jsonl file to write: a record, and all answers, a line; NULL:
                                  * none */
    const char *regex;           /* Python's re: answers that match all of it count; NULL: not
                                  * scored */
    const char *json_schema;     /* a JSON Schema that answers are held to, as a whole and field by
                                  * field (job/json_schema.h has its keywords); NULL: not scored */
    int max_new_tokens;          /* 0: twice the longest wanted answer's, 16 to 256 */
    int worst;                   /* records to show, the worst answered first */
    uint64_t seed;               /* of the intervals */
    const char *const *stop;
    size_t stop_count;
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_judge_options;

/* Answers greedily from the tokens that training would see of each prompt, scores
 * (job/answer_scores.h), and reports: scores with 95 % intervals, differences, the worst records.
 * Of records of multiple choice nothing is generated: the likelihoods of the choices are compared
 * (job/choice_scores.h).  *out is the caller's: nib_report_free().
 *
 * NIB_E_INVALID: records without prompts, a contestant that is not there, options of generated
 * texts with records of multiple choice; NIB_E_FORMAT: a bad record; NIB_E_UNSUPPORTED: a
 * model that does not generate. */
nib_status nib_judge(nib_ctx *ctx, const nib_judge_options *options, nib_report_form form,
                     char **out, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
