/* block_encode.h - values into blocks of ggml's types, with the bytes of its own quantizers
 * (formats.md 12.3, 12.4). */
#ifndef NIB_QUANT_BLOCK_ENCODE_H
#define NIB_QUANT_BLOCK_ENCODE_H

#include "kernel/blocks.h"

/* Is there an encoder of this type ("Q8_0")?  Then *kind. */
bool nib_block_encodes(const char *type, nib_block_kind *kind);
/* `count` blocks, to any address, of finite values [count * the layout's values]. */
void nib_block_encode(nib_block_kind kind, size_t count, const float *values, uint8_t *blocks);

#endif
