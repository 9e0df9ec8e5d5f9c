/* generate_borrowed.h - a generator over a model that somebody else has open, to ask it while it is
 * trained. */
#ifndef NIB_JOB_GENERATE_BORROWED_H
#define NIB_JOB_GENERATE_BORROWED_H

#include "adapter/adapter.h"
#include "job/generate_tokens.h"

/* dir: the model's, for generation_config.json.  adapter: in slot 0 of it.  All are borrowed and
 * outlive the generator, which is the caller's: nib_generator_close().  NIB_E_FORMAT,
 * NIB_E_MISMATCH: generation_config.json; NIB_E_NOMEM. */
nib_status nib_generator_borrow(nib_ctx *ctx, const char *dir, nib_tokenizer *tokenizer,
                                nib_model *model, nib_adapter *adapter, nib_generator **out,
                                nib_error *err);
/* What it takes for texts of at most `capacity` tokens, their prompts among them. */
nib_status nib_generator_bytes(nib_generator *g, size_t capacity, uint64_t *bytes, nib_error *err);
/* Takes that. */
nib_status nib_generator_reserve(nib_generator *g, size_t capacity, nib_error *err);
/* The model has other values than when it was asked last. */
void nib_generator_changed(nib_generator *g);

#endif
