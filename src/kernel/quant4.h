/* quant4.h - kernels of the bitsandbytes 4-bit formats: encoding whole blocks.
 *
 * A code is a count: how many of 15 ascending bounds lie strictly below the scaled
 * value.  NF4 stores the count, FP4 sends it through a table of 16 (its codes are
 * not in order of value).  Source: formats.md 4.2, 4.4. */
#ifndef NIB_KERNEL_QUANT4_H
#define NIB_KERNEL_QUANT4_H

#include "base/base.h"
#include "base/dtype.h"

extern const float nib_nf4_bounds[15], nib_fp4_bounds[15];
extern const uint8_t nib_fp4_codes[16]; /* count -> code */

/* Encodes `blocks` whole blocks of `blocksize` values (a power of two, 32 to 4096):
 * absmax[b] = max |x|, a NaN if the block holds one; code of x * (1 / max(absmax, 1e-38)),
 * high nibble first.  Every variant gives the same bits.
 *
 *   x [blocks * blocksize] of `type` (float32, float16, bfloat16), at any address
 *   codes [blocks * blocksize / 2]   absmax [blocks] */
typedef void nib_encode4_fn(uint8_t *restrict codes, float *restrict absmax, const void *restrict x,
                            nib_dtype type, size_t blocks, unsigned blocksize, bool fp4);
enum { NIB_ENCODE4_MOST = 4096 }; /* the greatest blocksize */

/* For vector variants, a code by one table and one comparison.  bin(v) = trunc(15.5 v + 16)
 * cuts [-1, 1] into 32 bins so narrow that each holds at most one bound.  `below[bin]`
 * bounds lie in lower bins; bin() never falls as v rises, so those are below v for
 * certain, and only bounds[below[bin]] is left to compare.  FP4's three bounds around zero
 * lie in two bins: -0.0026 and 0 are left out of its table and compared apart.
 * Holds for finite blocks, where |v| passes 1 by no more than a rounding. */
typedef struct nib_encode4_bins {
    uint8_t below[32];
    float bounds[16]; /* ascending, then infinity */
} nib_encode4_bins;
extern const nib_encode4_bins nib_nf4_bins, nib_fp4_bins;

enum { NIB_NESTED_BLOCK = 256 }; /* block scales that share a scale of their own */

/* Scale of block s when scales are stored in 8 bits; product and sum are rounded separately. */
static inline float nib_nested_scale(const float table[256], const uint8_t *codes,
                                     const float *nested, float offset, size_t s)
{
    return table[codes[s]] * nested[s / NIB_NESTED_BLOCK] + offset;
}

/* One scaled value's code; NaN counts as above every bound. */
static inline unsigned nib_encode4_one(float x, bool fp4)
{
    const float *bounds = fp4 ? nib_fp4_bounds : nib_nf4_bounds;
    unsigned count = 0;
    for (unsigned i = 0; i < 15; i++) count += !(x <= bounds[i]);
    return fp4 ? nib_fp4_codes[count] : count;
}

/* Decodes n values of one block whose first code is a byte's high nibble: dst = values[code];
 * `values` are the table times the block's absmax.  Reads ceil(n / 2) bytes.  Every variant gives
 * the same bits. */
typedef void nib_decode4_fn(const uint8_t *codes, size_t n, const float values[16], float *dst);

#endif
