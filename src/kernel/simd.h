/* simd.h - one name for the vectors of AVX-512 and AVX2, so that a kernel's body is written
 * once and built for each.  Include only from files of those instruction sets.
 *
 * V is a vector of VN floats.  Loads and stores of fewer than VN values touch only those. */
#ifndef NIB_KERNEL_SIMD_H
#define NIB_KERNEL_SIMD_H

#include <immintrin.h>

#include "base/base.h"
#include "base/dtype.h"

#define NIB_INLINE static inline __attribute__((always_inline))

/* Calls inline f(M, ...) with M, 1 to 4, as a constant: a loop for each number of rows. */
#define NIB_WITH_ROWS(M, f, ...)                                                                   \
    do {                                                                                           \
        if ((M) == 1) f(1, __VA_ARGS__);                                                           \
        else if ((M) == 2) f(2, __VA_ARGS__);                                                      \
        else if ((M) == 3) f(3, __VA_ARGS__);                                                      \
        else f(4, __VA_ARGS__);                                                                    \
    } while (0)

#if defined(__AVX512F__)
#define NIB_VARIANT(op) nib_##op##_avx512
enum { VN = 16 };
typedef __m512 V;
NIB_INLINE V v_set(float x) { return _mm512_set1_ps(x); }
NIB_INLINE V v_zero(void) { return _mm512_setzero_ps(); }
NIB_INLINE V v_add(V a, V b) { return _mm512_add_ps(a, b); }
NIB_INLINE V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
NIB_INLINE V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
NIB_INLINE V v_div(V a, V b) { return _mm512_div_ps(a, b); }
NIB_INLINE V v_sqrt(V a) { return _mm512_sqrt_ps(a); }
NIB_INLINE V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
NIB_INLINE V v_max(V a, V b) { return _mm512_max_ps(a, b); } /* b when either is NaN */
NIB_INLINE V v_min(V a, V b) { return _mm512_min_ps(a, b); }
NIB_INLINE V v_round(V a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
NIB_INLINE V v_scale2(V a, V n) { return _mm512_scalef_ps(a, n); } /* a * 2^n, -126 <= n <= 127 */
NIB_INLINE V v_if_less(V a, V b, V yes, V no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
NIB_INLINE V v_abs(V a) { return _mm512_abs_ps(a); }
NIB_INLINE V v_copysign(V a, V sign)
{
    const __m512i top = _mm512_set1_epi32((int)0x80000000u);
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(top, _mm512_castps_si512(sign), _mm512_castps_si512(a), 0xca));
}
NIB_INLINE float v_sum(V a) { return _mm512_reduce_add_ps(a); }
NIB_INLINE float v_greatest(V a) { return _mm512_reduce_max_ps(a); }
NIB_INLINE __mmask16 v_first(size_t n) { return (__mmask16)((1u << n) - 1); }
NIB_INLINE V v_load(const float *p) { return _mm512_loadu_ps(p); }
NIB_INLINE V v_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
NIB_INLINE void v_store(float *p, V a) { _mm512_storeu_ps(p, a); }
NIB_INLINE void v_store_n(float *p, V a, size_t n) { _mm512_mask_storeu_ps(p, v_first(n), a); }
NIB_INLINE V v_from_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* Rounded to bfloat16 in the upper half of each lane; the lower half is left over.  Not of NaN. */
NIB_INLINE __m512i v_bf16_bits_of_numbers(V a)
{
    __m512i bits = _mm512_castps_si512(a),
            odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
}
/* The same, and of NaN. */
NIB_INLINE __m512i v_bf16_bits(V a)
{
    return _mm512_mask_or_epi32(v_bf16_bits_of_numbers(a), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q),
                                _mm512_castps_si512(a), _mm512_set1_epi32(0x400000));
}
NIB_INLINE __m256i v_to_bf16(V a)
{
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(v_bf16_bits(a), 16));
}
NIB_INLINE V v_high_half(__m512i bits)
{
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32((int)0xffff0000u)));
}
NIB_INLINE V v_round_bf16(V a) /* in place: the bits of v_from_bf16(v_to_bf16(a)) */
{
    return v_high_half(v_bf16_bits(a));
}
NIB_INLINE V v_load_bf16(const uint16_t *p)
{
    return v_from_bf16(_mm256_loadu_si256((const __m256i *)p));
}
NIB_INLINE V v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
NIB_INLINE V v_load_bf16_n(const uint16_t *p, size_t n)
{
    return v_from_bf16(_mm256_maskz_loadu_epi16(v_first(n), p));
}
NIB_INLINE void v_store_bf16(uint16_t *p, V a) { _mm256_storeu_si256((__m256i *)p, v_to_bf16(a)); }
NIB_INLINE bool v_any_nan(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0; }
NIB_INLINE void v_store_high_halves(uint16_t *p, __m512i a, __m512i b) /* one after the other */
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(a, 16)));
    _mm256_storeu_si256((__m256i *)(p + VN), _mm512_cvtepi32_epi16(_mm512_srli_epi32(b, 16)));
}
NIB_INLINE void v_store_bf16_n(uint16_t *p, V a, size_t n)
{
    _mm256_mask_storeu_epi16(p, v_first(n), v_to_bf16(a));
}

