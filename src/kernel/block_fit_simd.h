/* block_fit_simd.h - eight parts of a block in the lanes of vectors, so that sums run in the order
 * of the index: for block_fit*_avx2.c alone. */
#ifndef NIB_KERNEL_BLOCK_FIT_SIMD_H
#define NIB_KERNEL_BLOCK_FIT_SIMD_H

#include "kernel/block_fit.h"
#include "kernel/simd.h"

enum { PARTS = NIB_FIT_PARTS, MOST_SIZE = NIB_FIT_SIZE };

/* Parts of `size` values, a vector for each value of a part. */
NIB_INLINE void turn(size_t size, const float *x, V to[])
{
    for (size_t i = 0; i < size; i += 8) {
        __m256i rows[8];
        for (size_t j = 0; j < PARTS; j++) rows[j] = _mm256_castps_si256(v_load(x + j * size + i));
        transpose8(rows, (uint32_t *)(void *)(to + i), 8);
    }
}

/* Codes of lanes where `where` is not 0. */
NIB_INLINE void put_codes(size_t size, const __m256i codes[], const float where[PARTS], uint8_t *to)
{
    uint32_t parts[PARTS][MOST_SIZE / 4];
    __m256i four[8];

    for (size_t i = 0; i < 8; i++) four[i] = _mm256_setzero_si256();
    for (size_t i = 0; i < size; i += 4) { /* neighbours in one word */
        __m256i low = _mm256_or_si256(codes[i], _mm256_slli_epi32(codes[i + 1], 8));
        __m256i high = _mm256_or_si256(codes[i + 2], _mm256_slli_epi32(codes[i + 3], 8));
        four[i / 4] = _mm256_or_si256(low, _mm256_slli_epi32(high, 16));
    }
    transpose8(four, parts[0], MOST_SIZE / 4);
    for (size_t j = 0; j < PARTS; j++)
        if (!where || where[j] != 0) memcpy(to + j * size, parts[j], size);
}

/* nib_clamp(nib_nearest(x)): what has no integer is the least one in both. */
NIB_INLINE __m256i integer(V x, int least, int most)
{
    return _mm256_min_epi32(_mm256_max_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(least)),
                            _mm256_set1_epi32(most));
}
/* The same as a float, of what is finite. */
NIB_INLINE V nearest(V x, int least, int most)
{
    return v_min(v_max(v_round(x), v_set((float)least)), v_set((float)most));
}

NIB_INLINE V greater(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
NIB_INLINE V either(V mask, V yes, V no) { return _mm256_blendv_ps(no, yes, mask); }

#endif
