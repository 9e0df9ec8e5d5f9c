/* model_file.h - the JSON files of a model directory, or what a GGUF file says in place of them.
 *
 * tokenizer.json, tokenizer_config.json and generation_config.json are made of a GGUF's keys
 * (formats-quant.md 7.4, 7.5), so that everything behind them is the same for both. */
#ifndef NIB_TEXT_MODEL_FILE_H
#define NIB_TEXT_MODEL_FILE_H

#include <jansson.h>

#include "base/base.h"

/* The file `name` of `model`; *out stays NULL where there is none, else json_decref().  flags: of
 * nib_json_read().  NIB_E_FORMAT: it is no JSON, or keys of the GGUF are wrong; NIB_E_UNSUPPORTED:
 * a kind of tokenizer that is not known, with those that are. */
nib_status nib_model_file_read(nib_ctx *ctx, const char *model, const char *name, unsigned flags,
                               json_t **out, nib_error *err);
/* Whether `model` is a GGUF file, and one that can be read and has a tokenizer, or cannot: opening
 * it says why. */
bool nib_model_is_gguf(const char *model);
bool nib_gguf_has_tokenizer(nib_ctx *ctx, const char *path);

#endif
