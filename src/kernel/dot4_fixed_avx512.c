/* dot4_fixed_avx512.c - the vectors of dot4_fixed_simd.h: one holds 64 codes. */
#include "kernel/simd.h"

enum { AHEAD = 4096 }; /* bytes that are fetched before they are read */
typedef __m512i W;
NIB_INLINE W w_load(const void *p) { return _mm512_loadu_si512(p); }
NIB_INLINE W w_repeat(__m128i bytes)
{
    return _mm512_broadcast_i32x4(bytes);
}
NIB_INLINE void w_codes64(const uint8_t *bytes, W to[1])
{
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    W pair = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_srli_epi16(both, 4)), both, 1);
    to[0] = _mm512_and_si512(pair, _mm512_set1_epi32(0x0f0f0f0f));
}
NIB_INLINE W w_shuffle(W table, W codes) { return _mm512_shuffle_epi8(table, codes); }
NIB_INLINE W w_join_first(W low, W high) { return _mm512_unpacklo_epi8(low, high); }
NIB_INLINE W w_join_second(W low, W high) { return _mm512_unpackhi_epi8(low, high); }
NIB_INLINE W w_products(W a, W b) { return _mm512_madd_epi16(a, b); }
NIB_INLINE W w_add(W a, W b) { return _mm512_add_epi32(a, b); }
NIB_INLINE V w_to_floats(W a) { return _mm512_cvtepi32_ps(a); }

#include "kernel/dot4_fixed_simd.h"
