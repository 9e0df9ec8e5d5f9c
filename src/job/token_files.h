/* token_files.h - a tokenizer's files with more added tokens. */
#ifndef NIB_JOB_TOKEN_FILES_H
#define NIB_JOB_TOKEN_FILES_H

#include "job/new_tokens.h"

/* Writes into DIR, where copies of the model's files lie: tokenizer.json's added_tokens,
 * added_tokens_decoder of tokenizer_config.json and added_tokens.json where there are such, and
 * special ones into additional_special_tokens (of transformers 5's files extra_special_tokens) of
 * tokenizer_config.json and special_tokens_map.json.  All other bytes stay.  `known` is the model's
 * tokenizer: what the other files or the class add to it, and the new ids follow, comes into
 * added_tokens before them.  NIB_E_FORMAT, with the file and the member. */
nib_status nib_token_files_write(nib_ctx *ctx, const char *dir, const nib_tokenizer *known,
                                 const nib_new_tokens *list, nib_error *err);

#endif
