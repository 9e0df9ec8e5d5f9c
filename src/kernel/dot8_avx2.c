/* dot8_avx2.c - the integer vectors of dot8_simd.h, of 32 codes. */
#include "kernel/simd.h"

enum { AHEAD = 2048 }; /* bytes that are fetched before they are read */
typedef __m256i W;
NIB_INLINE W w_zero(void) { return _mm256_setzero_si256(); }
NIB_INLINE W w_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
NIB_INLINE W w_even(W bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi16(255)); }
NIB_INLINE W w_odd(W bytes) { return _mm256_srli_epi16(bytes, 8); }
NIB_INLINE W w_add(W a, W b) { return _mm256_add_epi32(a, b); }
NIB_INLINE W w_add_products(W sum, W a, W b) { return w_add(sum, _mm256_madd_epi16(a, b)); }
NIB_INLINE int32_t w_sum(W a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
NIB_INLINE __m128i w_bytes(V numbers, int add) /* 0 to 255, in the lower VN bytes */
{
    W integer = _mm256_add_epi32(_mm256_cvtps_epi32(numbers), _mm256_set1_epi32(add));
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(integer),
                                     _mm256_extracti128_si256(integer, 1));
    return _mm_packus_epi16(words, words);
}

#include "kernel/dot8_simd.h"
