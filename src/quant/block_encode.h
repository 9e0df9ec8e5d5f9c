/* block_encode.h - values into blocks of ggml's types, with the bytes of its own quantizers
 * (formats.md 12.3, 12.4). */
#ifndef NIB_QUANT_BLOCK_ENCODE_H
#define NIB_QUANT_BLOCK_ENCODE_H

#include "kernel/kernels.h"

/* Is there an encoder of this type ("Q8_0")?  Then *kind. */
bool nib_block_encodes(const char *type, nib_block_kind *kind);
/* A row of `count` blocks, to any address, of finite values [count * the layout's values].
 * importance: of each of them, not below 0 (formats-quant.md 7.11); NULL: without. */
void nib_block_encode(const nib_kernels *k, nib_block_kind kind, size_t count,
                      const float *values, const float *importance, uint8_t *blocks);

#endif
