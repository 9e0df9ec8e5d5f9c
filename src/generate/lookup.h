/* lookup.h - guesses of the next tokens: what followed the last time that the latest tokens came.
 *
 * Answers repeat their prompts and themselves.  A guess is pushed through the model together with
 * the token before it, which costs less than one after the other, for weights are read and decoded
 * once; a guess that is not what is chosen is taken back.  So the text is the same with guesses and
 * without. Source: Saxena 2023 (prompt lookup decoding); Leviathan et al. 2023 (arXiv:2211.17192)
 * for the checking. */
#ifndef NIB_GENERATE_LOOKUP_H
#define NIB_GENERATE_LOOKUP_H

#include "base/base.h"
#include "kernel/dot4.h"

enum { NIB_MOST_GUESSES = NIB_DOT_ROWS - 1 }; /* so that all of them are few rows */

/* How many guesses to make: more while they are right, none for a while when they are wrong. */
typedef struct nib_lookup {
    size_t most;   /* 0: never any */
    size_t width;  /* guesses at a time */
    size_t pause;  /* tokens without guesses after the next wrong one, */
    size_t left;   /* and how many of these are to come */
} nib_lookup;

/* most <= NIB_MOST_GUESSES. */
nib_lookup nib_lookup_begin(size_t most);
/* Up to `room` guesses of what comes after ids, to guesses[NIB_MOST_GUESSES]; their number. */
size_t nib_lookup_guess(nib_lookup *l, const uint32_t *ids, size_t count, size_t room,
                        uint32_t *guesses);
/* `right` of `made` guesses were. */
void nib_lookup_learn(nib_lookup *l, size_t made, size_t right);

#endif
