/* tokenize.h - a model directory's tokenizer by itself. */
#ifndef NIBBLE_TOKENIZE_H
#define NIBBLE_TOKENIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "nibble/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_text_codec nib_text_codec;

nib_status nib_text_codec_open(nib_ctx *ctx, const char *model_dir, nib_text_codec **out,
                               nib_error *err);
void nib_text_codec_close(nib_text_codec *c);
/* *ids is borrowed until the next call. */
nib_status nib_text_codec_encode(nib_text_codec *c, const char *text, size_t bytes, bool special,
                                 const uint32_t **ids, size_t *count, nib_error *err);
nib_status nib_text_codec_decode(nib_text_codec *c, const uint32_t *ids, size_t count,
                                 bool skip_special, const char **text, size_t *bytes,
                                 nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
