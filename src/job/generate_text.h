/* generate_text.h - what becomes of generated ids: whole characters, up to a stop string.
 *
 * Text that may be the start of a stop string is held back until it is known to be none. */
#ifndef NIB_JOB_GENERATE_TEXT_H
#define NIB_JOB_GENERATE_TEXT_H

#include "nibble/generate.h"
#include "text/tidy.h"
#include "text/tokenizer.h"

typedef struct nib_generated {
    nib_ctx *ctx;
    const nib_generate_options *options; /* stop strings and callback; borrowed */
    nib_text_stream *stream;
    nib_tidy tidy;         /* of the text, not of what is compared with `stops` */
    char *text;            /* all that came, NUL-terminated */
    size_t bytes, capacity;
    size_t told;           /* bytes given to the callback */
    char *const *stops;    /* the text ends behind these; borrowed */
    size_t stop_count;
    char *seen;            /* prompt and text, where there are such */
    size_t seen_bytes, seen_capacity;
    bool ended;            /* one of them was completed */
    const char *stopped;   /* "stop" or "callback" when the text has ended, else NULL */
} nib_generated;

/* NIB_E_INVALID: an empty stop string.  `g` is zeroed before; end it with nib_generated_close(). */
nib_status nib_generated_open(nib_generated *g, nib_ctx *ctx, nib_tokenizer *t,
                              const nib_generate_options *options, nib_error *err);
/* The text also ends with the token that completes one of these strings, which may begin in the
 * prompt: transformers' stop_strings. */
nib_status nib_generated_stop_behind(nib_generated *g, nib_tokenizer *t, char *const *stops,
                                     size_t count, const uint32_t *prompt, size_t tokens,
                                     nib_error *err);
nib_status nib_generated_push(nib_generated *g, uint32_t id, nib_error *err);
/* Gives out what was held back. */
nib_status nib_generated_finish(nib_generated *g, nib_error *err);
/* The text becomes the caller's. */
void nib_generated_take(nib_generated *g, char **text, size_t *bytes);
void nib_generated_close(nib_generated *g); /* a zeroed one is fine */

#endif