#elif defined(__AVX2__)
#define NIB_VARIANT(op) nib_##op##_avx2
enum { VN = 8 };
typedef __m256 V;
NIB_INLINE V v_set(float x) { return _mm256_set1_ps(x); }
NIB_INLINE V v_zero(void) { return _mm256_setzero_ps(); }
NIB_INLINE V v_add(V a, V b) { return _mm256_add_ps(a, b); }
NIB_INLINE V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
NIB_INLINE V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
NIB_INLINE V v_div(V a, V b) { return _mm256_div_ps(a, b); }
NIB_INLINE V v_sqrt(V a) { return _mm256_sqrt_ps(a); }
NIB_INLINE V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
NIB_INLINE V v_max(V a, V b) { return _mm256_max_ps(a, b); }
NIB_INLINE V v_min(V a, V b) { return _mm256_min_ps(a, b); }
NIB_INLINE V v_round(V a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
NIB_INLINE V v_scale2(V a, V n) /* a * 2^n, -126 <= n <= 127 */
{
    __m256i power = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(power));
}
NIB_INLINE V v_if_less(V a, V b, V yes, V no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
NIB_INLINE V v_abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
NIB_INLINE V v_copysign(V a, V sign)
{
    const __m256 top = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(top, a), _mm256_and_ps(top, sign));
}
NIB_INLINE float v_sum(V a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
NIB_INLINE float v_greatest(V a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
NIB_INLINE V v_load(const float *p) { return _mm256_loadu_ps(p); }
NIB_INLINE V v_load_n(const float *p, size_t n)
{
    float t[8] = { 0 };
    memcpy(t, p, n * sizeof *p);
    return _mm256_loadu_ps(t);
}
NIB_INLINE void v_store(float *p, V a) { _mm256_storeu_ps(p, a); }
NIB_INLINE void v_store_n(float *p, V a, size_t n)
{
    float t[8];
    _mm256_storeu_ps(t, a);
    memcpy(p, t, n * sizeof *p);
}
NIB_INLINE V v_from_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
/* Rounded to bfloat16 in the upper half of each lane; the lower half is left over.  Not of NaN. */
NIB_INLINE __m256i v_bf16_bits_of_numbers(V a)
{
    __m256i bits = _mm256_castps_si256(a),
            odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}
/* The same, and of NaN. */
NIB_INLINE __m256i v_bf16_bits(V a)
{
    __m256i bits = _mm256_castps_si256(a);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(v_bf16_bits_of_numbers(a),
                              _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
}
NIB_INLINE __m128i v_to_bf16(V a)
{
    __m256i up = _mm256_srli_epi32(v_bf16_bits(a), 16);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(up, up), 0xd8));
}
NIB_INLINE V v_high_half(__m256i bits)
{
    return _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32((int)0xffff0000u)));
}
NIB_INLINE V v_round_bf16(V a) /* in place: the bits of v_from_bf16(v_to_bf16(a)) */
{
    return v_high_half(v_bf16_bits(a));
}
NIB_INLINE V v_load_bf16(const uint16_t *p)
{
    return v_from_bf16(_mm_loadu_si128((const __m128i *)p));
}
NIB_INLINE V v_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
NIB_INLINE V v_load_bf16_n(const uint16_t *p, size_t n)
{
    uint16_t t[8] = { 0 };
    memcpy(t, p, n * sizeof *p);
    return v_load_bf16(t);
}
NIB_INLINE void v_store_bf16(uint16_t *p, V a) { _mm_storeu_si128((__m128i *)p, v_to_bf16(a)); }
NIB_INLINE bool v_any_nan(V a, V b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_UNORD_Q)) != 0;
}
NIB_INLINE void v_store_high_halves(uint16_t *p, __m256i a, __m256i b) /* one after the other */
{
    __m256i x = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(x, 0xd8));
}
NIB_INLINE void v_store_bf16_n(uint16_t *p, V a, size_t n)
{
    uint16_t t[8];
    v_store_bf16(t, a);
    memcpy(p, t, n * sizeof *p);
}
#endif

