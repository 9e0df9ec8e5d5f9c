/* questions.h - what records of questions about a context say beside their tokens: the texts, the
 * answers that are right, and where the tokens of each window lie in the context.
 *
 * A question is one record of its data set for each window of its context, one after another. */
#ifndef NIB_TRAIN_QUESTIONS_H
#define NIB_TRAIN_QUESTIONS_H

#include "base/base.h"

/* Bytes [begin, end) of the context; NIB_NO_PLACE: the token is none of the context's. */
typedef struct nib_token_range { uint32_t begin, end; } nib_token_range;
enum { NIB_NO_PLACE = UINT32_MAX };

typedef struct nib_question {
    size_t id, context;      /* places in nib_questions.texts; id: JSON, "null": there is none */
    size_t context_bytes;
    size_t answers;          /* the first of its answers in nib_questions.answers */
    uint32_t answer_count;   /* 0: the context has no answer */
    uint32_t windows;
} nib_question;

/* What the options say of answers. */
typedef struct nib_answer_rules {
    size_t longest;          /* tokens */
    bool may_be_none;        /* the context need not hold one */
    double null_threshold;   /* and does not where the logits speak for that by more than this */
} nib_answer_rules;

typedef struct nib_questions {
    nib_ctx *ctx;
    nib_answer_rules rules;
    char *texts;             /* one after another, each with a NUL */
    size_t used, room;
    size_t *answers;         /* places in texts */
    size_t answer_count, answer_room;
    nib_question *items;
    size_t count, capacity;
    nib_token_range *ranges; /* [placed] of all tokens of the data set */
    size_t placed, range_room;
} nib_questions;

/* How much there was: what was added since is taken back. */
typedef struct nib_questions_mark { size_t used, answers, count, placed; } nib_questions_mark;

void nib_questions_free(nib_questions *q); /* zeroed is fine */
nib_questions_mark nib_questions_now(const nib_questions *q);
void nib_questions_restore(nib_questions *q, nib_questions_mark mark);

/* The next question, without answers and windows.  NIB_E_NOMEM. */
nib_status nib_questions_add(nib_questions *q, const char *id, const char *context, size_t bytes,
                             nib_error *err);
/* An answer of the last one. */
nib_status nib_questions_answer(nib_questions *q, const char *text, size_t bytes, nib_error *err);
/* The place of the next token. */
nib_status nib_questions_place(nib_questions *q, nib_token_range range, nib_error *err);
/* Question i of `from` as the next one, but for its tokens' places. */
nib_status nib_questions_copy(const nib_questions *from, size_t i, nib_questions *to,
                              nib_error *err);

/* Text at a place. */
static inline const char *nib_questions_text(const nib_questions *q, size_t at)
{
    return q->texts + at;
}
static inline const char *nib_question_answer(const nib_questions *q, size_t i, size_t answer)
{
    return q->texts + q->answers[q->items[i].answers + answer];
}

#endif
