/* ahead.h - a decoder that runs some guessed tokens ahead of what is certain (lookup.h). */
#ifndef NIB_GENERATE_AHEAD_H
#define NIB_GENERATE_AHEAD_H

#include "generate/decoder.h"
#include "generate/lookup.h"

typedef struct nib_ahead {
    nib_decoder *decoder;
    nib_conversation conversation;
    nib_lookup lookup;
    uint32_t ids[NIB_DOT_ROWS]; /* the last certain tokens, then guesses */
    size_t count, certain, at;  /* of those in the decoder; how many were certain, mostly one; whose
                                   logits come next */
} nib_ahead;

/* After a prompt was decoded; guesses at a time, at most NIB_MOST_GUESSES, 0: none. */
nib_ahead nib_ahead_begin(nib_decoder *decoder, nib_conversation conversation, size_t guesses);
/* Those after the last certain token; as nib_decoder_logits(). */
nib_status nib_ahead_logits(const nib_ahead *a, nib_logits *logits, nib_error *err);
/* Whether `id` is what was guessed to come after it. */
bool nib_ahead_guessed(const nib_ahead *a, uint32_t id);
/* ids[count - 1] has become certain, the others came before.  When it was not guessed, it is pushed
 * together with at most `room` guesses.  most: as for nib_decoder_push(). */
nib_status nib_ahead_push(nib_ahead *a, const uint32_t *ids, size_t count, size_t room, size_t most,
                          nib_error *err);

#endif
