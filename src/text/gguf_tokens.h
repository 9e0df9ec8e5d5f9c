/* gguf_tokens.h - the keys that hold a tokenizer, its special tokens and its chat templates
 * (formats-quant.md 7.4): the way back of gguf_tokenizer.h. */
#ifndef NIB_TEXT_GGUF_TOKENS_H
#define NIB_TEXT_GGUF_TOKENS_H

#include "format/gguf_writer.h"
#include "text/tokenizer.h"

/* dir: of the model, for the chat templates.  vocabulary: rows of the embedding; ids without a
 * token become "[PAD7]".  NIB_E_UNSUPPORTED: a kind of tokenizer, or a way of cutting text, that
 * has no name there; NIB_E_MISMATCH: tokens beyond the vocabulary. */
nib_status nib_gguf_put_tokenizer(nib_tokenizer *t, const char *dir, size_t vocabulary,
                                  nib_gguf_writer *w, nib_error *err);

#endif
