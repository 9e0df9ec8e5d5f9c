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

/* --- dots: 32 codes at a time, by vectors of 32 bytes in both variants --- */

enum { CODES = 32, CHAINS = 4 };

/* Of 32 codes the first or the other eight of each half, as bits of float16 of 2^-8 times their
 * values: a code is the upper byte of a word; moved down by a bit its sign is twice there, and the
 * copy goes.  NaN becomes a number. */
NIB_INLINE __m256i halves_of(__m256i codes, bool others)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i words = others ? _mm256_unpackhi_epi8(zero, codes) : _mm256_unpacklo_epi8(zero, codes);

    return _mm256_and_si256(_mm256_srai_epi16(words, 1), _mm256_set1_epi16((short)0xbfff));
}

/* sums[m] (+)= the codes times row m of x. */
NIB_INLINE void add_codes(size_t M, __m256i codes, const float *x, size_t n,
                          __m256 sums[4][CHAINS])
{
#pragma GCC unroll 4
    for (size_t i = 0; i < CHAINS; i++) {
        __m256i half = halves_of(codes, i % 2);
        __m256 v = _mm256_cvtph_ps(i / 2 ? _mm256_extracti128_si256(half, 1)
                                         : _mm256_castsi256_si128(half));
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            sums[m][i] = _mm256_fmadd_ps(v, _mm256_loadu_ps(x + m * n + 8 * i), sums[m][i]);
    }
}

NIB_INLINE void dot(size_t M, const nib_float8_row *r, const float *x, float *y, size_t ldy)
{
    __m256i most = _mm256_setzero_si256(); /* a code twice, without its sign */
    __m256 all[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) all[m] = _mm256_setzero_ps();
    for (size_t begin = 0, run = 0; begin < r->n; begin += r->columns, run++) {
        size_t end = nib_min(begin + r->columns, r->n);
        __m256 by = _mm256_set1_ps(r->by[run] * 256), sums[4][CHAINS];
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            for (size_t i = 0; i < CHAINS; i++) sums[m][i] = _mm256_setzero_ps();
        for (size_t i = begin; i < end; i += CODES) {
            __m256i codes = _mm256_loadu_si256((const __m256i *)(const void *)(r->codes + i));
            _mm_prefetch((const char *)r->codes + i + AHEAD, _MM_HINT_T0);
            most = _mm256_max_epu8(most, _mm256_add_epi8(codes, codes));
            add_codes(M, codes, x + i, r->n, sums);
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            all[m] = _mm256_fmadd_ps(_mm256_add_ps(_mm256_add_ps(sums[m][0], sums[m][1]),
                                                   _mm256_add_ps(sums[m][2], sums[m][3])),
                                     by, all[m]);
    }
    most = _mm256_cmpeq_epi8(most, _mm256_set1_epi8((char)0xfe)); /* NaN */
    for (size_t m = 0; m < M; m++)
        y[m * ldy] = _mm256_testz_si256(most, most) ? sum_of(all[m]) : NAN;
}

void NIB_VARIANT(float8_dot)(const nib_float8_row *r, size_t M, const float *x, float *y,
                             size_t ldy)
{
    NIB_WITH_ROWS(M, dot, r, x, y, ldy);
}
