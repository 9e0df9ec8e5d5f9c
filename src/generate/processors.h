/* processors.h - what is done to a row of logits before a token is chosen, as transformers'
 * logits processors do it and in their order (formats.md 10.20): no_repeat_ngram_size,
 * bad_words_ids, min_length and min_new_tokens, forced_bos_token_id, forced_eos_token_id,
 * exponential_decay_length_penalty, suppress_tokens, begin_suppress_tokens.  The repetition penalty
 * comes before them, what only sampling does (temperature, top_k, ...) behind: sampler.h. */
#ifndef NIB_GENERATE_PROCESSORS_H
#define NIB_GENERATE_PROCESSORS_H

#include "base/base.h"

typedef struct nib_token_ids {
    uint32_t *items;
    size_t count;
} nib_token_ids;

/* The lists are owned: nib_processors_free(). */
typedef struct nib_processors {
    int no_repeat_ngram_size, min_length;
    int min_new_tokens;       /* -1: not set; set it takes the place of min_length */
    nib_token_ids *bad_words; /* sequences */
    size_t bad_word_count;
    nib_token_ids suppress, begin_suppress, forced_eos;
    int64_t forced_bos; /* -1: none */
    int decay_start;    /* new tokens; the factor 0: no decay */
    double decay_factor;
} nib_processors;

#define NIB_NO_PROCESSORS { .min_new_tokens = -1, .forced_bos = -1 }

void nib_processors_free(nib_ctx *ctx, nib_processors *p);

/* The text so far, and where it is to end. */
typedef struct nib_sequence {
    const uint32_t *ids;
    size_t count, prompt; /* tokens, so many of them given */
    size_t limit;         /* max_length: of prompt and text together */
    const int64_t *ends;  /* the end tokens */
    size_t end_count;
} nib_sequence;

typedef struct nib_candidate {
    float logit;
    uint32_t id;
} nib_candidate;

/* How many words may be lowered from now on for the next `ahead` tokens; SIZE_MAX: some may be
 * raised as well, so that all logits are wanted. */
size_t nib_processors_lower(const nib_processors *p, const nib_sequence *s, size_t ahead);

/* On logits of the next token: of all words in their order, or of some.  banned: a byte for each
 * word, all 0, and so again afterwards. */
void nib_processors_apply(const nib_processors *p, const nib_sequence *s, nib_candidate *c,
                          size_t count, uint8_t *banned, size_t vocabulary);

#endif
