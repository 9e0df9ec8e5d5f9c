/* gguf_tokenizer.h - tokenizer.json and what lies beside it, made of a GGUF's keys. */
#ifndef NIB_TEXT_GGUF_TOKENIZER_H
#define NIB_TEXT_GGUF_TOKENIZER_H

#include <jansson.h>

#include "format/gguf.h"

/* tokenizer.ggml.token_type's values. */
enum { NIB_GGUF_NORMAL = 1, NIB_GGUF_UNKNOWN, NIB_GGUF_CONTROL, NIB_GGUF_USER, NIB_GGUF_UNUSED,
       NIB_GGUF_BYTE };

/* The vocabulary: what all three files are made of. */
typedef struct nib_gguf_vocabulary {
    nib_ctx *ctx;
    const char *where;
    const nib_gguf *keys;
    bool sentencepiece;     /* tokenizer.ggml.model is "llama", not "gpt2"; */
    bool merged;            /* the same with its merges, and no ids by default: "gemma4" */
    bool wordpiece;         /* or "bert" */
    bool unigram;           /* or "t5" */
    nib_gguf_text *tokens;  /* [count] */
    size_t count;
    const nib_gguf_value *types, *scores; /* NULL: absent */
} nib_gguf_vocabulary;

/* NIB_E_UNSUPPORTED: another kind of tokenizer; NIB_E_FORMAT: keys missing, of the wrong type or
 * length, texts that are no UTF-8.  nib_gguf_vocabulary_free(). */
nib_status nib_gguf_vocabulary_open(nib_ctx *ctx, const nib_gguf *keys, const char *where,
                                    nib_gguf_vocabulary *out, nib_error *err);
void nib_gguf_vocabulary_free(nib_gguf_vocabulary *v);
unsigned nib_gguf_token_type(const nib_gguf_vocabulary *v, size_t id);
/* A key with an id of the vocabulary, "bos": tokenizer.ggml.bos_token_id; `fallback` where it is
 * absent.  -1: none. */
int64_t nib_gguf_token_id(const nib_gguf_vocabulary *v, const char *name, int64_t fallback);
/* A bool among the tokenizer's keys. */
bool nib_gguf_token_flag(const nib_gguf_vocabulary *v, const char *name, bool fallback);

#define NIB_GGUF_SUPPRESSED "tokenizer.ggml.suppress_tokens"

/* Each *out: json_decref(). */
nib_status nib_gguf_tokenizer_json(const nib_gguf_vocabulary *v, json_t **out, nib_error *err);
nib_status nib_gguf_tokenizer_config(const nib_gguf_vocabulary *v, json_t **out, nib_error *err);
nib_status nib_gguf_generation_config(const nib_gguf_vocabulary *v, json_t **out, nib_error *err);

/* WordPiece of a GGUF (gguf_wordpiece.c): the texts that tokens have in tokenizer.json, the model
 * and the stages before and behind it.  NULL: no memory. */
json_t *nib_gguf_wordpiece_text(const nib_gguf_vocabulary *v, size_t id);
json_t *nib_gguf_wordpiece_model(const nib_gguf_vocabulary *v, json_t *vocabulary);
json_t *nib_gguf_wordpiece_json(const nib_gguf_vocabulary *v, json_t *model, json_t *added);

/* Unigram of a GGUF (gguf_unigram.c): its keys checked, NIB_E_FORMAT; then the model, the
 * normalizer, and the stage that marks spaces, which is pre_tokenizer and decoder.  NULL: no
 * memory. */
nib_status nib_gguf_unigram_check(const nib_gguf_vocabulary *v, nib_error *err);
json_t *nib_gguf_unigram_model(const nib_gguf_vocabulary *v);
json_t *nib_gguf_unigram_normalizer(const nib_gguf_vocabulary *v);
json_t *nib_gguf_unigram_space(const nib_gguf_vocabulary *v);

/* The merges that SentencePiece's scores mean, ["a", "b"] each (formats-quant.md 7.5). */
nib_status nib_gguf_score_merges(const nib_gguf_vocabulary *v, json_t **out, nib_error *err);

#endif
