/* float4_simd.h - E2M1 under shared scales: the body of float4_avx2.c and float4_avx512.c.
 *
 * Eight bytes are sixteen codes, whose doubled values one shuffle looks up. */
#include "kernel/fixed_words.h"
#include "kernel/kernels.h"
#include "kernel/panel_simd.h"

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

/* group and round are constant. */
NIB_INLINE void back(const nib_float4_row *first, unsigned group, bool round, size_t codes,
                     size_t scales, size_t terms, nib_pack_kind pack, char *panel, size_t strip)
{
    for (size_t t = 0, count; t < terms; t += count) {
        V x[2][PANEL_VECTORS];
        count = nib_min(2, terms - t);
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            size_t term = nib_min(t + i, terms - 1);
            const nib_float4_row r = { .codes = first->codes + term * codes,
                                       .scales = first->scales + term * scales,
                                       .halves = first->halves, .group = group };
            _mm_prefetch((const char *)r.codes + ROWS_AHEAD * codes, _MM_HINT_T0);
            _mm_prefetch((const char *)r.scales + ROWS_AHEAD * scales, _MM_HINT_T0);
            values_of(&r, round, 0, x[i]);
            values_of(&r, round, NIB_FLOAT4_STEP, x[i] + NIB_FLOAT4_STEP / VN);
        }
        put_terms(pack, x, count, panel, strip, t);
    }
}

void NIB_VARIANT(float4_back)(const nib_float4_row *first, size_t codes, size_t scales,
                              size_t terms, nib_pack_kind pack, void *panel, size_t strip)
{
    size_t bytes = strip * nib_pack_value_bytes(pack);

    if (first->round) back(first, first->group, true, codes, scales, terms, pack, panel, bytes);
    else if (first->group == 32)
        back(first, 32, false, codes, scales, terms, pack, panel, bytes);
    else back(first, 16, false, codes, scales, terms, pack, panel, bytes);
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

/* --- x in fixed point: 32 codes at a time, by vectors of 32 bytes in both variants --- */

/* by[]: half a scale times the step of x, of each part, or of each half of one. */
NIB_INLINE void factors_of(const nib_float4_row *r, bool halves_differ, size_t part, size_t parts,
                           const nib_fixed_x *x, float by[2 * NIB_FIXED_PARTS])
{
    const uint8_t *scales = r->scales + part * (halves_differ ? 2 : 1);

    for (size_t p = 0; p < parts; p++) {
        float step = x->steps[part + p];
        if (halves_differ) {
            by[2 * p] = r->halves[scales[2 * p]] * step;
            by[2 * p + 1] = r->halves[scales[2 * p + 1]] * step;
        } else {
            by[p] = r->halves[scales[p]] * step;
        }
    }
}

NIB_INLINE void add_parts(size_t M, const nib_float4_row *r, bool halves_differ, size_t part,
                          size_t parts, const nib_fixed_x x[4], __m256 sums[4][2])
{
    const __m128i table = _mm_loadu_si128((const __m128i *)(const void *)nib_e2m1_twice);
    const __m128i low = _mm_set1_epi8(15);
    float by[4][2 * NIB_FIXED_PARTS];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) factors_of(r, halves_differ, part, parts, &x[m], by[m]);
#pragma GCC unroll 8
    for (size_t p = 0; p < parts; p++) {
        const uint8_t *at = r->codes + (part + p) * (NIB_FIXED_BLOCK / 2);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i even = _mm_and_si128(b, low), odd = _mm_and_si128(_mm_srli_epi16(b, 4), low);
        const words codes = { _mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, even)),
                              _mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, odd)) };
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) {
            __m256 of_part = part_sums(codes, x[m].words + (part + p) * NIB_FIXED_BLOCK);
            sums[m][p % 2] = _mm256_fmadd_ps(of_part, part_factor(halves_differ, by[m], p),
                                             sums[m][p % 2]);
        }
    }
}

NIB_INLINE void dot_fixed(size_t M, const nib_float4_row *r, bool halves_differ, size_t n,
                          const nib_fixed_x *x, float *y, size_t ldy)
{
    nib_fixed_x row[4];
    __m256 sums[4][2];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        row[m] = nib_fixed_row(x, m);
        sums[m][0] = sums[m][1] = _mm256_setzero_ps();
    }
    for (size_t part = 0; part < n / NIB_FIXED_BLOCK; part += NIB_FIXED_PARTS) {
        size_t left = n / NIB_FIXED_BLOCK - part;
        _mm_prefetch((const char *)r->codes + part * 16 + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)r->codes + part * 16 + 64 + AHEAD, _MM_HINT_T0);
        /* eight as a constant: the loops over them are unrolled */
        if (left >= NIB_FIXED_PARTS)
            add_parts(M, r, halves_differ, part, NIB_FIXED_PARTS, row, sums);
        else add_parts(M, r, halves_differ, part, left, row, sums);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) y[m * ldy] = sum_of(_mm256_add_ps(sums[m][0], sums[m][1]));
}

void NIB_VARIANT(float4_dot_fixed)(const nib_float4_row *r, size_t M, size_t n,
                                   const nib_fixed_x *x, float *y, size_t ldy)
{
    if (r->group == 16) NIB_WITH_ROWS(M, dot_fixed, r, true, n, x, y, ldy);
    else NIB_WITH_ROWS(M, dot_fixed, r, false, n, x, y, ldy);
}
