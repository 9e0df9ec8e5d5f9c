/* panel4_avx2.c - 4-bit codes into panels of floats, 32 codes a step.  There is no product of
 * bfloat16 pairs here. */
#include "kernel/kernels.h"
#include "kernel/planes_avx2.h"

enum { ROWS_AHEAD = 16 }; /* of codes: a row is a line or two here, far from the next */

NIB_INLINE void put(float *to, V x, V scale, bool rounded)
{
    x = v_mul(x, scale);
    v_store(to, rounded ? v_round_bf16(x) : x);
}

/* 16 bytes of 8 rows: in the halves of to[i], as words of 32 bits, bytes 4 i .. 4 i + 3, each of
 * rows 0 to 3 (and 4 to 7 in the upper half). */
NIB_INLINE void turn_rows(const uint8_t *p, size_t stride, __m256i to[4])
{
    __m256i r0 = two_rows(p, p + 4 * stride), r1 = two_rows(p + stride, p + 5 * stride);
    __m256i r2 = two_rows(p + 2 * stride, p + 6 * stride),
            r3 = two_rows(p + 3 * stride, p + 7 * stride);
    __m256i a = _mm256_unpacklo_epi8(r0, r1), b = _mm256_unpacklo_epi8(r2, r3);
    __m256i c = _mm256_unpackhi_epi8(r0, r1), d = _mm256_unpackhi_epi8(r2, r3);

    to[0] = _mm256_unpacklo_epi16(a, b);
    to[1] = _mm256_unpackhi_epi16(a, b);
    to[2] = _mm256_unpacklo_epi16(c, d);
    to[3] = _mm256_unpackhi_epi16(c, d);
}

/* Two bytes j, j + 1 of 16 rows, words [j: rows 0-3 | 8-11], [j + 1: ...] and, above, rows 4-7 |
 * 12-15: values k (high nibbles of j) and k + 2, or with the low nibbles k + 1 and k + 3. */
NIB_INLINE void two_bytes(const planes *p, __m256i bytes, V scale, V scale8, bool rounded,
                          float *to)
{
    V high[4], low[4];

    look_up32(p, high_nibbles(bytes), high);
    look_up32(p, low_nibbles(bytes), low);
    put(to, high[0], scale, rounded);
    put(to + 8, high[1], scale8, rounded);
    put(to + NIB_STRIP, low[0], scale, rounded);
    put(to + NIB_STRIP + 8, low[1], scale8, rounded);
    put(to + 2 * NIB_STRIP, high[2], scale, rounded);
    put(to + 2 * NIB_STRIP + 8, high[3], scale8, rounded);
    put(to + 3 * NIB_STRIP, low[2], scale, rounded);
    put(to + 3 * NIB_STRIP + 8, low[3], scale8, rounded);
}

NIB_INLINE void forward(const nib_codes4 *c, size_t depth, bool rounded, float *panel, size_t strip)
{
    const planes p = planes_of(c->table);

    for (size_t n = 0; n < NIB_PANEL; n += NIB_STRIP) {
        const uint8_t *rows = c->codes + n * c->stride;
        for (size_t i = 0; i < NIB_STRIP; i++) /* the next strip's, while this one is packed */
            for (size_t b = 0; b < depth / 2; b += 64)
                _mm_prefetch((const char *)rows + (NIB_STRIP + i) * c->stride + b, _MM_HINT_T0);
        for (size_t k = 0; k < depth; k += 32) {
            const float *scales = c->scales + k / c->block * NIB_PANEL + n;
            V scale = v_load(scales), scale8 = v_load(scales + 8);
            float *to = panel + n / NIB_STRIP * strip + k * NIB_STRIP;
            __m256i first[4], second[4];
            turn_rows(rows + k / 2, c->stride, first);
            turn_rows(rows + 8 * c->stride + k / 2, c->stride, second);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++, to += 8 * NIB_STRIP) {
                two_bytes(&p, _mm256_unpacklo_epi32(first[i], second[i]), scale, scale8, rounded,
                          to);
                two_bytes(&p, _mm256_unpackhi_epi32(first[i], second[i]), scale, scale8, rounded,
                          to + 4 * NIB_STRIP);
            }
        }
    }
}

