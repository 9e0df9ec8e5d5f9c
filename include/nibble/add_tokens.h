/* add_tokens.h - a model directory with rows for new tokens. */
#ifndef NIBBLE_ADD_TOKENS_H
#define NIBBLE_ADD_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "nibble/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_add_tokens_options {
    const char *model, *out;
    /* A token a line, or .json (a list) or .jsonl: texts, or objects with `content` and the
     * properties of the reference's AddedToken. */
    const char *tokens;
    bool special;            /* all of them are */
    uint64_t pad_to_multiple_of; /* of the rows; 0: no more than are needed */
    uint64_t seed;           /* of the new rows' noise */
    bool overwrite;
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_add_tokens_options;

typedef struct nib_add_tokens_result {
    uint64_t added;          /* tokens with a new id, from first_id on */
    uint64_t first_id;
    uint64_t marked;         /* words of the vocabulary that are found whole from now on */
    uint64_t present;        /* tokens that had been added before: they stay as they were */
    uint64_t repeated;       /* they come again in the file */
    uint64_t rows_before, rows_after; /* of the embedding */
    double seconds;
} nib_add_tokens_result;

/* OUT is MODEL with the tokens in its tokenizer, and where it has fewer rows than tokens with new
 * ones in the embedding, the head and the head's bias, by the rule of transformers'
 * resize_token_embeddings(mean_resizing=True).  Linears may be quantized; a quantized embedding or
 * head, a GGUF file and a directory without tokenizer.json are NIB_E_UNSUPPORTED, a file without
 * tokens NIB_E_INVALID. */
nib_status nib_add_tokens(nib_ctx *ctx, const nib_add_tokens_options *options,
                          nib_add_tokens_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
