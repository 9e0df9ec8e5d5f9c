/* settings.h - how to generate: generation_config.json, overruled by the caller. */
#ifndef NIB_GENERATE_SETTINGS_H
#define NIB_GENERATE_SETTINGS_H

#include <jansson.h>

#include "generate/sampler.h"
#include "nibble/generate.h"
#include "quant/weight.h"

enum { NIB_MOST_END_TOKENS = 32 };

typedef struct nib_generation {
    nib_sampling sampling;
    int max_new_tokens;
    int prompt_lookup_num_tokens; /* guesses at a time (lookup.h); at most NIB_MOST_GUESSES are
                                   made */
    nib_precision precision;
    int64_t end_tokens[NIB_MOST_END_TOKENS];
    size_t end_count;
} nib_generation;

/* DIR/generation_config.json, or, when it is absent, config.json's eos_token_id; eos (-1: none)
 * is the tokenizer's, taken when neither names one. */
nib_status nib_generation_read(nib_ctx *ctx, const char *dir, const json_t *config, int64_t eos,
                               nib_generation *out, nib_error *err);
/* What `o` sets wins.  NIB_E_INVALID names a value out of range. */
nib_status nib_generation_apply(nib_generation *g, const nib_generate_options *o, nib_error *err);

#endif