void nib_panel4_f32_avx2(const nib_codes4 *c, size_t depth, bool rounded, float *panel,
                         size_t strip)
{
    if (rounded) forward(c, depth, true, panel, strip);
    else forward(c, depth, false, panel, strip);
}

/* Sixteen values of a row (lower halves) and of the next one. */
NIB_INLINE void put_rows(const V x[4], float *to, float *next)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        _mm_storeu_ps(to + 4 * i, _mm256_castps256_ps128(x[i]));
        _mm_storeu_ps(next + 4 * i, _mm256_extractf128_ps(x[i], 1));
    }
}

/* The table times the scales of two rows (a half each), rounded to bfloat16: the lower and the
 * upper bytes of its words.  Sixteen products serve the 32 values of each row. */
NIB_INLINE void rounded_planes(const float table[16], V scale, __m256i byte[2])
{
    const __m256i lower = _mm256_set1_epi16(0xff);
    __m256i word[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        V four = _mm256_broadcast_ps((const __m128 *)(const void *)(table + 4 * i));
        word[i] = _mm256_srli_epi32(v_bf16_bits(v_mul(four, scale)), 16);
    }
    word[0] = _mm256_packus_epi32(word[0], word[1]);
    word[1] = _mm256_packus_epi32(word[2], word[3]);
    byte[0] = _mm256_packus_epi16(_mm256_and_si256(word[0], lower),
                                  _mm256_and_si256(word[1], lower));
    byte[1] = _mm256_packus_epi16(_mm256_srli_epi16(word[0], 8), _mm256_srli_epi16(word[1], 8));
}

/* look_up32() of bfloat16 values, as floats. */
NIB_INLINE void look_up32_rounded(const __m256i byte[2], __m256i codes, V to[4])
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i b0 = _mm256_shuffle_epi8(byte[0], codes), b1 = _mm256_shuffle_epi8(byte[1], codes);
    __m256i low = _mm256_unpacklo_epi8(b0, b1), high = _mm256_unpackhi_epi8(b0, b1);

    to[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, low));
    to[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, low));
    to[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, high));
    to[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, high));
}

NIB_INLINE void backward(const nib_codes4 *c, size_t rows, bool rounded, float *panel, size_t strip)
{
    const planes p = planes_of(c->table);
    float spare[NIB_STRIP]; /* where the second of two rows goes when there is one left */

    for (size_t r = 0; r < rows; r += 2) {
        size_t other = nib_min(r + 1, rows - 1);
        const uint8_t *row = c->codes + r * c->stride;
        __m256i bytes = two_rows(row, c->codes + other * c->stride), high = high_nibbles(bytes),
                low = low_nibbles(bytes), scaled[2];
        V scale = _mm256_set_m128(_mm_set1_ps(c->scales[other]), _mm_set1_ps(c->scales[r])), x[4];
        float *to = panel + r * NIB_STRIP, *next = other > r ? to + NIB_STRIP : spare;

        _mm_prefetch((const char *)row + ROWS_AHEAD * c->stride, _MM_HINT_T0);
        _mm_prefetch((const char *)row + (ROWS_AHEAD + 1) * c->stride, _MM_HINT_T0);
        if (rounded) rounded_planes(c->table, scale, scaled);
#pragma GCC unroll 2
        for (size_t n = 0; n < 2; n++) { /* strips */
            __m256i codes = n ? _mm256_unpackhi_epi8(high, low) : _mm256_unpacklo_epi8(high, low);
            if (rounded) {
                look_up32_rounded(scaled, codes, x);
            } else {
                look_up32(&p, codes, x);
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) x[i] = v_mul(x[i], scale);
            }
            put_rows(x, to + n * strip, other > r ? next + n * strip : spare);
        }
    }
}

void nib_panel4_back_f32_avx2(const nib_codes4 *c, size_t rows, bool rounded, float *panel,
                              size_t strip)
{
    if (rounded) backward(c, rows, true, panel, strip);
    else backward(c, rows, false, panel, strip);
}
