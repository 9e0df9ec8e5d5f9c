/* blocks_fixed_simd.h - few rows of x in fixed point times rows of ggml's blocks of 256, and of
 * those of 32 whose codes have a sign: the body of blocks_fixed_avx2.c and blocks_fixed_avx512.c,
 * with vectors of 32 bytes in both.
 *
 * Scales are made for eight parts at a time, a vector of them.  The codes of a part become words,
 * the even ones and the odd ones, by a mask and a shift; a product of words adds two terms. */
#include "kernel/blocks_bits.h"
#include "kernel/fixed_words.h"
#include "kernel/kernels.h"

NIB_INLINE words of_unsigned(__m256i bytes)
{
    return (words){ _mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8) };
}

NIB_INLINE words of_signed(__m256i bytes)
{
    return (words){ _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8),
                    _mm256_srai_epi16(bytes, 8) };
}

/* 32 bytes: low nibbles or high ones. */
NIB_INLINE words of_32(const uint8_t *qs, bool high)
{
    const __m256i mask = _mm256_set1_epi16(15);
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)qs);

    if (high)
        return (words){ _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask),
                        _mm256_srli_epi16(bytes, 12) };
    return (words){ _mm256_and_si256(bytes, mask),
                    _mm256_and_si256(_mm256_srli_epi16(bytes, 8), mask) };
}

/* Bits at .. at + 2 of each of 32 bytes, where they lie: codes times 1, 4, 16 or 64, by which
 * scales_of_q2_k() divides. */
NIB_INLINE words of_two_bits(const uint8_t *bytes, size_t at)
{
    const __m256i mask = _mm256_set1_epi16((short)(3 << at));
    __m256i all = _mm256_loadu_si256((const __m256i *)(const void *)bytes);

    return (words){ _mm256_and_si256(all, mask),
                    _mm256_and_si256(_mm256_srli_epi16(all, 8), mask) };
}

/* The codes of a part; those that the format counts from below 0 are taken from 0 on, and the
 * difference is in the offset.  kind and part are constants. */
NIB_INLINE words codes_of(nib_block_kind kind, const uint8_t *b, size_t part)
{
    const uint8_t *quarter = b + part / 4 * 32;
    size_t two = part % 4 * 2;

    switch (kind) {
    case NIB_BLOCK_Q8_0:
        return of_signed(_mm256_loadu_si256((const __m256i *)(const void *)(b + 2)));
    case NIB_BLOCK_Q2_K: return of_two_bits(quarter + 16, two);
    case NIB_BLOCK_Q3_K:
        return of_unsigned(_mm256_or_si256(two_bits(quarter + 32, two, 0), one_bit(b, part, 2)));
    case NIB_BLOCK_Q4_K: return of_32(b + 16 + part / 2 * 32, part % 2);
    case NIB_BLOCK_Q5_K:
        return of_unsigned(_mm256_or_si256(nibble_of(b + 48 + part / 2 * 32, part % 2),
                                           one_bit(b + 16, part, 4)));
    case NIB_BLOCK_Q6_K:
        return of_unsigned(_mm256_or_si256(
            nibble_of(b + part / 4 * 64 + part % 2 * 32, part % 4 >= 2),
            two_bits(quarter + 128, two, 4)));
    case NIB_BLOCK_IQ4_NL: return of_signed(iq4_values_of(b + 2));
    case NIB_BLOCK_IQ4_XS: return of_signed(iq4_values_of(b + 8 + part * 16));
    default: break; /* those that have bytes */
    }
    return of_unsigned(_mm256_setzero_si256());
}

/* --- scales and offsets of a group of parts --- */

/* [0]: of each part, offsets in the order that _mm256_hadd_ps() leaves sums in; where halves have
 * scales of their own [0] and [1]: of each half. */
typedef struct scales { __m256 scale[2], offset[2]; } scales;

NIB_INLINE bool halves_differ(nib_block_kind kind)
{
    return kind == NIB_BLOCK_Q2_K || kind == NIB_BLOCK_Q3_K || kind == NIB_BLOCK_Q6_K;
}

/* Has the format an offset here, where codes count from 0? */
NIB_INLINE bool has_offset(nib_block_kind kind)
{
    return halves_differ(kind) || kind == NIB_BLOCK_Q4_K || kind == NIB_BLOCK_Q5_K;
}

NIB_INLINE __m256 floats_of(__m128i bytes) /* the lower eight, unsigned */
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

/* The half-precision numbers that `parts` blocks begin with, at most 8; 0 behind them. */
NIB_INLINE __m256 numbers_of(const uint8_t *b, size_t bytes, size_t parts)
{
    uint16_t half[NIB_FIXED_PARTS] = { 0 };
    __m128i all[2];

    if (parts == NIB_FIXED_PARTS) {
        starts_of(b, bytes, NIB_FIXED_PARTS, 2, all);
        return _mm256_cvtph_ps(all[0]);
    }
    for (size_t i = 0; i < parts; i++) half[i] = nib_load_le16(b + i * bytes);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)half));
}

