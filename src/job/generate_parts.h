/* generate_parts.h - what a generator is made of, for those that make one (generate.c,
 * generate_borrowed.c). */
#ifndef NIB_JOB_GENERATE_PARTS_H
#define NIB_JOB_GENERATE_PARTS_H

#include "generate/settings.h"
#include "job/generate_tokens.h"
#include "job/prompts.h"

struct nib_generator {
    nib_ctx *ctx;
    char *dir;                   /* the model's */
    nib_tokenizer *tokenizer;
    nib_prompts prompts;
    nib_model *model;
    bool borrows;                /* model, tokenizer and adapters are another's */
    nib_adapter **adapters;      /* adapters[i] fills slot i */
    char **names;
    size_t adapter_count;
    nib_generation defaults;     /* generation_config.json's */
    nib_sampler sampler;
    nib_decoder *decoder;
    nib_state *state;            /* of the text at hand */
    size_t capacity;             /* the decoder's and the state's, in tokens */
    nib_tokens tokens;
    uint32_t *ids;               /* of the prompt, then of what was generated */
    size_t id_count, ids_capacity;
};

/* Makes decoder and state for texts of `capacity` tokens, where there are none for so many.
 * NIB_E_NOMEM; NIB_E_UNSUPPORTED: the model does not generate. */
nib_status nib_generator_make_room(nib_generator *g, size_t capacity, nib_error *err);

#endif
