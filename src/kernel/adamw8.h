/* adamw8.h - AdamW whose moments are held in 8 bits (Dettmers et al. 2022, arXiv:2110.02861).
 *
 * Moments lie in blocks of 256 values: a byte each, the index of a value in a sorted map of 256,
 * and one float a block, the greatest magnitude, by which the map is scaled.  m has the map with
 * signs, v the one without. The arithmetic is that of bitsandbytes' CPU optimizer, operation for
 * operation (formats.md 5.2): sums are fused as torch's vectors fuse them, and requantizing goes
 * through a table of 65536 entries. */
#ifndef NIB_KERNEL_ADAMW8_H
#define NIB_KERNEL_ADAMW8_H

#include "kernel/elementwise.h"

enum { NIB_MOMENT_BLOCK = 256, NIB_MOMENT_LOOKUP = 65536 };

/* A map and, for its inverse, the code of the value nearest to -1 + 2 i / 65535. */
typedef struct nib_moment_map {
    float values[256];
    uint8_t lookup[NIB_MOMENT_LOOKUP];
} nib_moment_map;

typedef struct nib_moment_maps { nib_moment_map m, v; } nib_moment_maps;

/* The moments of one run of values that begins at a block. */
typedef struct nib_moments8 {
    uint8_t *m, *v;               /* [n] */
    float *m_absmax, *v_absmax;   /* [ceil(n / 256)] */
} nib_moments8;

/* p, g [n] float; the last block may be short.
 *     p *= 1 - lr wd;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * g is multiplied by grad_scale first.  All variants give the same bits. */
typedef void nib_adamw8_fn(const nib_adamw *o, const nib_moment_maps *maps, size_t n, float *p,
                           const float *g, nib_moments8 s);

#endif
