/* float4_simd.h - E2M1 under shared scales: the body of float4_avx2.c and float4_avx512.c.
 *
 * Eight bytes are sixteen codes, whose doubled values one shuffle looks up. */
#include "kernel/e4m3_simd.h"
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

/* --- x in fixed point: 64 codes at a time by vectors of 32 bytes, or 128 by those of 64.  Doubled
 * values are counted from -12 on, so that they are unsigned; 12 times the sums of x are taken off.
 * --- */

/* Halves of the scales of eight groups from g on; behind `count` of them any.  A table is read one
 * by one, for a gather of eight takes longer than the products of their codes. */
NIB_INLINE __m256 halves_at(const nib_float4_row *r, size_t g, size_t count)
{
    const uint8_t *b = r->scales + g;
    const float *of = r->halves;
    uint8_t some[8] = { 0 };

    if (count < 8) b = memcpy(some, b, count);
    if (r->powers) {
        __m128i e = _mm_loadl_epi64((const __m128i *)(const void *)b);
        __m256i nan = _mm256_cvtepi8_epi32(_mm_cmpeq_epi8(e, _mm_set1_epi8(-1)));
        return _mm256_or_ps(halves_of_powers(e), _mm256_castsi256_ps(nan));
    }
    if (r->e4m3 != 0) return _mm256_mul_ps(e4m3_256th(b), _mm256_set1_ps(256 * r->e4m3));
    return _mm256_setr_ps(of[b[0]], of[b[1]], of[b[2]], of[b[3]], of[b[4]], of[b[5]], of[b[6]],
                          of[b[7]]);
}

/* by[]: half a scale times the step of x, of each part, or of each half of one, as
 * factor_of() takes them.  Adds what was counted too much to the offset. */
NIB_INLINE void factors_of(bool halves_differ, const __m256 scale[2], size_t part, size_t parts,
                           const nib_fixed_x *x, __m256 by[2], fixed_sums *s)
{
    __m256 steps = first_of(x->steps + part, parts), each[2] = { scale[0], scale[1] };
    const float *of = x->sums + 2 * part;

    if (halves_differ) {
        twice(steps, by);
        for (size_t i = 0; i < 2; i++) /* 0, 1, 4, 5, 2, 3, 6, 7 */
            by[i] = _mm256_castpd_ps(_mm256_permute4x64_pd(
                _mm256_castps_pd(_mm256_mul_ps(by[i], scale[i])), 0xd8));
    } else {
        by[0] = by[1] = in_pairs(_mm256_mul_ps(scale[0], steps));
        twice(scale[0], each);
    }
    s->off = _mm256_fmadd_ps(each[0], first_of(of, 2 * parts), s->off);
    if (parts > NIB_FIXED_PARTS / 2)
        s->off = _mm256_fmadd_ps(each[1], first_of(of + 8, 2 * parts - 8), s->off);
}

/* Of the pair of parts that begins with part p, for sums of eight terms. */
NIB_INLINE __m256 factor_of(bool halves_differ, const __m256 by[2], size_t p)
{
    if (!halves_differ) return factor_of_pair(by[0], p / 2);
    return p % 4 ? _mm256_unpackhi_ps(by[p / 4], by[p / 4])
                 : _mm256_unpacklo_ps(by[p / 4], by[p / 4]);
}

/* Parts that follow one another, an even number of at most eight. */
NIB_INLINE void add_parts(size_t M, const nib_float4_row *r, bool halves_differ, size_t n,
                          size_t part, size_t parts, const nib_fixed_x x[4], fixed_sums sums[4])
{
    const __m256i mask = _mm256_set1_epi8(15);
    size_t groups = halves_differ ? 2 * parts : parts, g = halves_differ ? 2 * part : part;
    __m256 scale[2] = { halves_at(r, g, nib_min(groups, 8)), _mm256_setzero_ps() }, by[4][2];

    if (groups > 8) scale[1] = halves_at(r, g + 8, groups - 8);
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        factors_of(halves_differ, scale, part, parts, &x[m], by[m], &sums[m]);
#pragma GCC unroll 4
    for (size_t p = 0; p < parts; p += 2) {
        __m256i codes = vector_at(r->codes + (part + p) * (NIB_FIXED_BLOCK / 2));
        __m256i even = e2m1_from_least(_mm256_and_si256(codes, mask));
        __m256i odd = e2m1_from_least(_mm256_and_si256(_mm256_srli_epi16(codes, 4), mask));
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) {
            __m256 *sum = &sums[m].products[p / 2 % 2];
            size_t t = (part + p) * NIB_FIXED_BLOCK, in = p % 4 * NIB_FIXED_BLOCK;
            *sum = _mm256_fmadd_ps(parts == NIB_FIXED_PARTS /* two units */
                                       ? unit_sums(even, odd, x[m].words + t - in, in)
                                       : turned_sums(even, odd, x[m].words, n, t),
                                   factor_of(halves_differ, by[m], p), *sum);
        }
    }
}

