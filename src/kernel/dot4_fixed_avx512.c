/* dot4_fixed_avx512.c - dot4_fixed_simd.h for its vectors: one holds 64 codes. */
#include "kernel/words.h"

NIB_INLINE void split64(const uint8_t *bytes, W nibbles[1]) /* high ones, then low ones */
{
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    W pair = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_srli_epi16(both, 4)), both, 1);
    nibbles[0] = _mm512_and_si512(pair, _mm512_set1_epi32(0x0f0f0f0f));
}

#include "kernel/dot4_fixed_simd.h"
