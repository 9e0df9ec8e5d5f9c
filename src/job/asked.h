/* asked.h - a record of training as a question: its prompt, and the answer that is wanted. */
#ifndef NIB_JOB_ASKED_H
#define NIB_JOB_ASKED_H

#include "train/data.h"

typedef struct nib_asked {
    size_t prompt; /* tokens before the answer */
    size_t end;    /* behind its last one */
} nib_asked;

/* Do such records have a prompt that could be answered?  Those of multiple choice have, but nothing
 * is generated of them. */
bool nib_shape_asks(nib_record_shape shape);

/* The answer is what is trained; last_turn: its last piece, for every turn of a chat is trained and
 * what comes before the last one is its prompt.  NIB_E_INVALID: nothing is asked, or nothing is
 * wanted; `number` counts from 0. */
nib_status nib_asked_find(const nib_record *r, bool last_turn, const char *data, size_t number,
                          nib_asked *out, nib_error *err);
/* The text that is wanted, without special tokens; *out is the caller's. */
nib_status nib_asked_wanted(nib_tokenizer *t, const nib_record *r, nib_asked a, char **out,
                            nib_error *err);
/* How many tokens are generated when nobody says: twice the longest wanted answer's, 16 to 256. */
size_t nib_asked_new_tokens(size_t longest);

#endif
