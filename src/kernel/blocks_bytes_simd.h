/* blocks_bytes_simd.h - few rows of x in bytes of fixed point times rows of ggml's blocks of 32
 * codes that count from 0: the body of blocks_bytes_avx2.c and blocks_bytes_avx512.c, with vectors
 * of 32 bytes in both.
 *
 * Two blocks lie side by side, one in each half of a vector: the low nibbles are the first 16 codes
 * of both, the high ones the others.  Scales are made for eight blocks at a time. */
#include "kernel/blocks_bits.h"
#include "kernel/fixed_words.h"
#include "kernel/kernels.h"

/* The codes of two blocks. */
typedef struct pair { __m256i first, others; } pair;

/* From 16 bytes of each. */
NIB_INLINE pair nibbles_of_pair(const uint8_t *a, const uint8_t *b)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i bytes = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)b),
                                     _mm_loadu_si128((const __m128i *)(const void *)a));

    return (pair){ _mm256_and_si256(bytes, mask),
                   _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask) };
}

/* Fifth bits of two blocks, so that those of four codes are in the upper half of a byte: each
 * block's 32 bits, the same 4 bits further up, and both again. */
NIB_INLINE __m256i bits_of_pair(uint32_t a, uint32_t b)
{
    const __m256i up = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4);
    __m256i bits = _mm256_blend_epi32(_mm256_set1_epi32((int)a), _mm256_set1_epi32((int)b), 0xf0);

    return _mm256_sllv_epi32(bits, up);
}

/* 16 where a bit is set, of 16 codes of each block; first: the byte that the first of them have. */
NIB_INLINE __m256i sixteens(__m256i bits, uint32_t first)
{
    const __m256i bit = _mm256_set1_epi32((int)0x80402010u), most = _mm256_set1_epi8(16);
    long long byte = first * 0x01010101, eight = byte + 0x04040404 + (byte << 32);
    __m256i which = _mm256_setr_epi64x(eight, eight + 0x0101010101010101, eight,
                                       eight + 0x0101010101010101);

    return _mm256_min_epu8(_mm256_and_si256(_mm256_shuffle_epi8(bits, which), bit), most);
}

NIB_INLINE pair with_fifth_bits(pair p, uint32_t a, uint32_t b)
{
    __m256i bits = bits_of_pair(a, b);

    return (pair){ _mm256_or_si256(p.first, sixteens(bits, 0)),
                   _mm256_or_si256(p.others, sixteens(bits, 2)) };
}

/* Of two blocks that follow one another; kind is a constant. */
NIB_INLINE pair codes_of(nib_block_kind kind, const uint8_t *b)
{
    size_t bytes = nib_block_layout_of(kind).bytes;
    const uint8_t *qs = b + bytes - 16;
    pair p = nibbles_of_pair(qs, qs + bytes);

    if (kind == NIB_BLOCK_Q5_0 || kind == NIB_BLOCK_Q5_1)
        return with_fifth_bits(p, nib_load_le32(qs - 4), nib_load_le32(qs + bytes - 4));
    if (kind != NIB_BLOCK_MXFP4) return p;
    return (pair){ e2m1_from_least(p.first), e2m1_from_least(p.others) };
}

/* --- scales --- */

/* Of eight blocks: what a code counts, and what is to be taken off for each. */
typedef struct scales { __m256 by, off; } scales;

/* count: 8 or 2, a constant. */
NIB_INLINE scales scales_of(nib_block_kind kind, const uint8_t *b, size_t count)
{
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    size_t bytes = nib_block_layout_of(kind).bytes;
    __m128i of[2];
    __m256 by;

    switch (kind) {
    case NIB_BLOCK_Q4_1: case NIB_BLOCK_Q5_1:
        starts_of(b, bytes, count, 4, of);
        for (int i = 0; i < 2; i++) of[i] = _mm_shuffle_epi8(of[i], apart);
        return (scales){ _mm256_cvtph_ps(_mm_unpacklo_epi64(of[0], of[1])),
                         _mm256_sub_ps(_mm256_setzero_ps(),
                                       _mm256_cvtph_ps(_mm_unpackhi_epi64(of[0], of[1]))) };
    case NIB_BLOCK_MXFP4:
        starts_of(b, bytes, count, 1, of);
        by = halves_of_powers(of[0]);
        return (scales){ by, _mm256_mul_ps(by, _mm256_set1_ps(-E2M1_LEAST)) };
    default:
        starts_of(b, bytes, count, 2, of);
        by = _mm256_cvtph_ps(of[0]);
        return (scales){ by, _mm256_mul_ps(by, _mm256_set1_ps(kind == NIB_BLOCK_Q4_0 ? 8 : 16)) };
    }
}

/* --- the dot --- */

/* `count` blocks that follow one another, 8 or 2, a constant; x from block `part` on. */
NIB_INLINE void add_group(size_t M, nib_block_kind kind, const uint8_t *b, size_t part,
                          size_t count, const nib_fixed_x x[4], fixed_sums s[4])
{
    size_t bytes = nib_block_layout_of(kind).bytes;
    scales of = scales_of(kind, b, count);
    __m256 by[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        by[m] = in_pairs(_mm256_mul_ps(of.by, first_of(x[m].steps + part, count)));
        s[m].off = _mm256_fmadd_ps(of.off, first_of(x[m].sums + part, count), s[m].off);
    }
#pragma GCC unroll 4
    for (size_t p = 0; p < count / 2; p++) {
        pair codes = codes_of(kind, b + 2 * p * bytes);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) {
            const int16_t *of_x = x[m].words + (part + 2 * p) * NIB_FIXED_BLOCK;
            s[m].products[p % 2] = _mm256_fmadd_ps(split_sums(codes.first, codes.others, of_x),
                                                   factor_of_pair(by[m], p), s[m].products[p % 2]);
        }
    }
}

/* Fewer than eight, an even number. */
NIB_INLINE void add_rest(size_t M, nib_block_kind kind, const uint8_t *b, size_t part,
                         size_t parts, const nib_fixed_x x[4], fixed_sums s[4])
{
    for (size_t p = 0; p < parts; p += 2)
        add_group(M, kind, b + p * nib_block_layout_of(kind).bytes, part + p, 2, x, s);
}

#include "kernel/blocks_rows.h"

#define DOT(kind) NIB_WITH_ROWS(M, dot, kind, count, w, rows, x, y, ldy)

void NIB_VARIANT(blocks_dot_bytes)(nib_block_kind kind, size_t M, size_t count,
                                   const nib_block_rows *w, size_t rows, const nib_fixed_x *x,
                                   float *y, size_t ldy)
{
    switch (kind) {
    case NIB_BLOCK_Q4_0: DOT(NIB_BLOCK_Q4_0); break;
    case NIB_BLOCK_Q4_1: DOT(NIB_BLOCK_Q4_1); break;
    case NIB_BLOCK_Q5_0: DOT(NIB_BLOCK_Q5_0); break;
    case NIB_BLOCK_Q5_1: DOT(NIB_BLOCK_Q5_1); break;
    default: DOT(NIB_BLOCK_MXFP4);
    }
}
