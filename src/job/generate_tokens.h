/* generate_tokens.h - a generator that is asked in tokens: prompts as training made them. */
#ifndef NIB_JOB_GENERATE_TOKENS_H
#define NIB_JOB_GENERATE_TOKENS_H

#include "generate/likelihood.h"
#include "nibble/generate.h"
#include "text/tokenizer.h"

/* As nib_generator_run(); nothing is added to the tokens, so `chat` and `system` are without
 * effect.  NIB_E_INVALID: none, or more than the model takes; NIB_E_MISMATCH: one is no word. */
nib_status nib_generator_run_tokens(nib_generator *g, const uint32_t *ids, size_t count,
                                    const nib_generate_options *options,
                                    nib_generate_result *result, nib_error *err);
/* How likely each of several texts is after the same prompt (likelihood.h), with the adapter and
 * the precision of `options`; nothing else of them is looked at.  The same errors. */
nib_status nib_generator_likelihood(nib_generator *g, const uint32_t *ids, size_t count,
                                    nib_continuation *texts, size_t text_count,
                                    const nib_generate_options *options, nib_error *err);
nib_tokenizer *nib_generator_tokenizer(const nib_generator *g); /* borrowed */
size_t nib_generator_vocabulary(const nib_generator *g);
size_t nib_generator_positions(const nib_generator *g); /* the most tokens that the model takes */

/* How the adapter of that number was trained, or without any the model (train/prompt_form.h), NULL:
 * its file does not say; and the directory it was read from. */
const char *nib_generator_prompt_form(const nib_generator *g, size_t adapter, const char **dir);

#endif
