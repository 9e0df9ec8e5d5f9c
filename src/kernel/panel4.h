/* panel4.h - packing 4-bit codes straight into the product's panels (gemm.h), 32 columns each: two
 * strips.
 *
 * Two codes a byte, high nibble first; value = table[code] * the scale of its block, rounded once
 * to float, and then to bfloat16 where the panel asks for it: the same bits as decoding and
 * packing. Every variant gives the same bits, but for subnormal bfloat16: vcvtne2ps2bf16 makes them
 * zero, and vdpbf16ps takes them as zero, so that the product is the same.
 *
 *     forward    strip[k][16]       = the values k of 16 rows of codes
 *     backward   strip[row][16]     = 16 values of `rows` rows of codes, as they lie
 *
 * With bfloat16 pairs two neighbouring k (rows, backward) lie next to each other. */
#ifndef NIB_KERNEL_PANEL4_H
#define NIB_KERNEL_PANEL4_H

#include "base/base.h"

typedef struct nib_codes4 {
    const uint8_t *codes;  /* the first row's first byte */
    size_t stride;         /* bytes from row to row */
    const float *scales; /* forward: [depth / block][32]; backward: [rows], of the block that the 32
                            values share */
    size_t block;          /* forward: values that share a scale, a multiple of 32 */
    const float *table;    /* [16] */
} nib_codes4;

/* depth: a multiple of 32, from the beginning of a block.  rounded: to bfloat16 and back.
 * strip: values from the first strip of the panel to the second. */
typedef void nib_panel4_f32_fn(const nib_codes4 *c, size_t depth, bool rounded, float *panel,
                               size_t strip);
typedef void nib_panel4_bf16_fn(const nib_codes4 *c, size_t depth, uint16_t *panel, size_t strip);
/* `rows` even for pairs. */
typedef void nib_panel4_back_f32_fn(const nib_codes4 *c, size_t rows, bool rounded, float *panel,
                                    size_t strip);
typedef void nib_panel4_back_bf16_fn(const nib_codes4 *c, size_t rows, uint16_t *panel,
                                     size_t strip);

/* Which nibble of a little-endian word of 4 bytes is value i of its 8. */
static inline unsigned nib_nibble_shift(unsigned i) { return i / 2 * 8 + (i % 2 ? 0 : 4); }

#endif