/* The first parts, eight at a time; sums[m]: to be added.  Returns how many. */
#if defined(__AVX512F__)
enum { SPAN = NIB_FIXED_PARTS * NIB_FIXED_BLOCK };

/* By vectors of 64 bytes: four parts each, of which two lanes belong to half of one. */
NIB_INLINE size_t wide_parts(size_t M, const nib_float4_row *r, bool halves_differ, size_t n,
                             const nib_fixed_x x[4], float sums[4])
{
    const __m128i least = _mm_sub_epi8(
        _mm_loadu_si128((const __m128i *)(const void *)nib_e2m1_twice), _mm_set1_epi8(E2M1_LEAST));
    const W mask = w_set(0x0f0f0f0f), table = w_repeat(least);
    V products[4][2], off[4], by[4];
    size_t t = 0;

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) products[m][0] = products[m][1] = off[m] = v_zero();
    for (; t + SPAN <= n; t += SPAN) {
        __m256 first = halves_at(r, t / r->group, 8);
        V scale = halves_differ ? v_of(first, halves_at(r, t / r->group + 8, 8))
                                : each_twice(v_of(first, first), 0);
        fetch_ahead(r->codes + t / 2);
        fetch_ahead(r->codes + t / 2 + 64);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) {
            __m256 steps = _mm256_loadu_ps(x[m].steps + t / NIB_FIXED_BLOCK);
            by[m] = v_mul(scale, each_twice(v_of(steps, steps), 0));
            off[m] = v_fma(scale, v_load(x[m].sums + t / NIB_FIXED_HALF), off[m]);
        }
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            W codes = w_load(r->codes + t / 2 + 64 * i);
            W even = w_shuffle(table, w_and(codes, mask));
            W odd = w_shuffle(table, w_and(w_right(codes, 4), mask));
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++)
                products[m][i] = v_fma(sums_of_unit(even, odd, x[m].words + t + SPAN / 2 * i),
                                       each_twice(by[m], i), products[m][i]);
        }
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        sums[m] = v_sum(v_fma(v_set(E2M1_LEAST), off[m], v_add(products[m][0], products[m][1])));
    return t / NIB_FIXED_BLOCK;
}
#else
NIB_INLINE size_t wide_parts(size_t M, const nib_float4_row *r, bool halves_differ, size_t n,
                             const nib_fixed_x x[4], float sums[4])
{
    (void)r, (void)halves_differ, (void)n, (void)x;
    for (size_t m = 0; m < M; m++) sums[m] = 0;
    return 0;
}
#endif

NIB_INLINE void dot_fixed(size_t M, const nib_float4_row *r, bool halves_differ, size_t n,
                          const nib_fixed_x *x, float *y, size_t ldy)
{
    nib_fixed_x row[4];
    fixed_sums sums[4];
    float wide[4];
    size_t part;

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        row[m] = nib_fixed_row(x, m);
        sums[m] = no_sums();
    }
    /* scales of some rows further on: few, and far from the codes */
    for (size_t at = 0; at < n / r->group; at += 64)
        _mm_prefetch((const char *)r->scales + 4 * n / r->group + at, _MM_HINT_T0);
    part = wide_parts(M, r, halves_differ, n, row, wide);
    for (; part < n / NIB_FIXED_BLOCK; part += NIB_FIXED_PARTS) {
        size_t left = n / NIB_FIXED_BLOCK - part;
        fetch_ahead(r->codes + part * 16);
        fetch_ahead(r->codes + part * 16 + 64);
        /* eight as a constant: the loops over them are unrolled */
        if (left >= NIB_FIXED_PARTS)
            add_parts(M, r, halves_differ, n, part, NIB_FIXED_PARTS, row, sums);
        else add_parts(M, r, halves_differ, n, part, left, row, sums);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        y[m * ldy] = wide[m] + sum_of(_mm256_fmadd_ps(
            _mm256_set1_ps(E2M1_LEAST), sums[m].off,
            _mm256_add_ps(sums[m].products[0], sums[m].products[1])));
}

void NIB_VARIANT(float4_dot_fixed)(const nib_float4_row *r, size_t M, size_t n,
                                   const nib_fixed_x *x, float *y, size_t ldy)
{
    if (r->group == 16) NIB_WITH_ROWS(M, dot_fixed, r, true, n, x, y, ldy);
    else NIB_WITH_ROWS(M, dot_fixed, r, false, n, x, y, ldy);
}
