/* tokenizer.h - tokenizer.json and tokenizer_config.json: text to ids and back.
 *
 * The pipeline of formats.md 11: added tokens, normalizer, pre-tokenizer, BPE,
 * post-processor; each token knows its byte range in the input, which masks are
 * made of.  Ids and offsets equal the `tokenizers` library's. */
#ifndef NIB_TEXT_TOKENIZER_H
#define NIB_TEXT_TOKENIZER_H

#include <jansson.h>

#include "base/base.h"
#include "text/special.h"

typedef struct nib_tokenizer nib_tokenizer;

typedef struct nib_token {
    uint32_t id;
    size_t begin, end; /* byte range in the input; 0, 0 for a token the post-processor added */
    bool added_by_template;
    uint8_t text; /* of a pair: 0 the first, 1 the second; 0 for what the post-processor added */
    uint8_t type; /* token_type_id, as the post-processor gives it */
} nib_token;

/* A growing list of tokens, reused from call to call. */
typedef struct nib_tokens {
    nib_token *items;
    size_t count, capacity;
} nib_tokens;

/* Opens DIR/tokenizer.json and the files beside it that say more about it (formats.md 11.9);
 * without it vocab.txt, vocab.json with merges.txt, or a SentencePiece model (convert.h); of a GGUF
 * file what its keys say (formats-quant.md 7.4, 7.5).
 * NIB_E_FORMAT / NIB_E_UNSUPPORTED name the file, the component and where it stands; where there
 * are only tokenizers of other formats, the file and how to convert it. */
nib_status nib_tokenizer_open(nib_ctx *ctx, const char *dir, nib_tokenizer **out, nib_error *err);
/* The same, but *out is left as it was where there is none that can be read: records may carry
 * token ids. */
nib_status nib_tokenizer_open_any(nib_ctx *ctx, const char *dir, nib_tokenizer **out,
                                  nib_error *err);
/* Fails with what nib_tokenizer_open() says of a directory without a tokenizer. */
nib_status nib_tokenizer_missing(const char *dir, nib_error *err);
void nib_tokenizer_close(nib_tokenizer *t);

/* Appends to `out` the tokens of UTF-8 text.  special: the post-processor's tokens too (BOS);
 * not added twice when the text already begins with BOS (*had_bos, may be NULL, says so).
 * NIB_E_FORMAT on invalid UTF-8, with the byte. */
nib_status nib_tokenizer_encode(nib_tokenizer *t, const char *text, size_t bytes, bool special,
                                nib_tokens *out, bool *had_bos, nib_error *err);

/* --- one text or two, as an encoder takes them: types, truncation, windows (formats-encoder.md
 * 6.3, 6.4) --- */

typedef enum nib_truncation {
    NIB_LONGEST_FIRST, /* what truncation=True means */
    NIB_ONLY_FIRST,
    NIB_ONLY_SECOND
} nib_truncation;

typedef struct nib_inputs {
    const char *text, *pair;    /* pair NULL: one text */
    size_t bytes, pair_bytes;
    bool special;               /* the post-processor's tokens too */
    size_t max_length;          /* 0: no truncation; special tokens count */
    nib_truncation truncation;
    bool from_left;             /* truncation_side left: the beginning is cut off */
    bool windows;               /* what is cut off makes further windows, as
                                   return_overflowing_tokens does */
    size_t stride;              /* tokens that a window repeats of the one before */
} nib_inputs;

/* Windows one after another, the first at 0: window i is items[ends[i - 1] .. ends[i]). */
typedef struct nib_windows {
    nib_tokens tokens;
    size_t *ends, count, capacity;
} nib_windows;

/* Replaces `out` (the caller's, nib_windows_free()) by the one window, or the windows, of the
 * inputs: the tokenizers library's ids, type ids and ranges.  No BOS is left out, unlike
 * nib_tokenizer_encode().  NIB_E_FORMAT: invalid UTF-8, with the byte; NIB_E_INVALID: max_length
 * is too small for the special tokens or for the text that may not be cut, or does not exceed the
 * stride. */
