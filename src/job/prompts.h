/* prompts.h - a prompt of a person as tokens: as the adapter was trained, by a chat template, or as
 * it stands. */
#ifndef NIB_JOB_PROMPTS_H
#define NIB_JOB_PROMPTS_H

#include "adapter/adapter.h"
#include "nibble/generate.h"
#include "text/chat.h"
#include "text/tokenizer.h"

/* Begins as { ctx, dir, tokenizer, model_form }, which are borrowed. */
typedef struct nib_prompts {
    nib_ctx *ctx;
    const char *dir;            /* the model's */
    nib_tokenizer *tokenizer;
    const char *model_form;     /* how the model itself was trained (adapter/prompt_note.h), or
                                 * NULL; borrowed */
    /* Of each adapter, the last ones of the model alone: */
    nib_chat *chats[NIB_MAX_SLOTS + 1]; /* once a prompt asked for it */
    bool told[NIB_MAX_SLOTS + 1];       /* how its prompts are made */
    bool looked, has_template;  /* for the model's template; whether it has one */
} nib_prompts;

void nib_prompts_close(nib_prompts *p); /* a zeroed one is fine */

/* The prompt's tokens, its special ones with them.  a: NULL: the model alone.  had_bos: it began
 * with BOS already; set only where the tokenizer adds one. */
nib_status nib_prompts_encode(nib_prompts *p, const nib_adapter *a, const nib_generate_options *o,
                              const char *prompt, size_t bytes, nib_tokens *out, bool *had_bos,
                              nib_error *err);

/* The chat template that an adapter was trained with in place of the model's lies beside it, in
 * `dir`.  *out is the caller's; NULL: none lies there. */
nib_status nib_prompts_own_template(nib_ctx *ctx, const char *dir, char **out, nib_error *err);

#endif
