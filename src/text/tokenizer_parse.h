/* tokenizer_parse.h - a tokenizer from memory: for fuzzing, and what tokenizer.json alone says. */
#ifndef NIB_TEXT_TOKENIZER_PARSE_H
#define NIB_TEXT_TOKENIZER_PARSE_H

#include "text/tokenizer.h"

/* As nib_tokenizer_open(), of tokenizer.json's text alone: no special tokens are known by name. */
nib_status nib_tokenizer_parse(nib_ctx *ctx, const char *json, size_t bytes, const char *where,
                               nib_tokenizer **out, nib_error *err);

#endif
