/* dot8_avx512.c - the integer vectors of dot8_simd.h, of 64 codes. */
#include "kernel/simd.h"

enum { AHEAD = 4096 }; /* bytes that are fetched before they are read */
typedef __m512i W;
NIB_INLINE W w_zero(void) { return _mm512_setzero_si512(); }
NIB_INLINE W w_load(const void *p) { return _mm512_loadu_si512(p); }
NIB_INLINE W w_even(W bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi16(255)); }
NIB_INLINE W w_odd(W bytes) { return _mm512_srli_epi16(bytes, 8); }
NIB_INLINE W w_add(W a, W b) { return _mm512_add_epi32(a, b); }
NIB_INLINE W w_add_products(W sum, W a, W b) { return w_add(sum, _mm512_madd_epi16(a, b)); }
NIB_INLINE int32_t w_sum(W a) { return _mm512_reduce_add_epi32(a); }
NIB_INLINE __m128i w_bytes(V numbers, int add) /* 0 to 255 */
{
    return _mm512_cvtepi32_epi8(
        _mm512_add_epi32(_mm512_cvtps_epi32(numbers), _mm512_set1_epi32(add)));
}

#include "kernel/dot8_simd.h"
