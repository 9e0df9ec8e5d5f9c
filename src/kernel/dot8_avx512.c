/* dot8_avx512.c - rows of 8-bit codes: a word holds two, and two masks make words of 0 to 255 of
 * them. */
#include "kernel/dot8_simd.h"

enum { AHEAD = 4096 };

NIB_INLINE void dot8(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                     int32_t *y, size_t ldy)
{
    const __m512i low = _mm512_set1_epi16(255);

    for (size_t r = 0; r < rows; r++) {
        __m512i even[NIB_DOT_ROWS], odd[NIB_DOT_ROWS];
        for (size_t m = 0; m < M; m++) even[m] = odd[m] = _mm512_setzero_si512();
        for (size_t i = 0; i < n; i += NIB_DOT8_STEP, codes += NIB_DOT8_STEP) {
            __m512i both = _mm512_loadu_si512(codes), first = _mm512_and_si512(both, low),
                    second = _mm512_srli_epi16(both, 8);
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            for (size_t m = 0; m < M; m++) {
                even[m] = _mm512_add_epi32(
                    even[m], _mm512_madd_epi16(first, _mm512_loadu_si512(x + m * n + i)));
                odd[m] = _mm512_add_epi32(
                    odd[m], _mm512_madd_epi16(second, _mm512_loadu_si512(x + m * n + i + 32)));
            }
        }
        for (size_t m = 0; m < M; m++)
            y[m * ldy + r] = _mm512_reduce_add_epi32(_mm512_add_epi32(even[m], odd[m]));
    }
}

/* A loop for each number of rows of x. */
void nib_dot8_avx512(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                     int32_t *y, size_t ldy)
{
    if (M == 1) dot8(rows, n, codes, 1, x, y, ldy);
    else if (M == 2) dot8(rows, n, codes, 2, x, y, ldy);
    else if (M == 3) dot8(rows, n, codes, 3, x, y, ldy);
    else dot8(rows, n, codes, 4, x, y, ldy);
}