/* Two vectors at a time: one look for NaN, which is rare, serves both. */
NIB_INLINE void v_round2_bf16(V x[2])
{
    if (v_any_nan(x[0], x[1])) {
        for (int i = 0; i < 2; i++) x[i] = v_round_bf16(x[i]);
    } else {
        for (int i = 0; i < 2; i++) x[i] = v_high_half(v_bf16_bits_of_numbers(x[i]));
    }
}
NIB_INLINE void v_store2_bf16(uint16_t *p, V a, V b) /* one after the other */
{
    if (v_any_nan(a, b)) v_store_high_halves(p, v_bf16_bits(a), v_bf16_bits(b));
    else v_store_high_halves(p, v_bf16_bits_of_numbers(a), v_bf16_bits_of_numbers(b));
}

/* to[i] = the sum over x[i], four at a time: fewer shuffles than one by one. */
NIB_INLINE void v_sum4(const V x[4], float to[4])
{
    __m256 s[4], two[2];
    __m128 four[2];

#if defined(__AVX512F__)
    for (int i = 0; i < 4; i++)
        s[i] = _mm256_add_ps(_mm512_castps512_ps256(x[i]), _mm512_extractf32x8_ps(x[i], 1));
#else
    for (int i = 0; i < 4; i++) s[i] = x[i];
#endif
    two[0] = _mm256_hadd_ps(s[0], s[1]);
    two[1] = _mm256_hadd_ps(s[2], s[3]);
    s[0] = _mm256_hadd_ps(two[0], two[1]);
    four[0] = _mm256_castps256_ps128(s[0]);
    four[1] = _mm256_extractf128_ps(s[0], 1);
    _mm_storeu_ps(to, _mm_add_ps(four[0], four[1]));
}

