/* float4_simd.h - E2M1 under shared scales: the body of float4_avx2.c and float4_avx512.c.
 *
 * Eight bytes are sixteen codes, whose doubled values one shuffle looks up. */
#include "kernel/kernels.h"
#include "kernel/words.h"

/* Sixteen codes as doubled values, in order. */
NIB_INLINE __m128i twice_of(const uint8_t *codes)
{
    const __m128i table = _mm_loadu_si128((const __m128i *)(const void *)nib_e2m1_twice);
    __m128i b = _mm_loadl_epi64((const __m128i *)(const void *)codes);
    __m128i both = _mm_unpacklo_epi8(b, _mm_srli_epi16(b, 4));

    return _mm_shuffle_epi8(table, _mm_and_si128(both, _mm_set1_epi8(15)));
}

/* Sixteen values as vectors, two or one. */
NIB_INLINE void values_of(const nib_float4_row *r, bool round, size_t i, V v[NIB_FLOAT4_STEP / VN])
{
    V half = v_set(r->halves[r->scales[i / r->group]]);
    int8_t twice[NIB_FLOAT4_STEP];

    _mm_storeu_si128((__m128i *)(void *)twice, twice_of(r->codes + i / 2));
#pragma GCC unroll 2
    for (size_t k = 0; k < NIB_FLOAT4_STEP / VN; k++) {
        v[k] = v_mul(w_widen(twice + k * VN), half);
        if (round) v[k] = v_round_bf16(v[k]);
    }
}

NIB_INLINE void decode(const nib_float4_row *r, bool round, size_t n, float *dst)
{
    V v[NIB_FLOAT4_STEP / VN];

    for (size_t i = 0; i < n; i += NIB_FLOAT4_STEP) {
        values_of(r, round, i, v);
        for (size_t k = 0; k < NIB_FLOAT4_STEP / VN; k++) v_store(dst + i + k * VN, v[k]);
    }
}

void NIB_VARIANT(float4_decode)(const nib_float4_row *r, size_t n, float *dst)
{
    if (r->round) decode(r, true, n, dst);
    else decode(r, false, n, dst);
}

/* Two sums a row of x: a product need not wait for the one before. */
NIB_INLINE void dot(size_t M, const nib_float4_row *r, bool round, size_t n, const float *x,
                    float *y, size_t ldy)
{
    V v[NIB_FLOAT4_STEP / VN], sums[4][2];

    for (size_t m = 0; m < M; m++) sums[m][0] = sums[m][1] = v_zero();
    for (size_t i = 0; i < n; i += NIB_FLOAT4_STEP) {
        if (i % 128 == 0) _mm_prefetch((const char *)r->codes + i / 2 + AHEAD, _MM_HINT_T0);
        values_of(r, round, i, v);
#pragma GCC unroll 2
        for (size_t k = 0; k < NIB_FLOAT4_STEP / VN; k++)
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++) {
                V *sum = &sums[m][(i / VN + k) % 2];
                *sum = v_fma(v[k], v_load(x + m * n + i + k * VN), *sum);
            }
    }
    for (size_t m = 0; m < M; m++) y[m * ldy] = v_sum(v_add(sums[m][0], sums[m][1]));
}

void NIB_VARIANT(float4_dot)(const nib_float4_row *r, size_t M, size_t n, const float *x, float *y,
                             size_t ldy)
{
    if (r->round) NIB_WITH_ROWS(M, dot, r, true, n, x, y, ldy);
    else NIB_WITH_ROWS(M, dot, r, false, n, x, y, ldy);
}
