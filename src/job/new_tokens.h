/* new_tokens.h - a list of tokens for a vocabulary, and which ids they get. */
#ifndef NIB_JOB_NEW_TOKENS_H
#define NIB_JOB_NEW_TOKENS_H

#include "format/json.h"
#include "text/tokenizer.h"

typedef enum nib_new_token_kind {
    NIB_TOKEN_NEW,     /* its id is the next one */
    NIB_TOKEN_MARKED,  /* a word of the vocabulary, which becomes an added token with its id */
    NIB_TOKEN_PRESENT, /* an added token already */
    NIB_TOKEN_REPEATED /* it comes again in the list */
} nib_new_token_kind;

typedef struct nib_new_token {
    nib_added_token token; /* content: of `json`; the id of a repeated one means nothing */
    nib_new_token_kind kind;
} nib_new_token;

typedef struct nib_new_tokens {
    nib_ctx *ctx;
    json_t *json;        /* texts and objects as the file has them */
    nib_new_token *items;
    size_t count;
    size_t of_kind[NIB_TOKEN_REPEATED + 1];
    uint32_t next;       /* the id of the first new one, and of the next behind the last */
    uint32_t end;
} nib_new_tokens;

/* Reads a file of tokens: .json, .jsonl, or a token a line.  special: all of them are.
 * NIB_E_FORMAT and NIB_E_INVALID name the file and the line or the number in the list. */
nib_status nib_new_tokens_read(nib_ctx *ctx, const char *path, bool special, nib_new_tokens *out,
                               nib_error *err);
/* Finds out what each is and numbers what is new.  Notes name those that are there already. */
nib_status nib_new_tokens_number(nib_new_tokens *list, const nib_tokenizer *t, const char *path,
                                 nib_error *err);
void nib_new_tokens_free(nib_new_tokens *list);

/* Is it written into the tokenizer's files? */
static inline bool nib_new_token_is_put(const nib_new_token *t)
{
    return t->kind == NIB_TOKEN_NEW || t->kind == NIB_TOKEN_MARKED;
}

#endif