/* Q4_K and Q5_K: behind two numbers eight scales of 6 bits and eight offsets in 12 bytes: four low
 * parts of scales and of offsets with two high bits of four others above, whose low nibbles are
 * last. */
NIB_INLINE scales scales_of_k4(const uint8_t *b)
{
    const __m128i low_bytes = _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14,
                                            15);
    const __m128i high_bytes = _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10,
                                             11);
    const __m128i low_mask = _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f);
    /* as _mm256_hadd_ps() leaves the sums of halves */
    const __m128i offsets = _mm_setr_epi8(8, 9, 12, 13, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1,
                                          -1);
    __m128i head = _mm_loadu_si128((const __m128i *)(const void *)b);
    __m128i low = _mm_srlv_epi32(_mm_shuffle_epi8(head, low_bytes), _mm_setr_epi32(0, 0, 0, 4));
    __m128i high = _mm_srli_epi16(_mm_shuffle_epi8(head, high_bytes), 2);
    __m128i all = _mm_or_si128(_mm_and_si128(low, low_mask),
                               _mm_and_si128(high, _mm_set1_epi8(0x30)));
    __m128 numbers = _mm_cvtph_ps(head);
    __m256 scale = floats_of(all), offset = floats_of(_mm_shuffle_epi8(all, offsets));

    scale = _mm256_mul_ps(scale, _mm256_broadcastss_ps(numbers));
    offset = _mm256_mul_ps(offset, _mm256_broadcastss_ps(_mm_movehdup_ps(numbers)));
    return (scales){ .scale = { scale }, .offset = { offset } };
}

NIB_INLINE scales scales_of_q2_k(const uint8_t *b)
{
    /* of_two_bits(): powers of two, so that nothing is rounded otherwise */
    const __m256 in_place = _mm256_setr_ps(1, 1, 1 / 4.f, 1 / 4.f, 1 / 16.f, 1 / 16.f, 1 / 64.f,
                                           1 / 64.f);
    __m128i all = _mm_loadu_si128((const __m128i *)(const void *)b);
    __m128i scale = _mm_and_si128(all, _mm_set1_epi8(15));
    __m128i offset = _mm_and_si128(_mm_srli_epi16(all, 4), _mm_set1_epi8(15));
    __m256 d = _mm256_mul_ps(_mm256_set1_ps(f16_at(b + 80)), in_place);
    __m256 least = _mm256_set1_ps(f16_at(b + 82));

    return (scales){ .scale = { _mm256_mul_ps(floats_of(scale), d),
                                _mm256_mul_ps(floats_of(_mm_srli_si128(scale, 8)), d) },
                     .offset = { _mm256_mul_ps(floats_of(offset), least),
                                 _mm256_mul_ps(floats_of(_mm_srli_si128(offset, 8)), least) } };
}

/* Sixteen signed scales, and codes that count from `zero`. */
NIB_INLINE scales scales_of_16(__m128i bytes, float d, float zero)
{
    scales s;

    for (int h = 0; h < 2; h++) {
        __m128i eight = h ? _mm_srli_si128(bytes, 8) : bytes;
        s.scale[h] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)),
                                   _mm256_set1_ps(d));
        s.offset[h] = _mm256_mul_ps(s.scale[h], _mm256_set1_ps(zero));
    }
    return s;
}

NIB_INLINE scales scales_of_q3_k(const uint8_t *b)
{
    uint32_t first = nib_load_le32(b + 96), second = nib_load_le32(b + 100);
    uint32_t high = nib_load_le32(b + 104), low = 0x0f0f0f0f, two = 0x03030303;
    __m128i all = _mm_setr_epi32((int)((first & low) | (high & two) << 4),
                                 (int)((second & low) | (high >> 2 & two) << 4),
                                 (int)((first >> 4 & low) | (high >> 4 & two) << 4),
                                 (int)((second >> 4 & low) | (high >> 6 & two) << 4));

    return scales_of_16(_mm_sub_epi8(all, _mm_set1_epi8(32)), f16_at(b + 108), 4);
}

NIB_INLINE __m256 scales_of_iq4_xs(const uint8_t *b)
{
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)nib_load_le32(b + 4)),
                                    _mm256_slli_epi32(order, 2));
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(nib_load_le16(b + 2)),
                                     _mm256_slli_epi32(order, 1));
    __m256i all = _mm256_or_si256(
        _mm256_and_si256(low, _mm256_set1_epi32(15)),
        _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4));

    all = _mm256_sub_epi32(all, _mm256_set1_epi32(32));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(all), _mm256_set1_ps(f16_at(b)));
}