nib_status nib_tokenizer_encode_inputs(nib_tokenizer *t, const nib_inputs *in, nib_windows *out,
                                       nib_error *err);
void nib_windows_free(nib_ctx *ctx, nib_windows *w);

/* --- many texts --- */

/* One of many texts: what nib_tokenizer_encode() takes, and gives. */
typedef struct nib_encoding {
    const char *text;
    size_t bytes;
    bool special;
    nib_tokens tokens; /* replaced; the caller's, nib_tokens_free() */
    bool had_bos;
    nib_status status; /* of this text, with err */
    nib_error err;
} nib_encoding;

/* Encodes texts on all threads, each as nib_tokenizer_encode() does: the same tokens for any number
 * of threads.  Fails only when no text could be encoded: NIB_E_NOMEM. */
nib_status nib_tokenizer_encode_all(nib_tokenizer *t, nib_encoding *jobs, size_t count,
                                    nib_error *err);
void nib_tokens_free(nib_ctx *ctx, nib_tokens *tokens);

/* The text of ids, allocated; skip_special drops special tokens.  Equal to transformers' decode,
 * clean_up_tokenization_spaces (text/tidy.h) included. */
nib_status nib_tokenizer_decode(nib_tokenizer *t, const uint32_t *ids, size_t count,
                                bool skip_special, char **out, size_t *out_bytes, nib_error *err);

/* What every verb asks for special tokens: ids, and where each was found. */
const nib_special_tokens *nib_tokenizer_special(const nib_tokenizer *t);
/* {"bos_token": "<s>", ...}, with those of its class and of extra_special_tokens, and the list
 * additional_special_tokens: transformers' special_tokens_map, which chat templates see.  Borrowed;
 * NULL: there are none. */
const json_t *nib_tokenizer_named(const nib_tokenizer *t);
/* Its ids; -1 where there is none. */
int64_t nib_tokenizer_bos(const nib_tokenizer *t);
int64_t nib_tokenizer_eos(const nib_tokenizer *t);
const char *nib_tokenizer_token(const nib_tokenizer *t, uint32_t id); /* content; NULL: none */
int64_t nib_tokenizer_find(const nib_tokenizer *t, const char *content); /* -1: none */
/* Does the model's directory ask for text/tidy.h when texts are decoded? */
bool nib_tokenizer_cleans_up(const nib_tokenizer *t);
bool nib_tokenizer_is_special(const nib_tokenizer *t, uint32_t id);
bool nib_tokenizer_is_added(const nib_tokenizer *t, uint32_t id); /* found whole in a text */

/* An added token with the properties of the reference's AddedToken. */
typedef struct nib_added_token {
    const char *content; /* lives as long as the tokenizer */
    uint32_t id;
    bool special, lstrip, rstrip, normalized, single_word;
} nib_added_token;

/* false: none has the id. */
bool nib_tokenizer_added(const nib_tokenizer *t, uint32_t id, nib_added_token *out);
size_t nib_tokenizer_size(const nib_tokenizer *t); /* greatest id + 1 */
int64_t nib_tokenizer_next_id(const nib_tokenizer *t); /* what the next added token would get */

/* Streaming decode, without clean_up_tokenization_spaces: text that is final after each id (whole
 * UTF-8 characters only). */
typedef struct nib_text_stream nib_text_stream;
nib_status nib_text_stream_create(nib_tokenizer *t, bool skip_special, nib_text_stream **out,
                                  nib_error *err);
/* *text is borrowed until the next call; empty while a character is incomplete. */
nib_status nib_text_stream_push(nib_text_stream *s, uint32_t id, const char **text, size_t *bytes,
                                nib_error *err);
nib_status nib_text_stream_finish(nib_text_stream *s, const char **text, size_t *bytes,
                                  nib_error *err);
void nib_text_stream_destroy(nib_text_stream *s);

#endif
