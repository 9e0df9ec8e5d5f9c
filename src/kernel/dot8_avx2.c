/* dot8_avx2.c - rows of 8-bit codes: a word holds two, and two masks make words of 0 to 255 of
 * them. */
#include "kernel/dot8_simd.h"

enum { AHEAD = 2048 };

NIB_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

NIB_INLINE int32_t sum_of(__m256i a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

NIB_INLINE void dot8(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                     int32_t *y, size_t ldy)
{
    const __m256i low = _mm256_set1_epi16(255);

    for (size_t r = 0; r < rows; r++) {
        __m256i even[NIB_DOT_ROWS], odd[NIB_DOT_ROWS];
        for (size_t m = 0; m < M; m++) even[m] = odd[m] = _mm256_setzero_si256();
        for (size_t i = 0; i < n; i += NIB_DOT8_STEP, codes += NIB_DOT8_STEP) {
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            for (size_t half = 0; half < 2; half++) {
                __m256i both = load(codes + half * 32), first = _mm256_and_si256(both, low),
                        second = _mm256_srli_epi16(both, 8);
                for (size_t m = 0; m < M; m++) {
                    const int16_t *at = x + m * n + i + half * 16;
                    even[m] = _mm256_add_epi32(even[m], _mm256_madd_epi16(first, load(at)));
                    odd[m] = _mm256_add_epi32(odd[m], _mm256_madd_epi16(second, load(at + 32)));
                }
            }
        }
        for (size_t m = 0; m < M; m++) y[m * ldy + r] = sum_of(_mm256_add_epi32(even[m], odd[m]));
    }
}

/* A loop for each number of rows of x. */
void nib_dot8_avx2(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                   int32_t *y, size_t ldy)
{
    if (M == 1) dot8(rows, n, codes, 1, x, y, ldy);
    else if (M == 2) dot8(rows, n, codes, 2, x, y, ldy);
    else if (M == 3) dot8(rows, n, codes, 3, x, y, ldy);
    else dot8(rows, n, codes, 4, x, y, ldy);
}
