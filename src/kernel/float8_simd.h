/* float8_simd.h - E4M3: the body of float8_avx2.c and float8_avx512.c.
 *
 * Moved up by 7 bits, a code is a float16 of 2^-8 times its value, subnormal ones too; only NaN
 * must be put in by itself. */
#include <math.h>

#include "kernel/e4m3_simd.h"
#include "kernel/kernels.h"
#include "kernel/panel_simd.h"
#include "kernel/words.h"

/* Of codes with their sign above: the sign stays there, the bit below it goes.  NaN has all bits
 * set, which is NaN in float16 as well. */
#if defined(__AVX512F__)
NIB_INLINE V values_of(const uint8_t *codes)
{
    __m256i c = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes));
    __m256i half = _mm256_and_si256(_mm256_slli_epi16(c, 7), _mm256_set1_epi16((short)0xbfff));
    __m256i nan = _mm256_cmpeq_epi16(_mm256_or_si256(c, _mm256_set1_epi16((short)0xff80)),
                                     _mm256_set1_epi16(-1));

    return v_mul(_mm512_cvtph_ps(_mm256_or_si256(half, nan)), v_set(256));
}
#else
NIB_INLINE V values_of(const uint8_t *codes) { return v_mul(e4m3_256th(codes), v_set(256)); }
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

/* --- panels --- */

NIB_INLINE void back(const nib_float8_column *c, bool divide, nib_dtype round, size_t terms,
                     nib_pack_kind pack, char *panel, size_t strip)
{
    for (size_t t = 0, count; t < terms; t += count) {
        V x[2][PANEL_VECTORS];
        count = nib_min(2, terms - t);
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            size_t term = nib_min(t + i, terms - 1);
            const uint8_t *codes = c->codes + term * c->stride;
            V by = v_set(c->by[term]);
            _mm_prefetch((const char *)codes + ROWS_AHEAD * c->stride, _MM_HINT_T0);
#pragma GCC unroll 4
            for (size_t v = 0; v < PANEL_VECTORS; v++)
                x[i][v] = scaled(codes + v * VN, by, divide, round);
        }
        put_terms(pack, x, count, panel, strip, t);
    }
}

void NIB_VARIANT(float8_back)(const nib_float8_column *c, size_t terms, nib_pack_kind pack,
                              void *panel, size_t strip)
{
    size_t bytes = strip * nib_pack_value_bytes(pack);

    if (c->divide) back(c, true, c->round, terms, pack, panel, bytes);
    else if (c->round == NIB_F32) back(c, false, NIB_F32, terms, pack, panel, bytes);
    else if (c->round == NIB_BF16) back(c, false, NIB_BF16, terms, pack, panel, bytes);
    else back(c, false, NIB_F16, terms, pack, panel, bytes);
}

/* --- dots --- */

enum { CHAINS = 4, CODES = CHAINS * VN, HALF = 32 }; /* HALF: of AVX-512's codes */

/* Codes as bits of float16 of 2^-8 times their values: a code is the upper byte of a word; moved
 * down by a bit its sign is twice there, and the copy goes.  NaN becomes a number. */
#if defined(__AVX512F__)
NIB_INLINE void values256th(const uint8_t *codes, size_t chains, V v[CHAINS])
{
#pragma GCC unroll 2
    for (size_t i = 0; i < chains; i += 2, codes += HALF) {
        W word = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)codes));
        W half = w_and(_mm512_slli_epi16(word, 7), w_set(0xbfffbfff));
        v[i] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 0));
        v[i + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
    }
}
NIB_INLINE W codes_at(const uint8_t *codes, size_t chains)
{
    return chains == CHAINS ? w_load(codes) : w_load_first(codes, 2);
}
NIB_INLINE W greater(W a, W b) { return _mm512_max_epu8(a, b); }
NIB_INLINE W twice(W bytes) { return _mm512_add_epi8(bytes, bytes); }
NIB_INLINE bool has(W bytes, uint8_t byte)
{
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8((char)byte)) != 0;
}
#else
NIB_INLINE void values256th(const uint8_t *codes, size_t chains, V v[CHAINS])
{
    const W zero = w_zero(), all = w_load(codes);

    (void)chains;
    for (size_t others = 0; others < 2; others++) { /* eight of each half */
        W word = others ? w_join_second(zero, all) : w_join_first(zero, all);
        W half = w_and(_mm256_srai_epi16(word, 1), w_set(0xbfffbfff));
        v[others] = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
        v[others + 2] = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
    }
}
NIB_INLINE W codes_at(const uint8_t *codes, size_t chains) { return (void)chains, w_load(codes); }
NIB_INLINE W greater(W a, W b) { return _mm256_max_epu8(a, b); }
NIB_INLINE W twice(W bytes) { return _mm256_add_epi8(bytes, bytes); }
NIB_INLINE bool has(W bytes, uint8_t byte)
{
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8((char)byte))) != 0;
}
#endif

/* Sums of one run, and what NaN is found by: codes twice, without their sign. */
typedef struct run_sums { V of[4][CHAINS]; W most; } run_sums;

/* += VN codes a chain times the rows of x. */
NIB_INLINE void add_codes(size_t M, size_t chains, const uint8_t *codes, const float *x, size_t n,
                          run_sums *s)
{
    V v[CHAINS];

    values256th(codes, chains, v);
    s->most = greater(s->most, twice(codes_at(codes, chains)));
#pragma GCC unroll 4
    for (size_t i = 0; i < chains; i++)
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            s->of[m][i] = v_fma(v[i], v_load(x + m * n + VN * i), s->of[m][i]);
}

NIB_INLINE void dot(size_t M, const nib_float8_row *r, const float *x, float *y, size_t ldy)
{
    run_sums s = { .most = w_zero() };
    V all[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) all[m] = v_zero();
    for (size_t begin = 0, run = 0; begin < r->n; begin += r->columns, run++) {
        size_t end = nib_min(begin + r->columns, r->n), i = begin;
        V by = v_set(r->by[run] * 256);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            for (size_t c = 0; c < CHAINS; c++) s.of[m][c] = v_zero();
        for (; i + CODES <= end; i += CODES) {
            fetch_ahead(r->codes + i);
            add_codes(M, CHAINS, r->codes + i, x + i, r->n, &s);
        }
        if (CODES > HALF && i < end) add_codes(M, CHAINS / 2, r->codes + i, x + i, r->n, &s);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            all[m] = v_fma(v_add(v_add(s.of[m][0], s.of[m][1]), v_add(s.of[m][2], s.of[m][3])), by,
                           all[m]);
    }
    for (size_t m = 0; m < M; m++) y[m * ldy] = has(s.most, 0xfe) ? NAN : v_sum(all[m]);
}

void NIB_VARIANT(float8_dot)(const nib_float8_row *r, size_t M, const float *x, float *y,
                             size_t ldy)
{
    NIB_WITH_ROWS(M, dot, r, x, y, ldy);
}
