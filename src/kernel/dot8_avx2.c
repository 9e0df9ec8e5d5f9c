/* dot8_avx2.c - rows of 8-bit codes: a word holds two, and two masks make words of 0 to 255 of them. */
#include "kernel/dot8_simd.h"

enum { AHEAD = 2048 };

NIB_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* sum += the even ones of 32 codes times `even`, the odd ones times `odd`. */
NIB_INLINE __m256i add32(__m256i sum, __m256i codes, const int16_t *even, const int16_t *odd)
{
    __m256i first = _mm256_and_si256(codes, _mm256_set1_epi16(255)), second = _mm256_srli_epi16(codes, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(first, load(even)));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(second, load(odd)));
}

NIB_INLINE int32_t sum_of(__m256i a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

void nib_dot8_avx2(size_t rows, size_t n, const uint8_t *codes, const int16_t *x, int32_t *y)
{
    for (size_t r = 0; r < rows; r++) {
        __m256i a = _mm256_setzero_si256(), b = a;
        for (size_t i = 0; i < n; i += NIB_DOT8_STEP, codes += NIB_DOT8_STEP) {
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            a = add32(a, load(codes), x + i, x + i + 32);
            b = add32(b, load(codes + 32), x + i + 16, x + i + 48);
        }
        y[r] = sum_of(_mm256_add_epi32(a, b));
    }
}
