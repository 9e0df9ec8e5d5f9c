/* settings.h - how to generate: generation_config.json, overruled by the caller. */
#ifndef NIB_GENERATE_SETTINGS_H
#define NIB_GENERATE_SETTINGS_H

#include <jansson.h>

#include "generate/sampler.h"
#include "nibble/generate.h"
#include "quant/weight.h"
#include "text/special.h"

enum {
    NIB_DEFAULT_NEW_TOKENS = 256,
    NIB_TRANSFORMERS_LENGTH = 20 /* GenerationConfig's default max_length: so many new tokens */
};

typedef struct nib_generation {
    nib_sampling sampling;
    nib_processors processors;
    char **stop_strings; /* the text ends with the token that completes one */
    size_t stop_string_count;
    int max_new_tokens;           /* 0: not set */
    int max_length;               /* of prompt and text; 0: not set; max_new_tokens wins */
    bool max_length_given;        /* by the caller */
    int prompt_lookup_num_tokens; /* guesses at a time (lookup.h); at most NIB_MOST_GUESSES are
                                   made */
    nib_precision precision;
    int64_t end_tokens[NIB_MOST_ENDS];
    size_t end_count;
} nib_generation;

/* DIR/generation_config.json; the tokens that end a text are the tokenizer's finding
 * (text/special.h). */
nib_status nib_generation_read(nib_ctx *ctx, const char *dir, const nib_special_tokens *special,
                               nib_generation *out, nib_error *err);
void nib_generation_free(nib_ctx *ctx, nib_generation *g);
/* The keys of generation_config.json but eos_token_id, into *g, which has the defaults. */
nib_status nib_generation_read_keys(nib_ctx *ctx, const json_t *json, const char *where,
                                    nib_generation *g, nib_error *err);
/* ", no_repeat_ngram_size 3, ...": what is set beyond the usual settings, for a person. */
void nib_generation_describe(const nib_generation *g, char *text, size_t room);
/* NIB_E_MISMATCH: bad_words_ids names a word the model does not have. */
nib_status nib_generation_check(const nib_generation *g, size_t vocabulary, nib_error *err);
/* How many tokens may follow a prompt.  NIB_E_INVALID: max_length leaves none. */
nib_status nib_generation_most(const nib_generation *g, size_t prompt, size_t *most,
                               nib_error *err);
/* What `o` sets wins.  NIB_E_INVALID names a value out of range. */
nib_status nib_generation_apply(nib_generation *g, const nib_generate_options *o, nib_error *err);

#endif
