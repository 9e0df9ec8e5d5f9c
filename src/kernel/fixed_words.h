/* fixed_words.h - what dots of words with a row in fixed point share (fixed.h): the sums of a part
 * of 32 terms, and what they are multiplied by.  For the files of AVX2 and AVX-512 alone, which use
 * vectors of 32 bytes here. */
#ifndef NIB_KERNEL_FIXED_WORDS_H
#define NIB_KERNEL_FIXED_WORDS_H

#include "kernel/fixed.h"
#include "kernel/words.h"

enum { NIB_FIXED_PARTS = 8 }; /* whose factors are made at a time */

/* A part's codes as words: the even ones and the odd ones. */
typedef struct words { __m256i even, odd; } words;

/* The eight sums of a part are in order: the first four are of its first half. */
NIB_INLINE __m256 part_sums(words codes, const int16_t *x)
{
    const __m256i *two = (const __m256i *)(const void *)x;

    return _mm256_cvtepi32_ps(
        _mm256_add_epi32(_mm256_madd_epi16(codes.even, _mm256_loadu_si256(two)),
                         _mm256_madd_epi16(codes.odd, _mm256_loadu_si256(two + 1))));
}

/* What those of part p are multiplied by; by: a factor for each part, or for each half of one. */
NIB_INLINE __m256 part_factor(bool halves_differ, const float by[2 * NIB_FIXED_PARTS], size_t p)
{
    if (!halves_differ) return _mm256_broadcast_ss(by + p);
    return _mm256_blend_ps(_mm256_broadcast_ss(by + 2 * p), _mm256_broadcast_ss(by + 2 * p + 1),
                           0xf0);
}

#endif
