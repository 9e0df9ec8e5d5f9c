/* block_fit.h - the fits of values to the blocks of ggml, eight parts of a block side by side: what
 * an export computes for each weight.
 *
 * Sums run in the order of the index and no product and sum are one instruction, for the bytes are
 * those of ggml's own quantizers (formats.md 12.3, 12.4): every variant gives the same bits. */
#ifndef NIB_KERNEL_BLOCK_FIT_H
#define NIB_KERNEL_BLOCK_FIT_H

#include "base/base.h"
#include "base/dtype.h"

enum { NIB_FIT_PARTS = 8, NIB_FIT_OFFSET = 32, NIB_FIT_SIGNED = 16 }; /* values of a part */

/* A scale and a least value, tried from `first` on in steps. */
typedef struct nib_fit {
    int most;         /* code */
    float first, step;
    int steps;        /* candidates behind the first */
} nib_fit;

/* Of 32 values: codes, and the scale; *below is minus the least value.  w: how much each value
 * counts. */
float nib_fit_offset(const float *x, const float *w, const nib_fit *f, uint8_t *codes,
                     float *below);
/* The scale of `count` values around zero and their codes from 0, levels being that of 0; where all
 * values are 0 the codes are 0.  w NULL: each counts by its square. */
float nib_fit_signed(const float *x, const float *w, size_t count, int levels, uint8_t *codes);

/* The same without importances, of 32 values as they are: the one of largest size, with its sign,
 * becomes -levels. */
float nib_fit_largest(const float *x, int levels, uint8_t *codes);

static inline int nib_nearest(float x) { return (int)__builtin_rintf(x); }
static inline int nib_clamp(int x, int least, int most)
{
    return x < least ? least : x > most ? most : x;
}

static inline uint8_t *nib_put_f16(uint8_t *to, float value)
{
    uint16_t h = nib_f32_to_f16(value);

    to[0] = (uint8_t)h;
    to[1] = (uint8_t)(h >> 8);
    return to + 2;
}

/* nib_fit_offset() of each of eight parts [8, 32]; w NULL: a value counts by its size and the root
 * of the part's mean square.  sums: of what the values of a part count. */
typedef void nib_fit_offsets_fn(const nib_fit *f, const float *x, const float *w,
                                float scales[NIB_FIT_PARTS], float below[NIB_FIT_PARTS],
                                float sums[NIB_FIT_PARTS], uint8_t *codes);
/* Their codes up to `most` for d and dmin of each part; where d is 0 they stay. */
typedef void nib_code_offsets_fn(int most, const float *x, const float d[NIB_FIT_PARTS],
                                 const float dmin[NIB_FIT_PARTS], uint8_t *codes);
/* nib_fit_signed() of each of eight parts [8, 16]. */
typedef void nib_fit_signs_fn(int levels, const float *x, const float *w,
                              float scales[NIB_FIT_PARTS], uint8_t *codes);
typedef void nib_code_signs_fn(int levels, const float *x, const float d[NIB_FIT_PARTS],
                               uint8_t *codes);
/* A block of Q8_0, and of Q4_0 without importances, to any address. */
typedef void nib_encode_q8_0_fn(const float *x, uint8_t *block);
typedef void nib_encode_q4_0_fn(const float *x, uint8_t *block);

#endif
