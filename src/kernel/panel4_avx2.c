/* panel4_avx2.c - 4-bit codes into panels of floats, eight values a step.
 *
 * A permute sees only the low three bits of an index, so both halves of the table are looked up and
 * the code's top bit, moved to the sign, chooses.  There is no product of bfloat16 pairs here. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

typedef struct table16 { V low, high; } table16;

NIB_INLINE V choose(table16 t, __m256i low_bits, __m256i top_bit)
{
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.low, low_bits), _mm256_permutevar8x32_ps(t.high, low_bits),
                            _mm256_castsi256_ps(top_bit));
}

NIB_INLINE __m256i two_rows(const uint8_t *p, const uint8_t *q) /* 16 bytes of each */
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p)),
                                   _mm_loadu_si128((const __m128i *)(const void *)q), 1);
}

/* 32 values of 8 rows: words[j] holds, in lane r, the 4 bytes of row r's values 8 j .. 8 j + 7. */
NIB_INLINE void turn_codes(const uint8_t *p, size_t stride, __m256i words[4])
{
    __m256i a = two_rows(p, p + 4 * stride), b = two_rows(p + stride, p + 5 * stride);
    __m256i c = two_rows(p + 2 * stride, p + 6 * stride), d = two_rows(p + 3 * stride, p + 7 * stride);
    __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    __m256i ab_high = _mm256_unpackhi_epi32(a, b), cd_high = _mm256_unpackhi_epi32(c, d);

    words[0] = _mm256_unpacklo_epi64(ab, cd);
    words[1] = _mm256_unpackhi_epi64(ab, cd);
    words[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
    words[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

NIB_INLINE void forward(const nib_codes4 *c, size_t depth, bool rounded, float *panel, size_t strip)
{
    const table16 t = { v_load(c->table), v_load(c->table + 8) };

    for (size_t n = 0; n < NIB_PANEL; n += 8)
        for (size_t k = 0; k < depth; k += 32) {
            V scale = v_load(c->scales + k / c->block * NIB_PANEL + n);
            float *to = panel + n / NIB_STRIP * strip + k * NIB_STRIP + n % NIB_STRIP;
            __m256i words[4];
            turn_codes(c->codes + n * c->stride + k / 2, c->stride, words);
#pragma GCC unroll 4
            for (unsigned j = 0; j < 4; j++)
#pragma GCC unroll 8
                for (unsigned i = 0; i < 8; i++) {
                    unsigned shift = nib_nibble_shift(i);
                    V x = choose(t, _mm256_srli_epi32(words[j], (int)shift), _mm256_slli_epi32(words[j], 28 - (int)shift));
                    x = v_mul(x, scale);
                    v_store(to + (8 * j + i) * NIB_STRIP, rounded ? v_rounded(NIB_BF16, x) : x);
                }
        }
}

void nib_panel4_f32_avx2(const nib_codes4 *c, size_t depth, bool rounded, float *panel, size_t strip)
{
    if (rounded) forward(c, depth, true, panel, strip);
    else forward(c, depth, false, panel, strip);
}

NIB_INLINE void backward(const nib_codes4 *c, size_t rows, bool rounded, float *panel, size_t strip)
{
    const V low = v_load(c->table), high = v_load(c->table + 8);
    const __m256i down = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    const __m256i up = _mm256_sub_epi32(_mm256_set1_epi32(28), down);

    for (size_t r = 0; r < rows; r++) {
        V scale = v_set(c->scales[r]);
        table16 t = { v_mul(low, scale), v_mul(high, scale) }; /* all sixteen values of the row at once */
        if (rounded) t = (table16){ v_rounded(NIB_BF16, t.low), v_rounded(NIB_BF16, t.high) };
#pragma GCC unroll 4
        for (size_t n = 0; n < NIB_PANEL; n += 8) {
            int32_t eight;
            memcpy(&eight, c->codes + r * c->stride + n / 2, sizeof eight);
            __m256i words = _mm256_set1_epi32(eight);
            v_store(panel + n / NIB_STRIP * strip + r * NIB_STRIP + n % NIB_STRIP,
                    choose(t, _mm256_srlv_epi32(words, down), _mm256_sllv_epi32(words, up)));
        }
    }
}

void nib_panel4_back_f32_avx2(const nib_codes4 *c, size_t rows, bool rounded, float *panel, size_t strip)
{
    if (rounded) backward(c, rows, true, panel, strip);
    else backward(c, rows, false, panel, strip);
}
