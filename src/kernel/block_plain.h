/* block_plain.h - values to those blocks of ggml that need no search: Q8_0, MXFP4, and Q4_0, Q4_1,
 * Q5_0 and Q5_1 without importances (formats.md 12.3, formats-quant.md 7.9). */
#ifndef NIB_KERNEL_BLOCK_PLAIN_H
#define NIB_KERNEL_BLOCK_PLAIN_H

#include "kernel/blocks.h"

static inline uint8_t *nib_put_f16(uint8_t *to, float value)
{
    uint16_t h = nib_f32_to_f16(value);

    to[0] = (uint8_t)h;
    to[1] = (uint8_t)(h >> 8);
    return to + 2;
}

/* The codes of 32 values: nibbles of the two halves in one byte each; the fifth bits, where there
 * are such, in front. */
void nib_put_codes(uint8_t *to, const uint8_t *codes, bool five);

/* The byte of MXFP4's unit for values whose largest size is `most`: 127 more than its exponent. */
int nib_mxfp4_unit(float most);

/* A row of `count` blocks of one of these kinds, to any address, of finite values [count * 32].
 * Every variant gives the same bytes, those of ggml. */
typedef void nib_encode_plain_fn(nib_block_kind kind, size_t count, const float *x,
                                 uint8_t *blocks);

/* Its body, made of a variant's functions for a block of each kind. */
#define NIB_ENCODE_PLAIN(kind, count, x, blocks)                                                   \
    do {                                                                                           \
        const size_t block_bytes = nib_block_layouts[kind].bytes;                                  \
        for (; count--; x += NIB_BLOCK_PART, blocks += block_bytes)                                \
            switch (kind) {                                                                        \
            case NIB_BLOCK_Q8_0: encode_q8_0(x, blocks); break;                                    \
            case NIB_BLOCK_Q4_0: encode_signed(x, blocks, 8); break;                               \
            case NIB_BLOCK_Q5_0: encode_signed(x, blocks, 16); break;                              \
            case NIB_BLOCK_Q4_1: encode_offset(x, blocks, 15); break;                              \
            case NIB_BLOCK_Q5_1: encode_offset(x, blocks, 31); break;                              \
            case NIB_BLOCK_MXFP4: encode_mxfp4(x, blocks); break;                                  \
            default: assert(!"a kind that needs a search");                                        \
            }                                                                                      \
    } while (0)

#endif
