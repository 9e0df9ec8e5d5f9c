/* planes_avx2.h - a table of 16 floats as four tables of 16 bytes: 32 codes are looked up at a
 * time.
 *
 * Bytes are joined to words and words to floats.  A permute of eight floats sees three bits of an
 * index and is two operations on some processors: a lookup by permutes takes three times as long
 * there. */
#ifndef NIB_KERNEL_PLANES_AVX2_H
#define NIB_KERNEL_PLANES_AVX2_H

#include "kernel/simd.h"

typedef struct planes { __m256i byte[4]; } planes;

static inline planes planes_of(const float table[16])
{
    uint8_t bytes[4][16];
    planes p;

    for (int i = 0; i < 16; i++)
        for (int b = 0; b < 4; b++) memcpy(&bytes[b][i], (const char *)&table[i] + b, 1);
    for (int b = 0; b < 4; b++)
        p.byte[b] = _mm256_broadcastsi128_si256(
            _mm_loadu_si128((const __m128i *)(const void *)bytes[b]));
    return p;
}

/* Values of 32 codes, a byte each: in each half of `to[i]` those of the half's bytes 4 i .. 4 i
 * + 3. */
NIB_INLINE void look_up32(const planes *p, __m256i codes, V to[4])
{
    __m256i b0 = _mm256_shuffle_epi8(p->byte[0], codes),
            b1 = _mm256_shuffle_epi8(p->byte[1], codes);
    __m256i b2 = _mm256_shuffle_epi8(p->byte[2], codes),
            b3 = _mm256_shuffle_epi8(p->byte[3], codes);
    __m256i low = _mm256_unpacklo_epi8(b0, b1), high = _mm256_unpacklo_epi8(b2, b3);
    __m256i low2 = _mm256_unpackhi_epi8(b0, b1), high2 = _mm256_unpackhi_epi8(b2, b3);

    to[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low, high));
    to[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low, high));
    to[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low2, high2));
    to[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low2, high2));
}

NIB_INLINE __m256i two_rows(const uint8_t *p, const uint8_t *q) /* 16 bytes of each */
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p)),
        _mm_loadu_si128((const __m128i *)(const void *)q), 1);
}
NIB_INLINE __m256i low_nibbles(__m256i bytes)
{
    return _mm256_and_si256(bytes, _mm256_set1_epi8(15));
}
/* By a product: the ports that shift are those that shuffle. */
NIB_INLINE __m256i high_nibbles(__m256i bytes)
{
    return low_nibbles(_mm256_mulhi_epu16(bytes, _mm256_set1_epi16(1 << 12)));
}

#endif
