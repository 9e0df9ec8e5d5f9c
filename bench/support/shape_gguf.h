/* shape_gguf.h - a GGUF file of a published shape with random weights, for a benchmark. */
#ifndef NIB_BENCH_SHAPE_GGUF_H
#define NIB_BENCH_SHAPE_GGUF_H

#include "shapes.h"

/* Writes it, of `type` as `nibble export --quantize` names it, and a tokenizer of SentencePiece's
 * kind with as many pieces as the shape has ids. */
void bench_write_gguf(nib_ctx *ctx, const bench_shape *s, const char *type, const char *path);

#endif
