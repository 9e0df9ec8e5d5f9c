/* block_fit.h - the fits of values to those blocks of ggml that are a search, eight parts side by
 * side: what an export computes for each weight.
 *
 * Sums run in the order of the index and no product and sum are one instruction, for the bytes are
 * those of ggml's own quantizers (formats.md 12.4, formats-quant.md 7.11): every variant gives the
 * same bits. */
#ifndef NIB_KERNEL_BLOCK_FIT_H
#define NIB_KERNEL_BLOCK_FIT_H

#include "base/base.h"
#include "base/dtype.h"

/* A set is eight parts one behind the other, of 32 values each where nothing else is named. */
enum { NIB_FIT_PARTS = 8, NIB_FIT_SIZE = 32 };

/* A scale and a least value, tried from `first` on in steps. */
typedef struct nib_fit {
    int most;         /* code */
    float first, step;
    int steps;        /* candidates behind the first */
} nib_fit;

/* Towards zero.  What has no integer (infinite, NaN, too large) is the least one, as AVX's
 * conversion makes it. */
static inline int nib_to_int(float x)
{
    return x >= -0x1p31f && x < 0x1p31f ? (int)x : INT32_MIN;
}
static inline int nib_nearest(float x) { return nib_to_int(__builtin_rintf(x)); }
static inline int nib_clamp(int x, int least, int most)
{
    return x < least ? least : x > most ? most : x;
}

/* Of each part of some sets: codes, and the scale; below: minus the least value.  w: how much each
 * value counts; NULL: by its size and the root of the part's mean square.  sums: of what the values
 * of a part count. */
typedef void nib_fit_offsets_fn(const nib_fit *f, size_t sets, const float *x, const float *w,
                                float *scales, float *below, float *sums, uint8_t *codes);
/* A set's codes up to `most` for d and dmin of each part; where d is 0 they stay. */
typedef void nib_code_offsets_fn(int most, const float *x, const float d[NIB_FIT_PARTS],
                                 const float dmin[NIB_FIT_PARTS], uint8_t *codes);

/* Of each part of a set, of `size` values, 16 or 32: the scale around zero, and codes from 0,
 * levels being that of 0; where all values are 0 the codes are 0.  w NULL: each counts by its
 * square. */
typedef void nib_fit_signs_fn(int levels, size_t size, const float *x, const float *w,
                              float scales[NIB_FIT_PARTS], uint8_t *codes);
typedef void nib_code_signs_fn(int levels, size_t size, const float *x,
                               const float d[NIB_FIT_PARTS], uint8_t *codes);

/* The entries of IQ4_NL, and what lies between two of them: from there on it is the greater. */
extern const float nib_uneven_values[16], nib_uneven_means[15];
/* Of each part of a set: the scale around zero of codes that name these entries. */
typedef void nib_fit_uneven_fn(const float *x, const float *w, float scales[NIB_FIT_PARTS],
                               uint8_t *codes);

#endif
