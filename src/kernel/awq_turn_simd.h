/* awq_turn_simd.h - AWQ's words turned: the body of awq_turn_avx2.c and awq_turn_avx512.c.
 *
 * Eight inputs' nibbles of a word are a square of 8 x 8, which three exchanges transpose: of halves
 * of words, of bytes, of nibbles.  Four squares lie side by side in a vector. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

/* The upper fields of `bits` of a's words against the lower ones of b's. */
#define EXCHANGE(bits, mask, a, b)                                                                 \
    do {                                                                                           \
        __m128i low = _mm_set1_epi32((int)(mask)), was = a;                                        \
        a = _mm_or_si128(_mm_and_si128(a, low), _mm_slli_epi32(_mm_and_si128(b, low), bits));      \
        b = _mm_or_si128(_mm_and_si128(_mm_srli_epi32(was, bits), low), _mm_andnot_si128(low, b)); \
    } while (0)

/* a, b, c and d [4 words each]: words i of all four, eight words from those of i + 1. */
NIB_INLINE void put(__m128i a, __m128i b, __m128i c, __m128i d, uint32_t *to)
{
    __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
    __m128i ab2 = _mm_unpackhi_epi32(a, b), cd2 = _mm_unpackhi_epi32(c, d);

    _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi64(ab, cd));
    _mm_storeu_si128((__m128i *)(void *)(to + 8), _mm_unpackhi_epi64(ab, cd));
    _mm_storeu_si128((__m128i *)(void *)(to + 16), _mm_unpacklo_epi64(ab2, cd2));
    _mm_storeu_si128((__m128i *)(void *)(to + 24), _mm_unpackhi_epi64(ab2, cd2));
}

void NIB_VARIANT(awq_turn)(size_t count, const uint8_t *rows, size_t next, uint32_t *to)
{
    for (size_t b = 0; b < count; b++, to += NIB_AWQ_OUTPUTS) {
        __m128i v[NIB_AWQ_INPUTS];

        for (size_t t = 0; t < NIB_AWQ_INPUTS; t++, rows += next)
            v[t] = _mm_loadu_si128((const __m128i *)(const void *)rows);
        for (size_t t = 0; t < 4; t++) EXCHANGE(16, 0x0000ffff, v[t], v[t + 4]);
        for (size_t t = 0; t < 8; t += t % 2 ? 3 : 1) EXCHANGE(8, 0x00ff00ff, v[t], v[t + 2]);
        for (size_t t = 0; t < 8; t += 2) EXCHANGE(4, 0x0f0f0f0f, v[t], v[t + 1]);
        put(v[0], v[4], v[1], v[5], to); /* outputs 0 to 3 of each eight */
        put(v[2], v[6], v[3], v[7], to + 4);
    }
}
