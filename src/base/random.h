/* random.h - random numbers as a function of where they are used, and torch's shuffle.
 *
 * Philox 4x32-10 (Salmon et al. 2011): no state, so that a resumed run draws what
 * an uninterrupted one would have drawn.  MT19937 only for the order of records,
 * which is the Trainer's (formats.md 14.4). */
#ifndef NIB_BASE_RANDOM_H
#define NIB_BASE_RANDOM_H

#include "base/base.h"

/* Four 32-bit numbers for (key, counter). */
void nib_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

static inline float nib_unit_float(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
} /* [0, 1) */

/* What four neighbours are multiplied by under dropout: 0 with probability p, else 1 / (1 - p). */
void nib_dropout_factors(float p, const uint32_t key[2], const uint32_t counter[4],
                         float factors[4]);

/* n of them, two of a draw: value i is a function of key, i, a and b. */
void nib_normal_fill(float *to, size_t n, const uint32_t key[2], uint32_t a, uint32_t b,
                     double deviation);

/* order[0..n-1] = torch.randperm(n) with a generator seeded with `seed` (n < 2^32 / 20). */
void nib_torch_randperm(uint32_t *order, uint32_t n, uint64_t seed);

#endif
