/* judge_choices.h - multiple choice for the judge: the questions of a file as tokens, and how
 * likely each contestant finds each choice. */
#ifndef NIB_JOB_JUDGE_CHOICES_H
#define NIB_JOB_JUDGE_CHOICES_H

#include "job/generate_tokens.h"
#include "job/judge_parts.h"
#include "train/shape.h"

/* Reads the records of j->o->data anew, whose shape is one with choices, into j->questions,
 * j->prompts and j->wanted; sets j->records.  Prompt and choice become tokens as
 * lm-evaluation-harness makes them: the choice's are those that the whole text has more than the
 * prompt without the blanks at its end.  NIB_E_FORMAT: a record is longer than max_seq_length, or
 * than the model takes;
 * NIB_E_INVALID: options that are of texts to be generated. */
nib_status nib_judge_read_choices(nib_judgement *j, nib_generator *g, nib_record_shape shape,
                                  nib_error *err);
/* Asks everybody; answers are the choices that acc picks.  Sets j->scores. */
nib_status nib_judge_ask_choices(nib_judgement *j, nib_generator *g, nib_error *err);
void nib_judge_free_choices(nib_judgement *j);

/* How much likelier the right choice is than the likeliest other one, in nats. */
double nib_judge_margin(const nib_judgement *j, size_t contestant, size_t record);

#endif
