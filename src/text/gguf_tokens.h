/* gguf_tokens.h - the keys that hold a tokenizer, its special tokens and its chat templates
 * (formats-quant.md 7.4): the way back of gguf_tokenizer.h. */
#ifndef NIB_TEXT_GGUF_TOKENS_H
#define NIB_TEXT_GGUF_TOKENS_H

#include "format/gguf_writer.h"
#include "text/tokenizer.h"

/* dir: of the model, for the chat templates.  vocabulary: rows of the embedding; ids without a
 * token become "[PAD7]".  NIB_E_UNSUPPORTED: a kind of tokenizer, or a way of cutting text, that
 * has no name there; NIB_E_MISMATCH: tokens beyond the vocabulary.  merged: tokenizer.ggml.model of
 * a SentencePiece BPE that keeps its merges ("gemma4"); NULL: it gets scores ("llama"). */
nib_status nib_gguf_put_tokenizer(nib_tokenizer *t, const char *dir, size_t vocabulary,
                                  const char *merged, nib_gguf_writer *w, nib_error *err);

/* A Unigram tokenizer.json, as far as keys can say it (gguf_unigram_out.c). */
typedef struct nib_gguf_unigram {
    bool is;              /* it is one */
    const char *charsmap; /* base64, borrowed; NULL: none */
    bool squeezes;        /* several spaces become one */
    bool prefix;          /* a space is put before text */
    int64_t unknown;      /* unk_id */
} nib_gguf_unigram;

/* NIB_E_UNSUPPORTED: what has no form in GGUF. */
nib_status nib_gguf_unigram_read(nib_ctx *ctx, const json_t *tokenizer, const char *dir,
                                 nib_gguf_unigram *out, nib_error *err);
/* remove_extra_whitespaces and precompiled_charsmap.  NIB_E_FORMAT: it is no base64. */
nib_status nib_gguf_unigram_put(const nib_gguf_unigram *u, nib_ctx *ctx, const char *dir,
                                nib_gguf_writer *w, nib_error *err);

#endif
