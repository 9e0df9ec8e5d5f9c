/* blocks_bits.h - what ggml's block formats keep, as vectors: the codes of a part as 32 bytes, and
 * scales.  For the files of AVX2 and AVX-512 alone. */
#ifndef NIB_KERNEL_BLOCKS_BITS_H
#define NIB_KERNEL_BLOCKS_BITS_H

#include "kernel/blocks.h"
#include "kernel/float4.h"
#include "kernel/words.h"

/* Calls inline f(kind, ...) with the kind as a constant: a loop for each. */
#ifdef NIB_ONE_BODY
#define NIB_WITH_BLOCK_KIND(kind, f, ...) f(kind, __VA_ARGS__)
#else
#define NIB_WITH_BLOCK_KIND(kind, f, ...)                                                          \
    switch (kind) {                                                                                \
    case NIB_BLOCK_Q4_0: f(NIB_BLOCK_Q4_0, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q4_1: f(NIB_BLOCK_Q4_1, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q5_0: f(NIB_BLOCK_Q5_0, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q5_1: f(NIB_BLOCK_Q5_1, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q8_0: f(NIB_BLOCK_Q8_0, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q2_K: f(NIB_BLOCK_Q2_K, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q3_K: f(NIB_BLOCK_Q3_K, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q4_K: f(NIB_BLOCK_Q4_K, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q5_K: f(NIB_BLOCK_Q5_K, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_Q6_K: f(NIB_BLOCK_Q6_K, __VA_ARGS__); break;                                    \
    case NIB_BLOCK_IQ4_NL: f(NIB_BLOCK_IQ4_NL, __VA_ARGS__); break;                                \
    case NIB_BLOCK_IQ4_XS: f(NIB_BLOCK_IQ4_XS, __VA_ARGS__); break;                                \
    case NIB_BLOCK_MXFP4: f(NIB_BLOCK_MXFP4, __VA_ARGS__); break;                                  \
    case NIB_BLOCK_KINDS: break;                                                                   \
    }
#endif

NIB_INLINE float f16_at(const uint8_t *p)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(nib_load_le16(p))));
}

NIB_INLINE __m128i at_start(const uint8_t *b) /* 16 bytes, of which the first ones count */
{
    return _mm_loadu_si128((const __m128i *)(const void *)b);
}

/* The first `width` bytes of each of eight blocks, or of two, in order; width is a constant, 1, 2
 * or 4, and those of 4 take two vectors. */
NIB_INLINE void starts_of(const uint8_t *b, size_t bytes, size_t count, size_t width,
                          __m128i to[2])
{
    __m128i two[4];

    to[0] = to[1] = _mm_setzero_si128();
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        __m128i a, c;
        two[i] = _mm_setzero_si128();
        if (2 * i >= count) continue;
        a = at_start(b + 2 * i * bytes), c = at_start(b + (2 * i + 1) * bytes);
        two[i] = width == 1   ? _mm_unpacklo_epi8(a, c)
                 : width == 2 ? _mm_unpacklo_epi16(a, c)
                              : _mm_unpacklo_epi32(a, c);
    }
    if (width == 4) {
        to[0] = _mm_unpacklo_epi64(two[0], two[1]);
        to[1] = _mm_unpacklo_epi64(two[2], two[3]);
    } else if (width == 2) {
        to[0] = _mm_unpacklo_epi64(_mm_unpacklo_epi32(two[0], two[1]),
                                   _mm_unpacklo_epi32(two[2], two[3]));
    } else {
        to[0] = _mm_unpacklo_epi32(_mm_unpacklo_epi16(two[0], two[1]),
                                   _mm_unpacklo_epi16(two[2], two[3]));
    }
}

/* 16 bytes as 32 codes, low nibbles first. */
NIB_INLINE __m256i nibbles_of(const uint8_t *qs)
{
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)qs);
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(b, 4), b);

    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* The low nibbles of 32 bytes, or the high ones. */
NIB_INLINE __m256i nibble_of(const uint8_t *bytes, bool high)
{
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)bytes);

    return _mm256_and_si256(high ? _mm256_srli_epi16(b, 4) : b, _mm256_set1_epi8(15));
}

/* 16 in each byte whose bit is set, of 32 bits. */
NIB_INLINE __m256i fifth_bits(uint32_t bits)
{
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                             0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i each = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), which);

    each = _mm256_cmpeq_epi8(_mm256_and_si256(each, bit), bit);
    return _mm256_and_si256(each, _mm256_set1_epi8(16));
}

/* Bits of each of 32 bytes, from bit `at` on, moved to bit `to`; mask: of those that are taken, as
 * they lie there.  at and to are constants where it is called. */
NIB_INLINE __m256i moved_bits(const uint8_t *bytes, size_t at, size_t to, int mask)
{
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)bytes);

    b = at < to ? _mm256_sll_epi16(b, _mm_cvtsi32_si128((int)(to - at)))
                : _mm256_srl_epi16(b, _mm_cvtsi32_si128((int)(at - to)));
    return _mm256_and_si256(b, _mm256_set1_epi8((char)mask));
}

/* Bits at .. at + 2 of each of 32 bytes, where bits `to` and the next are. */
NIB_INLINE __m256i two_bits(const uint8_t *bytes, size_t at, size_t to)
{
    return moved_bits(bytes, at, to, 3 << to);
}

/* Bit `at` of each, where bit `to` is. */
NIB_INLINE __m256i one_bit(const uint8_t *bytes, size_t at, size_t to)
{
    return moved_bits(bytes, at, to, 1 << to);
}

/* IQ4's values, by the nibbles of 16 bytes. */
NIB_INLINE __m256i iq4_values_of(const uint8_t *qs)
{
    const __m128i t = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69,
                                    89, 113);

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), nibbles_of(qs));
}

/* Twice the values of E2M1. */
NIB_INLINE __m256i e2m1_values_of(const uint8_t *qs)
{
    const __m128i t = _mm_loadu_si128((const __m128i *)(const void *)nib_e2m1_twice);

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), nibbles_of(qs));
}

#endif
