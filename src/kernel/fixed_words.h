/* fixed_words.h - what dots with a row in fixed point share (fixed.h): the sums of a part of 32
 * terms or of two, and what they are multiplied by.  For the files of AVX2 and AVX-512 alone, which
 * use vectors of 32 bytes here but for what is named. */
#ifndef NIB_KERNEL_FIXED_WORDS_H
#define NIB_KERNEL_FIXED_WORDS_H

#include "kernel/fixed.h"
#include "kernel/float4.h"
#include "kernel/words.h"

enum { NIB_FIXED_PARTS = 8 }; /* whose factors are made at a time */

/* A part's codes as words: the even ones and the odd ones. */
typedef struct words { __m256i even, odd; } words;

/* The eight sums of a part are in order: the first four are of its first half. */
NIB_INLINE __m256 part_sums(words codes, const int16_t *x)
{
    const __m256i *two = (const __m256i *)(const void *)x;

    return _mm256_cvtepi32_ps(
        _mm256_add_epi32(_mm256_madd_epi16(codes.even, _mm256_loadu_si256(two)),
                         _mm256_madd_epi16(codes.odd, _mm256_loadu_si256(two + 1))));
}

NIB_INLINE __m256i vector_at(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* The sums of two parts, whose even and odd codes are unsigned bytes, at most 64: of eight terms
 * each, in order.  x: high bytes of even words, low ones, then those of odd words, each `run` words
 * behind the one before. */
NIB_INLINE __m256 sums_of_runs(__m256i even, __m256i odd, const int16_t *x, size_t run)
{
    __m256i high = _mm256_add_epi16(_mm256_maddubs_epi16(even, vector_at(x)),
                                    _mm256_maddubs_epi16(odd, vector_at(x + 2 * run)));
    __m256i low = _mm256_add_epi16(_mm256_maddubs_epi16(even, vector_at(x + run)),
                                   _mm256_maddubs_epi16(odd, vector_at(x + 3 * run)));

    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_madd_epi16(high, _mm256_set1_epi16(256)),
                                               _mm256_madd_epi16(low, _mm256_set1_epi16(1))));
}

/* x: words of NIB_FIXED_TURNS or NIB_FIXED_HALVES. */
NIB_INLINE __m256 split_sums(__m256i even, __m256i odd, const int16_t *x)
{
    return sums_of_runs(even, odd, x, 16);
}

/* x: a whole unit of NIB_FIXED_TURNS4; the parts begin with term `in` of it. */
NIB_INLINE __m256 unit_sums(__m256i even, __m256i odd, const int16_t *x, size_t in)
{
    return sums_of_runs(even, odd, x + in / 4, 32);
}

/* x: a row of n words of it; the parts begin with term t. */
NIB_INLINE __m256 turned_sums(__m256i even, __m256i odd, const int16_t *x, size_t n, size_t t)
{
    size_t in = t % 128;

    return t - in + 128 > n ? split_sums(even, odd, x + t) : unit_sums(even, odd, x + t - in, in);
}

#if defined(__AVX512F__)
/* Of four parts, by vectors of 64 bytes; x: a whole unit of NIB_FIXED_TURNS4. */
NIB_INLINE V sums_of_unit(W even, W odd, const int16_t *x)
{
    W high = w_add16(w_pairs8(even, w_load(x)), w_pairs8(odd, w_load(x + 64)));
    W low = w_add16(w_pairs8(even, w_load(x + 32)), w_pairs8(odd, w_load(x + 96)));

    return w_to_floats(w_add(w_products(high, w_set(0x01000100)),
                             w_products(low, w_set(0x00010001))));
}

/* The numbers of the first eight lanes in all lanes from lane 8 `half` on, each twice. */
NIB_INLINE V each_twice(V of, size_t half)
{
    const W order = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    W which = half ? w_or(order, w_set(8)) : order;

    return _mm512_permutexvar_ps(which, of);
}
NIB_INLINE V v_of(__m256 first, __m256 others)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(first), others, 1);
}

