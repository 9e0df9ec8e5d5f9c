/* panel4_avx512.h - codes of 16 rows, turned so that a lane is a row: what panel4_avx512.c and
 * panel4_avx512bf16.c share. */
#ifndef NIB_KERNEL_PANEL4_AVX512_H
#define NIB_KERNEL_PANEL4_AVX512_H

#include "kernel/kernels.h"
#include "kernel/simd.h"

enum { ROWS_AHEAD = 16 }; /* of codes: a row is a line or two here, far from the next */

/* Backward: two rows' codes, before they are needed. */
NIB_INLINE void fetch_rows(const nib_codes4 *c, size_t row)
{
    for (size_t i = row + ROWS_AHEAD; i < row + ROWS_AHEAD + 2; i++)
        _mm_prefetch((const char *)c->codes + i * c->stride, _MM_HINT_T0);
}

NIB_INLINE __m512i rows_of_codes(const uint8_t *p,
                                 size_t stride) /* rows 0, 4, 8, 12: 16 bytes each */
{
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(const void *)(p + 4 * stride)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(const void *)(p + 8 * stride)), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(const void *)(p + 12 * stride)),
                              3);
}

/* 32 values of 16 rows: words[j] holds, in lane r, the 4 bytes of row r's values 8 j .. 8 j + 7. */
NIB_INLINE void turn_codes(const uint8_t *p, size_t stride, __m512i words[4])
{
    __m512i a = rows_of_codes(p, stride), b = rows_of_codes(p + stride, stride);
    __m512i c = rows_of_codes(p + 2 * stride, stride), d = rows_of_codes(p + 3 * stride, stride);
    __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    __m512i ab_high = _mm512_unpackhi_epi32(a, b), cd_high = _mm512_unpackhi_epi32(c, d);

    words[0] = _mm512_unpacklo_epi64(ab, cd);
    words[1] = _mm512_unpackhi_epi64(ab, cd);
    words[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
    words[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}

/* Value i of each lane's 8, unscaled; the permute ignores the bits above a nibble. */
NIB_INLINE V look_up(__m512i words, unsigned i, V table)
{
    return _mm512_permutexvar_ps(_mm512_srli_epi32(words, nib_nibble_shift(i)), table);
}

#endif
