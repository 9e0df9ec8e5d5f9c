/* generate.h - text from a model, greedy or sampled, with a key/value cache. */
#ifndef NIBBLE_GENERATE_H
#define NIBBLE_GENERATE_H

#include "nibble/context.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_generator nib_generator;

/* generation_config.json's names; NAN, -1 or NULL: as that file says, else transformers'
 * default. */
typedef struct nib_generate_options {
    int max_new_tokens;        /* -1: generation_config's, else 256 */
    /* Guesses at a time from what came before, 3 at most: faster, the same text.
     * -1: generation_config's, else 3; 0: none. */
    int prompt_lookup_num_tokens;
    /* torch's names, of tokens that pass 4-bit weights one to four at a time in float32: "high"
     * (NULL too), some 16 bits, or "highest". */
    const char *float32_matmul_precision;
    int do_sample;             /* -1, 0, 1; a temperature above 0 samples, 0 is greedy */
    double temperature, top_p, min_p, repetition_penalty;
    double typical_p, epsilon_cutoff, eta_cutoff;
    int top_k;
    int max_length;            /* of prompt and text; max_new_tokens wins */
    int min_length, min_new_tokens, no_repeat_ngram_size;
    uint64_t seed;
    const char *const *stop;   /* the text ends before the first of these; stop_strings of
                                  generation_config.json end it behind them, as in transformers */
    size_t stop_count;
    bool chat;                 /* the prompt is what a user says: rendered by the chat template */
    /* Without `chat`: in the form that the adapter was trained on, as it stands where its file does
     * not say one; without an adapter as with `chat`, where the model has a template. */
    bool as_trained;
    const char *system;        /* a system message before it, or NULL */
    const char *chat_template_kwargs; /* JSON object: more variables of the template, or NULL */
    const char *chat_template; /* a file in place of the model's template, or NULL */
    const char *adapter;       /* name of an adapter, NULL: none or the only one */
    bool no_adapter;           /* the bare model though adapters are loaded */
    /* Text as it comes, whole characters; false ends the generation. */
    bool (*on_text)(void *user, const char *text, size_t bytes);
    void *user;
} nib_generate_options;

typedef struct nib_generate_result {
    char *text;                /* the continuation; nib_generate_result_free() */
    size_t bytes;
    uint64_t prompt_tokens, new_tokens;
    uint64_t guessed_tokens;   /* of the new tokens: rightly guessed by prompt_lookup_num_tokens */
    double prefill_seconds;    /* of the prompt */
    double decode_seconds;     /* of the new tokens: all but the last pass through the model */
    uint64_t peak_memory_bytes; /* the process's peak resident memory so far (VmHWM) */
    const char *stop_reason;   /* "eos", "length", "stop", "callback" */
} nib_generate_result;

void nib_generate_defaults(nib_generate_options *options);
nib_status nib_generator_open(nib_ctx *ctx, const nib_model_options *model,
                              const nib_adapter_choice *adapters, size_t adapter_count,
                              nib_generator **out, nib_error *err);
void nib_generator_close(nib_generator *g);
/* The settings that will be used, one line, in `text`. */
nib_status nib_generator_describe(nib_generator *g, const nib_generate_options *options, char *text,
                                  size_t room, nib_error *err);
nib_status nib_generator_run(nib_generator *g, const char *prompt, size_t prompt_bytes,
                             const nib_generate_options *options, nib_generate_result *result,
                             nib_error *err);
void nib_generate_result_free(nib_generator *g, nib_generate_result *result);

#ifdef __cplusplus
}
#endif
#endif