/* Squares of 8 x 8 words, transposed in registers; stored `ld` words apart. */
NIB_INLINE void transpose8(__m256i r[8], uint32_t *dst, size_t ld)
{
    __m256i t[8];

    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_si256((__m256i *)(dst + (size_t)i * ld),
                            _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
        _mm256_storeu_si256((__m256i *)(dst + (size_t)(i + 4) * ld),
                            _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
    }
}

/* Values i .. i + n of an array of `type`, n <= VN; the rest is 0. */
NIB_INLINE V v_get(nib_dtype type, const void *x, size_t i, size_t n)
{
    if (type == NIB_F32)
        return n == VN ? v_load((const float *)x + i) : v_load_n((const float *)x + i, n);
    return n == VN ? v_load_bf16((const uint16_t *)x + i)
                   : v_load_bf16_n((const uint16_t *)x + i, n);
}
NIB_INLINE void v_put(nib_dtype type, void *x, size_t i, size_t n, V a)
{
    if (type == NIB_F32) {
        if (n == VN) v_store((float *)x + i, a);
        else v_store_n((float *)x + i, a, n);
    } else if (n == VN) {
        v_store_bf16((uint16_t *)x + i, a);
    } else {
        v_store_bf16_n((uint16_t *)x + i, a, n);
    }
}
/* One vector of n values, or two whole ones. */
NIB_INLINE void v_put_each(nib_dtype type, void *x, size_t i, size_t n, const V *a, int count)
{
    if (type == NIB_BF16 && count == 2) v_store2_bf16((uint16_t *)x + i, a[0], a[1]);
    else for (int j = 0; j < count; j++) v_put(type, x, i + (size_t)j * VN, n, a[j]);
}
/* As stored: rounded to the type. */
NIB_INLINE V v_rounded(nib_dtype type, V a) { return type == NIB_F32 ? a : v_round_bf16(a); }
NIB_INLINE void v_round_each(nib_dtype type, V *a, int count)
{
    if (type == NIB_F32) return;
    if (count == 2) v_round2_bf16(a);
    else a[0] = v_round_bf16(a[0]);
}

/* e^x of `count` vectors in place, one or two: side by side, for each step waits for the one
 * before.  x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial of degree 7 in r, times 2^n.  Error below
 * 2 units in the last place for -87 < x < 88; beyond, the value at the bound; NaN stays NaN. */
NIB_INLINE void v_exp_each(V *x, int count)
{
    static const float c[] = { 1.3888889e-3f, 8.3333333e-3f, 4.1666667e-2f, 1.6666667e-1f,
                               0.5f, 1, 1 };
    V n[2], p[2];

    for (int j = 0; j < count; j++)
        x[j] = v_min(v_set(88.3f), v_max(v_set(-87.3f), x[j])); /* the bound first: NaN passes */
    for (int j = 0; j < count; j++) n[j] = v_round(v_mul(x[j], v_set(1.44269504f)));
    for (int j = 0; j < count; j++) x[j] = v_fma(n[j], v_set(-0.693359375f), x[j]);
    for (int j = 0; j < count; j++) x[j] = v_fma(n[j], v_set(2.12194440e-4f), x[j]);
    for (int j = 0; j < count; j++) p[j] = v_set(1.9841270e-4f);
#pragma GCC unroll 8
    for (size_t i = 0; i < NIB_COUNT(c); i++)
        for (int j = 0; j < count; j++) p[j] = v_fma(p[j], x[j], v_set(c[i]));
    for (int j = 0; j < count; j++) x[j] = v_scale2(p[j], n[j]);
}
NIB_INLINE V v_exp(V x)
{
    v_exp_each(&x, 1);
    return x;
}
/* Error below 2^-23 of 1; NaN stays NaN. */
NIB_INLINE V v_tanh(V x)
{
    V e = v_exp(v_mul(v_set(2), x));
    return v_sub(v_set(1), v_div(v_set(2), v_add(e, v_set(1))));
}

/* 1 / (1 + e^-x) of one or two vectors. */
NIB_INLINE void v_sigmoid_each(const V *x, V *s, int count)
{
    for (int j = 0; j < count; j++) s[j] = v_sub(v_zero(), x[j]);
    v_exp_each(s, count);
    for (int j = 0; j < count; j++) s[j] = v_div(v_set(1), v_add(v_set(1), s[j]));
}
NIB_INLINE V v_sigmoid(V x)
{
    V s;
    v_sigmoid_each(&x, &s, 1);
    return s;
}

/* 2^x for x <= 127: the error is that of x, below 2 units in the last place for the rest; below
 * -126, and of -inf, 2^-126; NaN stays NaN.  The polynomial is the best of degree 6 on [-1/2, 1/2]
 * (Remez). */
NIB_INLINE V v_exp2(V x)
{
    V n, r, p;

    x = v_max(v_set(-126), x); /* the bound first: NaN passes */
    n = v_round(x);
    r = v_sub(x, n);
    p = v_fma(v_set(1.5345808e-4f), r, v_set(1.3399931e-3f));
    p = v_fma(p, r, v_set(9.618489e-3f));
    p = v_fma(p, r, v_set(5.5503286e-2f));
    p = v_fma(p, r, v_set(0.24022646f));
    p = v_fma(p, r, v_set(0.6931472f));
    p = v_fma(p, r, v_set(1));
    return v_scale2(p, n);
}

#endif
