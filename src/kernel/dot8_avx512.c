/* dot8_avx512.c - rows of 8-bit codes: a word holds two, and two masks make words of 0 to 255 of them. */
#include "kernel/dot8_simd.h"

enum { AHEAD = 4096 };

void nib_dot8_avx512(size_t rows, size_t n, const uint8_t *codes, const int16_t *x, int32_t *y)
{
    const __m512i low = _mm512_set1_epi16(255);

    for (size_t r = 0; r < rows; r++) {
        __m512i a = _mm512_setzero_si512(), b = a;
        for (size_t i = 0; i < n; i += NIB_DOT8_STEP, codes += NIB_DOT8_STEP) {
            __m512i both = _mm512_loadu_si512(codes);
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            a = _mm512_add_epi32(a, _mm512_madd_epi16(_mm512_and_si512(both, low), _mm512_loadu_si512(x + i)));
            b = _mm512_add_epi32(b, _mm512_madd_epi16(_mm512_srli_epi16(both, 8), _mm512_loadu_si512(x + i + 32)));
        }
        y[r] = _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
}
