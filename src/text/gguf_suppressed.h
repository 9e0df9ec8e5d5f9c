/* gguf_suppressed.h - the ids that are never generated, on their way into a GGUF. */
#ifndef NIB_TEXT_GGUF_SUPPRESSED_H
#define NIB_TEXT_GGUF_SUPPRESSED_H

#include "format/gguf_writer.h"

/* suppress_tokens of the generation_config.json in `dir`; nothing where it has none. */
nib_status nib_gguf_put_suppressed(nib_ctx *ctx, const char *dir, nib_gguf_writer *w,
                                   nib_error *err);

#endif
