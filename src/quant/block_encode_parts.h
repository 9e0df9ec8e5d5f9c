/* block_encode_parts.h - one block each, and the fits that the blocks share: for block_encode*.c
 * alone. */
#ifndef NIB_QUANT_BLOCK_ENCODE_PARTS_H
#define NIB_QUANT_BLOCK_ENCODE_PARTS_H

#include "base/base.h"
#include "base/dtype.h"

enum { NIB_ENCODE_SUPER = 256, NIB_ENCODE_PART = 32, NIB_ENCODE_PARTS = 8,
       NIB_ENCODE_SIXTEEN = 16 };

/* w: how much each value counts [the block's]; NULL: as without a matrix of importances. */
void nib_encode_q4_k(const float *x, const float *w, uint8_t *block);
void nib_encode_q5_k(const float *x, const float *w, uint8_t *block);
void nib_encode_q6_k(const float *x, const float *w, uint8_t *block);
void nib_encode_iq4_nl(const float *x, const float *w, uint8_t *block);
void nib_encode_mxfp4(const float *x, const float *w, uint8_t *block);

/* A scale and a least value for 32 values, tried from `first` on in steps. */
typedef struct nib_fit {
    int most;         /* code */
    float first, step;
    int steps;        /* candidates behind the first */
} nib_fit;

/* codes [32], and the scale; *below is minus the least value.  w: how much each value counts. */
float nib_fit_offset(const float *x, const float *w, const nib_fit *f, uint8_t *codes,
                     float *below);
/* The scale of `count` values around zero and their codes from 0, levels being that of 0; where all
 * values are 0 the codes are 0.  w NULL: each counts by its square. */
float nib_fit_signed(const float *x, const float *w, size_t count, int levels, uint8_t *codes);
/* The unit of eight scales that are not below 0, and their codes up to 63. */
float nib_fit_scales(const float *x, const float *w, uint8_t *codes);

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

#endif
