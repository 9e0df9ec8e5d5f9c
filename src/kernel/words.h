/* words.h - one name for the integer vectors of AVX-512 and AVX2, as simd.h has one for those of
 * floats.
 *
 * W is a vector of bytes, of signed 16-bit words or of 32-bit sums.  Bytes are shuffled and joined
 * within each quarter of 16.
 *
 * Products of signed bytes a b are those of |b|, unsigned, and of a with the sign of b: two of them
 * fit a word as long as a is never -128. */
#ifndef NIB_KERNEL_WORDS_H
#define NIB_KERNEL_WORDS_H

#include "kernel/simd.h"

/* Bytes that are fetched of each of two rows, which are read side by side, before they are read. */
enum { EACH_AHEAD = 2048 };

#if defined(__AVX512F__)
/* Leaves *a in its register: a compiler would add the terms of unrolled sums in another order, all
 * of them at hand at once. */
#if defined(NIB_EMULATE_AVX512)
#define W_KEEP(a) ((void)(a)) /* no register holds it */
#else
#define W_KEEP(a) __asm__("" : "+v"(*(a)))
#endif
enum { AHEAD = 4096 }; /* bytes that a loop fetches before it reads them */
/* What a loop along rows reads later, into the second cache: a line of a page further on comes in
 * time there. */
