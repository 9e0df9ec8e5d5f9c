/* float4.h - rows of E2M1, a 4-bit float, whose neighbours share a scale of 8 bits: MXFP4, NVFP4.
 *
 *     code  s e e m    0, 0.5, 1, 1.5, 2, 3, 4, 6, and with the sign bit their negatives
 *     byte i of a row holds value 2 i (low nibble) and 2 i + 1 (high nibble)
 *     MX scale         byte e is 2^(e - 127), 255 is NaN (E8M0)
 *
 * The table is doubled, so that its values are integers, and scales are halved.
 *
 * Sources: OCP Microscaling Formats (MX) 1.0; formats-quant.md 3.1, 3.3, 3.4. */
#ifndef NIB_KERNEL_FLOAT4_H
#define NIB_KERNEL_FLOAT4_H

#include <string.h>

#include "base/base.h"
#include "base/dtype.h"
#include "kernel/fixed.h"
#include "kernel/gemm.h"

enum { NIB_FLOAT4_STEP = 16 }; /* the least values that share a scale */

extern const int8_t nib_e2m1_twice[16]; /* twice the value of each code; -0 is 0 */

/* Half of 2^(e - 127), e = 255 (NaN) as any other. */
static inline float nib_e8m0_half(uint8_t e)
{
    uint32_t bits = e < 2 ? (uint32_t)0x200000 << e : (uint32_t)(e - 1) << 23;
    float half;

    memcpy(&half, &bits, sizeof half);
    return half;
}

/* A piece of a row. */
typedef struct nib_float4_row {
    const uint8_t *codes, *scales; /* [n / 2], [n / group], at any address */
    const float *halves;           /* [256]: half of what each byte of scales means */
    unsigned group;                /* values that share a scale: 16 or 32 */
    bool round;                    /* values are rounded to bfloat16 */
    /* What need not be looked up: */
    bool powers;                   /* that is what nib_e8m0_half() says, but of 255 NaN */
    float e4m3;                    /* or, unless 0, this times E4M3's value */
} nib_float4_row;

/* dst[n], n a multiple of group.  Every variant gives the same bits. */
typedef void nib_float4_decode_fn(const nib_float4_row *r, size_t n, float *dst);

/* 32 columns of some rows as a panel whose terms are the rows (gemm.h), from those of the first row
 * on, of which one has its codes `codes` bytes behind the other's and its scales `scales`.  strip:
 * values from the first strip to the second; terms even for pairs.  The bits are those of
 * float4_decode. */
typedef void nib_float4_back_fn(const nib_float4_row *first, size_t codes, size_t scales,
                                size_t terms, nib_pack_kind pack, void *panel, size_t strip);

/* y[m * ldy] = the row . row m < M of x [M, n], M at most NIB_DOT_ROWS.  Sums in float, in an order
 * of the variant's own, which is the same for every M. */
typedef void nib_float4_dot_fn(const nib_float4_row *r, size_t M, size_t n, const float *x,
                               float *y, size_t ldy);

/* The same with x in fixed point (fixed.h), arranged as NIB_FIXED_TURNS4, n a multiple of 64;
 * values are not rounded. */
typedef void nib_float4_dot_fixed_fn(const nib_float4_row *r, size_t M, size_t n,
                                     const nib_fixed_x *x, float *y, size_t ldy);

#endif