/* A part of 32 codes of 8 bits by a vector of 64 bytes: its codes lie in both halves, of which one
 * makes words of the even ones and one of the odd ones. */
NIB_INLINE W part_at(const void *p) { return _mm512_broadcast_i64x4(vector_at(p)); }
NIB_INLINE V sums_of_part(W codes, const int16_t *x)
{
    const W shift = _mm512_inserti64x4(w_set(0x00080008), _mm256_setzero_si256(), 0);

    return w_to_floats(w_products(w_even(_mm512_srlv_epi16(codes, shift)), w_load(x)));
}
#else
NIB_INLINE W part_at(const void *p) { return w_load(p); }
NIB_INLINE V sums_of_part(W codes, const int16_t *x)
{
    return part_sums((words){ w_even(codes), w_odd(codes) }, x);
}
#endif

/* Of a row of x: two of products, for one waits four cycles for the one before, and what is to be
 * taken off. */
typedef struct fixed_sums { __m256 products[2], off; } fixed_sums;

NIB_INLINE fixed_sums no_sums(void)
{
    const __m256 zero = _mm256_setzero_ps();

    return (fixed_sums){ { zero, zero }, zero };
}

NIB_INLINE float total_of(const fixed_sums *s)
{
    return sum_of(_mm256_sub_ps(_mm256_add_ps(s->products[0], s->products[1]), s->off));
}

/* What those of part p are multiplied by; by: a factor for each part, or for each half of one. */
NIB_INLINE __m256 part_factor(bool halves_differ, const float by[2 * NIB_FIXED_PARTS], size_t p)
{
    const __m256i halves = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    double both;

    if (!halves_differ) return _mm256_broadcast_ss(by + p);
    memcpy(&both, by + 2 * p, sizeof both);
    return _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_set1_pd(both)), halves);
}

enum { E2M1_LEAST = -12 }; /* of twice the values of E2M1 */

/* Twice the values of nibbles, counted from the least one on. */
NIB_INLINE __m256i e2m1_from_least(__m256i nibbles)
{
    __m128i t = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)nib_e2m1_twice),
                             _mm_set1_epi8(E2M1_LEAST));

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), nibbles);
}

/* Half of 2^(e - 127) of each of eight bytes; 0 where that is subnormal: a block of zeros has e 0,
 * and with a subnormal number a product takes Intel's processors a hundred times as long. */
NIB_INLINE __m256 halves_of_powers(__m128i bytes)
{
    __m256i above = _mm256_cvtepu8_epi32(_mm_subs_epu8(bytes, _mm_set1_epi8(1)));

    return _mm256_castsi256_ps(_mm256_slli_epi32(above, 23));
}

/* Eight factors as factor_of_pair() takes them: those of even parts, then of odd ones. */
NIB_INLINE __m256 in_pairs(__m256 by)
{
    return _mm256_permutevar8x32_ps(by, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
}

/* What split_sums() of parts 2 p and 2 p + 1 are multiplied by; p is a constant. */
NIB_INLINE __m256 factor_of_pair(__m256 by, size_t p)
{
    switch (p) {
    case 0: return _mm256_permute_ps(by, 0x00);
    case 1: return _mm256_permute_ps(by, 0x55);
    case 2: return _mm256_permute_ps(by, 0xaa);
    default: return _mm256_permute_ps(by, 0xff);
    }
}

/* Each of eight numbers twice. */
NIB_INLINE void twice(__m256 of, __m256 to[2])
{
    to[0] = _mm256_permutevar8x32_ps(of, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    to[1] = _mm256_permutevar8x32_ps(of, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
}

/* The first n of eight numbers, 0 behind them. */
NIB_INLINE __m256 first_of(const float *p, size_t n)
{
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    if (n >= NIB_FIXED_PARTS) return _mm256_loadu_ps(p);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), order));
}

#endif
