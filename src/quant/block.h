/* block.h - the scheme of ggml's block formats (Q4_K, Q8_0, ...), for quant/ alone.
 *
 * Rows of whole blocks in file order, on the map.  A row of the matrix may lie at another place in
 * the file than its number says: GGUF reorders the rows of q and k of some families. */
#ifndef NIB_QUANT_BLOCK_H
#define NIB_QUANT_BLOCK_H

#include "quant/weight.h"

typedef struct nib_block {
    nib_weight base;
    nib_block_kind kind;
    const uint8_t *data;
    size_t row_bytes;
    const uint32_t *rows; /* where each row lies; NULL: as it is numbered */
    nib_blocks_decode_fn *decode;
} nib_block;

extern const nib_scheme nib_block_scheme;

#endif
