/* e4m3_simd.h - eight values of E4M3, for AVX2 and AVX-512 alike. */
#ifndef NIB_KERNEL_E4M3_SIMD_H
#define NIB_KERNEL_E4M3_SIMD_H

#include "kernel/simd.h"

/* 2^-8 times the values: moved up by 7 bits, a code is a float16 of that, subnormal ones too; the
 * sign stays above, and its copy below it goes.  NaN has all bits set, which is NaN in float16 as
 * well. */
NIB_INLINE __m256 e4m3_256th(const uint8_t *codes)
{
    __m128i c = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)codes));
    __m128i half = _mm_and_si128(_mm_slli_epi16(c, 7), _mm_set1_epi16((short)0xbfff));
    __m128i nan = _mm_cmpeq_epi16(_mm_or_si128(c, _mm_set1_epi16((short)0xff80)),
                                  _mm_set1_epi16(-1));

    return _mm256_cvtph_ps(_mm_or_si128(half, nan));
}

#endif
