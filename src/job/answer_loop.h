/* answer_loop.h - the records of a training run's evaluations answered by the model as it is at
 * that moment, and scored: what metric_for_best_model may name.
 *
 * Answers are those of nibble evaluate --generate: greedy, from the tokens that training sees of
 * each prompt, as generation_config.json has it for the rest. */
#ifndef NIB_JOB_ANSWER_LOOP_H
#define NIB_JOB_ANSWER_LOOP_H

#include "adapter/adapter.h"
#include "job/answer_scores.h"
#include "job/asked.h"

struct nib_generator;

typedef struct nib_answer_loop {
    nib_ctx *ctx;
    const char *name;            /* of the data, for messages */
    const nib_dataset *data;     /* borrowed */
    size_t records, max_new_tokens, longest_prompt;
    nib_asked *asked;            /* [records] */
    char **wanted;               /* [records] */
    nib_answer_scores *scores;   /* [records] of the last run */
    size_t capacity;             /* tokens of prompt and answer */
    uint64_t bytes;
    nib_graph *graph;            /* of the model that is asked */
    struct nib_generator *generator;
} nib_answer_loop;

/* Takes the questions from the records, which outlive the loop, before any model is there; o: how
 * they were read.  name is borrowed.  NIB_E_INVALID: records of this shape are not answered, or the
 * score applies to none of them, or their prompts are trained too. */
nib_status nib_answer_loop_open(nib_ctx *ctx, const char *name, const nib_dataset *data,
                                const nib_data_options *o, nib_answer_score score,
                                nib_tokenizer *tokenizer, nib_answer_loop *out, nib_error *err);
void nib_answer_loop_close(nib_answer_loop *a); /* zeroed is fine */

/* Plans for a model with its adapter, both borrowed; dir: the model's.  A second model takes the
 * place of the first. */
nib_status nib_answer_loop_plan(nib_answer_loop *a, const char *dir, nib_tokenizer *tokenizer,
                                nib_model *model, nib_adapter *adapter, nib_error *err);
/* Takes a->bytes.  Nothing for a zeroed one, as the next. */
nib_status nib_answer_loop_allocate(nib_answer_loop *a, nib_error *err);
/* *seconds: what answering all takes, by the first record's prompt and a few new tokens, were each
 * answer as long as the one that is wanted.  0 for a zeroed one.  As nib_answer_loop_run(). */
nib_status nib_answer_loop_trial(nib_answer_loop *a, double *seconds, nib_error *err);
/* Answers all; means [NIB_ANSWER_SCORES].  progress: or NULL.  Changes no parameter.
 * NIB_E_INTERRUPTED; NIB_E_NUMERIC: a logit is not finite. */
nib_status nib_answer_loop_run(nib_answer_loop *a, double *means,
                               void (*progress)(void *user, const char *what, double part),
                               void *user, nib_error *err);

#endif