NIB_INLINE scales scales_of(nib_block_kind kind, const uint8_t *b, size_t parts)
{
    scales s = { .scale[0] = _mm256_setzero_ps() };

    switch (kind) {
    case NIB_BLOCK_Q8_0: case NIB_BLOCK_IQ4_NL:
        s.scale[0] = numbers_of(b, nib_block_layout_of(kind).bytes, parts);
        break;
    case NIB_BLOCK_Q2_K: return scales_of_q2_k(b);
    case NIB_BLOCK_Q3_K: return scales_of_q3_k(b);
    case NIB_BLOCK_Q4_K: case NIB_BLOCK_Q5_K: return scales_of_k4(b);
    case NIB_BLOCK_Q6_K:
        return scales_of_16(_mm_loadu_si128((const __m128i *)(const void *)(b + 192)),
                            f16_at(b + 208), 32);
    case NIB_BLOCK_IQ4_XS: s.scale[0] = scales_of_iq4_xs(b); break;
    default: break;
    }
    return s;
}

/* --- the dot --- */

/* by[]: scale times step of each part, or of each half of one. */
NIB_INLINE void times_steps(nib_block_kind kind, const scales *s, const float *of, size_t parts,
                            float by[2 * NIB_FIXED_PARTS])
{
    __m256 steps = first_of(of, parts), each[2];

    if (halves_differ(kind)) {
        twice(steps, each);
        for (size_t h = 0; h < 2; h++)
            _mm256_storeu_ps(by + NIB_FIXED_PARTS * h, _mm256_mul_ps(s->scale[h], each[h]));
    } else {
        _mm256_storeu_ps(by, _mm256_mul_ps(s->scale[0], steps));
    }
}

/* Eight parts' offsets times the sums of x. */
NIB_INLINE __m256 add_offsets(nib_block_kind kind, const scales *s, const float *of, __m256 to)
{
    __m256 first = _mm256_loadu_ps(of), others = _mm256_loadu_ps(of + NIB_FIXED_PARTS);

    if (!halves_differ(kind))
        return _mm256_fmadd_ps(s->offset[0], _mm256_hadd_ps(first, others), to);
    return _mm256_fmadd_ps(s->offset[1], others, _mm256_fmadd_ps(s->offset[0], first, to));
}

/* Parts that follow one another, of one block where it has 256 values, at most 8; x from part
 * `part` on. */
NIB_INLINE void add_group(size_t M, nib_block_kind kind, const uint8_t *b, size_t part,
                          size_t parts, const nib_fixed_x x[4], fixed_sums s[4])
{
    size_t bytes = nib_block_layout_of(kind).bytes, of = nib_block_layout_of(kind).values;
    scales by = scales_of(kind, b, parts);
    float factors[4][2 * NIB_FIXED_PARTS];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        times_steps(kind, &by, x[m].steps + part, parts, factors[m]);
        if (has_offset(kind)) s[m].off = add_offsets(kind, &by, x[m].sums + 2 * part, s[m].off);
    }
#pragma GCC unroll 8
    for (size_t p = 0; p < parts; p++) {
        words codes = codes_of(kind, of == NIB_BLOCK_PART ? b + p * bytes : b, p);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) {
            __m256 of_part = part_sums(codes, x[m].words + (part + p) * NIB_BLOCK_PART);
            __m256 by_part = part_factor(halves_differ(kind), factors[m], p);
            s[m].products[p % 2] = _mm256_fmadd_ps(of_part, by_part, s[m].products[p % 2]);
        }
    }
}

/* Fewer than eight. */
NIB_INLINE void add_rest(size_t M, nib_block_kind kind, const uint8_t *b, size_t part,
                         size_t parts, const nib_fixed_x x[4], fixed_sums s[4])
{
    add_group(M, kind, b, part, parts, x, s);
}

#include "kernel/blocks_rows.h"

#define DOT(kind) NIB_WITH_ROWS(M, dot, kind, count, w, rows, x, y, ldy)

void NIB_VARIANT(blocks_dot_fixed)(nib_block_kind kind, size_t M, size_t count,
                                   const nib_block_rows *w, size_t rows, const nib_fixed_x *x,
                                   float *y, size_t ldy)
{
    switch (kind) {
    case NIB_BLOCK_Q8_0: DOT(NIB_BLOCK_Q8_0); break;
    case NIB_BLOCK_Q2_K: DOT(NIB_BLOCK_Q2_K); break;
    case NIB_BLOCK_Q3_K: DOT(NIB_BLOCK_Q3_K); break;
    case NIB_BLOCK_Q4_K: DOT(NIB_BLOCK_Q4_K); break;
    case NIB_BLOCK_Q5_K: DOT(NIB_BLOCK_Q5_K); break;
    case NIB_BLOCK_Q6_K: DOT(NIB_BLOCK_Q6_K); break;
    case NIB_BLOCK_IQ4_NL: DOT(NIB_BLOCK_IQ4_NL); break;
    default: DOT(NIB_BLOCK_IQ4_XS);
    }
}
