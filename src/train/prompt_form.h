/* prompt_form.h - how the prompts of a run were made of its records, as JSON that an adapter keeps
 * in the metadata of its file (nibble.prompt), and a prompt made so of what a person asks.
 *
 *     {"form": "FAQ (question, answer)", "before": "Question: ", "after": "\nAnswer:"}
 *     {"form": "chat (messages)", "chat": true, "chat_template_kwargs": "{...}"}
 *
 * with the options that made it (prompt_template, completion_template, alpaca_ending) where they
 * were given.  Of a form whose prompt is a text as it stands (prompt and completion, text) both
 * ends are empty.  A template with several fields has neither: one text does not fill it. */
#ifndef NIB_TRAIN_PROMPT_FORM_H
#define NIB_TRAIN_PROMPT_FORM_H

#include "train/shape.h"

typedef struct nib_prompt_form {
    json_t *json;              /* owns what is below */
    const char *name;          /* of the records' shape, for a person */
    bool chat;                 /* by the chat template */
    const char *before, *after; /* around what is asked; NULL: has no such form */
    const char *chat_template_kwargs, *prompt_template, *completion_template,
        *alpaca_ending;        /* or NULL */
} nib_prompt_form;

/* *out is the caller's. */
nib_status nib_prompt_form_make(nib_ctx *ctx, const nib_data_options *o, nib_record_shape shape,
                                char **out, nib_error *err);
/* The form that `text` has; false, and *out zeroed: it is none. */
bool nib_prompt_form_read(const char *text, nib_prompt_form *out);
void nib_prompt_form_free(nib_prompt_form *f); /* a zeroed one is fine */

/* The prompt in this form, which has both ends; a text that has them already stays as it is.
 * *out is the caller's. */
nib_status nib_prompt_form_fill(nib_ctx *ctx, const nib_prompt_form *f, const char *prompt,
                                size_t bytes, char **out, size_t *out_bytes, nib_error *err);

#endif