NIB_INLINE void fetch_ahead(const void *p) { _mm_prefetch((const char *)p + 8192, _MM_HINT_T1); }
typedef __m512i W;
NIB_INLINE W w_zero(void) { return _mm512_setzero_si512(); }
NIB_INLINE W w_load(const void *p) { return _mm512_loadu_si512(p); }
NIB_INLINE W w_load_first(const void *p, size_t quarters) /* 0 behind them */
{
    return _mm512_maskz_loadu_epi32(v_first(4 * quarters), p);
}
NIB_INLINE W w_repeat(__m128i quarter) { return _mm512_broadcast_i32x4(quarter); }
NIB_INLINE W w_even(W bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi16(255)); }
NIB_INLINE W w_odd(W bytes) { return _mm512_srli_epi16(bytes, 8); }
NIB_INLINE W w_shuffle(W table, W indices) { return _mm512_shuffle_epi8(table, indices); }
NIB_INLINE W w_join_first(W low, W high) { return _mm512_unpacklo_epi8(low, high); }
NIB_INLINE W w_join_second(W low, W high) { return _mm512_unpackhi_epi8(low, high); }
NIB_INLINE W w_join16_first(W low, W high) { return _mm512_unpacklo_epi16(low, high); }
NIB_INLINE W w_join16_second(W low, W high) { return _mm512_unpackhi_epi16(low, high); }
/* Of each quarter of four floats those at even places of a, then of b; and at odd ones. */
NIB_INLINE V v_evens(V a, V b) { return _mm512_shuffle_ps(a, b, 0x88); }
NIB_INLINE V v_odds(V a, V b) { return _mm512_shuffle_ps(a, b, 0xdd); }
NIB_INLINE W w_products(W a, W b) { return _mm512_madd_epi16(a, b); } /* sums of two */
NIB_INLINE W w_add(W a, W b) { return _mm512_add_epi32(a, b); }
NIB_INLINE W w_add16(W a, W b) { return _mm512_add_epi16(a, b); }
/* Sums of two products of an unsigned and a signed byte, in 16 bits. */
NIB_INLINE W w_pairs8(W a, W b) { return _mm512_maddubs_epi16(a, b); }
NIB_INLINE W w_halves(W low, W high) /* of each 32 bits the lower and the upper half */
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32((int)0xffff0000u), high, low, 0xca);
}
NIB_INLINE W w_set(uint32_t lane) { return _mm512_set1_epi32((int)lane); }
NIB_INLINE void w_store(void *p, W a) { _mm512_storeu_si512(p, a); }
NIB_INLINE W w_and(W a, W b) { return _mm512_and_si512(a, b); }
NIB_INLINE W w_or(W a, W b) { return _mm512_or_si512(a, b); }
NIB_INLINE W w_xor(W a, W b) { return _mm512_xor_si512(a, b); }
NIB_INLINE W w_right(W lanes, unsigned n) { return _mm512_srli_epi32(lanes, n); } /* of 32 bits */
NIB_INLINE W w_left(W lanes, unsigned n) { return _mm512_slli_epi32(lanes, n); }
NIB_INLINE W w_right_each(W lanes, W n) { return _mm512_srlv_epi32(lanes, n); }
NIB_INLINE W w_quads(const uint32_t words[4]) /* each in the four lanes of a quarter */
{
    const W which = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m128i four = _mm_loadu_si128((const __m128i *)(const void *)words);
    return _mm512_permutexvar_epi32(which, _mm512_castsi128_si512(four));
}
NIB_INLINE int32_t w_sum(W a) { return _mm512_reduce_add_epi32(a); }
NIB_INLINE V w_to_floats(W a) { return _mm512_cvtepi32_ps(a); }
NIB_INLINE W w_whole(V a) { return _mm512_cvtps_epi32(a); } /* to even */
NIB_INLINE __m128i w_bytes(V numbers, int add) /* 0 to 255, in the lower VN bytes */
{
    return _mm512_cvtepi32_epi8(
        _mm512_add_epi32(_mm512_cvtps_epi32(numbers), _mm512_set1_epi32(add)));
}
NIB_INLINE W w_abs(W bytes) { return _mm512_abs_epi8(bytes); }
NIB_INLINE W w_signed_by(W a, W b) /* where b is 0 anything: it meets |b| */
{
    return _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(b), _mm512_setzero_si512(), a);
}
/* Sums of four products of an unsigned and a signed byte. */
NIB_INLINE W w_products8(W magnitudes, W a)
{
    return _mm512_madd_epi16(_mm512_maddubs_epi16(magnitudes, a), _mm512_set1_epi16(1));
}
NIB_INLINE V w_widen(const int8_t *bytes) /* VN of them */
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)bytes)));
}
NIB_INLINE V v_round_f16(V a)
{
    return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
NIB_INLINE unsigned v_at_least(V a, V least) /* a bit for each lane */
{
    return _mm512_cmp_ps_mask(a, least, _CMP_GE_OQ);
}

#elif defined(__AVX2__)
#define W_KEEP(a) __asm__("" : "+x"(*(a)))
enum { AHEAD = 2048 };
NIB_INLINE void fetch_ahead(const void *p) { _mm_prefetch((const char *)p + AHEAD, _MM_HINT_T0); }
typedef __m256i W;
NIB_INLINE W w_zero(void) { return _mm256_setzero_si256(); }
NIB_INLINE W w_load(const void *p) { return _mm256_loadu_si256((const W *)p); }
NIB_INLINE W w_load_first(const void *p, size_t quarters) /* one of two */
{
    (void)quarters;
    return _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
NIB_INLINE W w_repeat(__m128i quarter) { return _mm256_broadcastsi128_si256(quarter); }
NIB_INLINE W w_even(W bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi16(255)); }
NIB_INLINE W w_odd(W bytes) { return _mm256_srli_epi16(bytes, 8); }
NIB_INLINE W w_shuffle(W table, W indices) { return _mm256_shuffle_epi8(table, indices); }
NIB_INLINE W w_join_first(W low, W high) { return _mm256_unpacklo_epi8(low, high); }
NIB_INLINE W w_join_second(W low, W high) { return _mm256_unpackhi_epi8(low, high); }
NIB_INLINE W w_join16_first(W low, W high) { return _mm256_unpacklo_epi16(low, high); }
NIB_INLINE W w_join16_second(W low, W high) { return _mm256_unpackhi_epi16(low, high); }
NIB_INLINE V v_evens(V a, V b) { return _mm256_shuffle_ps(a, b, 0x88); }
NIB_INLINE V v_odds(V a, V b) { return _mm256_shuffle_ps(a, b, 0xdd); }
NIB_INLINE W w_products(W a, W b) { return _mm256_madd_epi16(a, b); }
NIB_INLINE W w_add(W a, W b) { return _mm256_add_epi32(a, b); }
NIB_INLINE W w_add16(W a, W b) { return _mm256_add_epi16(a, b); }
NIB_INLINE W w_pairs8(W a, W b) { return _mm256_maddubs_epi16(a, b); }
NIB_INLINE W w_halves(W low, W high) { return _mm256_blend_epi16(low, high, 0xaa); }
NIB_INLINE W w_set(uint32_t lane) { return _mm256_set1_epi32((int)lane); }
NIB_INLINE void w_store(void *p, W a) { _mm256_storeu_si256((W *)p, a); }
NIB_INLINE W w_and(W a, W b) { return _mm256_and_si256(a, b); }
NIB_INLINE W w_or(W a, W b) { return _mm256_or_si256(a, b); }
NIB_INLINE W w_xor(W a, W b) { return _mm256_xor_si256(a, b); }
NIB_INLINE W w_right(W lanes, unsigned n) { return _mm256_srli_epi32(lanes, (int)n); }
NIB_INLINE W w_left(W lanes, unsigned n) { return _mm256_slli_epi32(lanes, (int)n); }
NIB_INLINE W w_right_each(W lanes, W n) { return _mm256_srlv_epi32(lanes, n); }
NIB_INLINE W w_quads(const uint32_t words[2])
{
    return _mm256_set_m128i(_mm_set1_epi32((int)words[1]), _mm_set1_epi32((int)words[0]));
}
NIB_INLINE int32_t w_sum(W a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
NIB_INLINE V w_to_floats(W a) { return _mm256_cvtepi32_ps(a); }
NIB_INLINE W w_whole(V a) { return _mm256_cvtps_epi32(a); }
NIB_INLINE __m128i w_bytes(V numbers, int add)
{
    W integer = _mm256_add_epi32(_mm256_cvtps_epi32(numbers), _mm256_set1_epi32(add));
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(integer),
                                     _mm256_extracti128_si256(integer, 1));
    return _mm_packus_epi16(words, words);
}
NIB_INLINE W w_abs(W bytes) { return _mm256_abs_epi8(bytes); }
NIB_INLINE W w_signed_by(W a, W b) { return _mm256_sign_epi8(a, b); }
NIB_INLINE W w_products8(W magnitudes, W a)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, a), _mm256_set1_epi16(1));
}
NIB_INLINE V w_widen(const int8_t *bytes)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes)));
}
NIB_INLINE V v_round_f16(V a)
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
NIB_INLINE unsigned v_at_least(V a, V least)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, least, _CMP_GE_OQ));
}
#endif

/* Of vectors of eight floats, in both variants. */
NIB_INLINE float sum_of(__m256 a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
