/* sampler.h - one token from a row of logits, as transformers does it (formats.md 10.20).
 *
 * Order: repetition penalty; what processors.h does; then, when sampling, temperature, top_k,
 * top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, softmax and one draw.  The draw is a
 * function of (seed, prompt, position). */
#ifndef NIB_GENERATE_SAMPLER_H
#define NIB_GENERATE_SAMPLER_H

#include "generate/processors.h"

typedef struct nib_sampling {
    bool do_sample;
    double temperature, top_p, min_p, repetition_penalty;
    double typical_p;                  /* 1: all */
    double epsilon_cutoff, eta_cutoff; /* 0: none */
    int top_k;               /* 0: all */
    uint64_t seed;
} nib_sampling;

/* Logits after a token: of all words (ids NULL, word i is entry i) or of the likeliest in any
 * order. */
typedef struct nib_logits {
    size_t count;
    const float *values;     /* [count] */
    const uint32_t *ids;     /* [count] or NULL */
} nib_logits;

/* A choice without processors depends on this many of the greatest logits, and on those equal to
 * the last of them (but for two that only the division by the temperature makes equal); 0: on all.
 * seen: how many words the repetition penalty is for, at most. */
size_t nib_sampling_needs(const nib_sampling *o, size_t seen);

typedef struct nib_sampler {
    nib_ctx *ctx;
    size_t vocabulary;
    nib_candidate *candidates, *kept; /* [V] each */
    float *distances;                 /* [V] scratch of typical_p */
    uint8_t *banned;                  /* [V] scratch of the processors, all 0 */
    uint8_t *seen;           /* [V] ids of the prompt and of what was generated, */
    size_t seen_count;       /* so many words */
} nib_sampler;

nib_status nib_sampler_init(nib_ctx *ctx, size_t vocabulary, nib_sampler *out, nib_error *err);
void nib_sampler_free(nib_sampler *s);
uint64_t nib_sampler_bytes(const nib_sampler *s);
void nib_sampler_forget(nib_sampler *s);
void nib_sampler_see(nib_sampler *s, uint32_t id);

/* `draw` numbers the draws of one seed.  processors, then sequence: NULL for none. */
uint32_t nib_sample(nib_sampler *s, const nib_sampling *o, const nib_processors *processors,
                    const nib_sequence *sequence, nib_logits logits, uint64_t draw);

#endif
