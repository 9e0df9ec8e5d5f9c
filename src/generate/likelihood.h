/* likelihood.h - how likely a model finds a text that it did not write: the sum of the logarithms
 * of its tokens' probabilities, each after all tokens before it. */
#ifndef NIB_GENERATE_LIKELIHOOD_H
#define NIB_GENERATE_LIKELIHOOD_H

#include "generate/decoder.h"

typedef struct nib_continuation {
    const uint32_t *ids;
    size_t count;
    double log_likelihood; /* set; in nats */
} nib_continuation;

/* Of each of several texts after one prompt, whose tokens are run once where the conversation's
 * state can go back to its end.  prompt >= 1 tokens; prompt and any text fit the decoder.
 * NIB_E_NUMERIC, NIB_E_INTERRUPTED, NIB_E_NOMEM. */
nib_status nib_likelihood(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t prompt,
                          nib_continuation *texts, size_t count, nib_error *err);

#endif
