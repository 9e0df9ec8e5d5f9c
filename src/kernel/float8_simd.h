/* float8_simd.h - E4M3: the body of float8_avx2.c and float8_avx512.c.
 *
 * Moved up by 7 bits, a code is a float16 of 2^-8 times its value, subnormal ones too; only NaN
 * must be put in by itself. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/words.h"

#if defined(__AVX512F__)
/* VN codes as float16, and NaN where they are. */
NIB_INLINE V values_of(const uint8_t *codes)
{
    __m256i c = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes));
    __m256i size = _mm256_and_si256(c, _mm256_set1_epi16(0x7f));
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(c, _mm256_set1_epi16(0x80)), 8);
    __m256i nan = _mm256_cmpeq_epi16(size, _mm256_set1_epi16(0x7f));
    __m256i half = _mm256_or_si256(sign, _mm256_slli_epi16(size, 7));

    half = _mm256_or_si256(half, _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
    return v_mul(_mm512_cvtph_ps(half), v_set(256));
}
#else
NIB_INLINE V values_of(const uint8_t *codes)
{
    __m128i c = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)codes));
    __m128i size = _mm_and_si128(c, _mm_set1_epi16(0x7f));
    __m128i sign = _mm_slli_epi16(_mm_and_si128(c, _mm_set1_epi16(0x80)), 8);
    __m128i nan = _mm_cmpeq_epi16(size, _mm_set1_epi16(0x7f));
    __m128i half = _mm_or_si128(sign, _mm_slli_epi16(size, 7));

    half = _mm_or_si128(half, _mm_and_si128(nan, _mm_set1_epi16(0x7e00)));
    return v_mul(_mm256_cvtph_ps(half), v_set(256));
}
#endif

NIB_INLINE V scaled(const uint8_t *codes, V by, bool divide, nib_dtype round)
{
    V v = values_of(codes);

    v = divide ? v_div(v, by) : v_mul(v, by);
    if (round == NIB_BF16) return v_round_bf16(v);
    return round == NIB_F16 ? v_round_f16(v) : v;
}

NIB_INLINE void decode(size_t n, const uint8_t *codes, V by, bool divide, nib_dtype round,
                       float *dst)
{
    uint8_t last[VN] = { 0 };
    size_t i = 0;

    for (; i + VN <= n; i += VN) v_store(dst + i, scaled(codes + i, by, divide, round));
    if (i == n) return;
    memcpy(last, codes + i, n - i);
    v_store_n(dst + i, scaled(last, by, divide, round), n - i);
}

void NIB_VARIANT(float8_decode)(size_t n, const uint8_t *codes, nib_float8_scale scale, float *dst)
{
    V by = v_set(scale.by);

    if (scale.divide) decode(n, codes, by, true, scale.round, dst);
    else if (scale.round == NIB_F32) decode(n, codes, by, false, NIB_F32, dst);
    else if (scale.round == NIB_BF16) decode(n, codes, by, false, NIB_BF16, dst);
    else decode(n, codes, by, false, NIB_F16, dst);
}
