/* dot4_fixed_avx2.c - x in fixed point, and the vectors of dot4_fixed_simd.h: two hold 64 codes. */
#include <float.h>
#include <math.h>

#include "kernel/planes_avx2.h"

enum { AHEAD = 2048 }; /* bytes that are fetched before they are read */
typedef __m256i W;
NIB_INLINE W w_load(const void *p) { return _mm256_loadu_si256((const W *)p); }
NIB_INLINE W w_repeat(__m128i bytes)
{
    return _mm256_broadcastsi128_si256(bytes);
}
NIB_INLINE void w_codes64(const uint8_t *bytes, W to[2])
{
    to[0] = high_nibbles(w_load(bytes));
    to[1] = low_nibbles(w_load(bytes));
}
NIB_INLINE W w_shuffle(W table, W codes) { return _mm256_shuffle_epi8(table, codes); }
NIB_INLINE W w_join_first(W low, W high) { return _mm256_unpacklo_epi8(low, high); }
NIB_INLINE W w_join_second(W low, W high) { return _mm256_unpackhi_epi8(low, high); }
NIB_INLINE W w_products(W a, W b) { return _mm256_madd_epi16(a, b); }
NIB_INLINE W w_add(W a, W b) { return _mm256_add_epi32(a, b); }
NIB_INLINE V w_to_floats(W a) { return _mm256_cvtepi32_ps(a); }

#include "kernel/dot4_fixed_simd.h"

/* Words that lie in one lane of sums, in either variant: four neighbours and the four that are 16
 * behind them, each with a product of up to NIB_FIXED4_MOST; half a unit of rounding each is left
 * room for, and what floats lose. */
#define LANE_MOST (float)(2 * NIB_FIXED4_MOST - 6)

/* What a word of the block counts: the least with which no word and no lane overflows.  NaN when a
 * value is not finite. */
static float step_of(const V x[8])
{
    V most = v_zero(), lanes[4], sums;

    for (size_t i = 0; i < 8; i++) most = v_max(most, v_abs(x[i]));
    for (size_t i = 0; i < 4; i++) {
        size_t at = i / 2 * 4 + i % 2;
        lanes[i] = v_add(v_abs(x[at]), v_abs(x[at + 2]));
    }
    sums = _mm256_hadd_ps(_mm256_hadd_ps(lanes[0], lanes[1]), _mm256_hadd_ps(lanes[2], lanes[3]));
    if (!isfinite(v_sum(sums))) return NAN;
    return fmaxf(fmaxf(v_greatest(most) / NIB_FIXED4_MOST, v_greatest(sums) / LANE_MOST), FLT_MIN);
}

/* Words of x[first .. first + 8) and of the 8 that are 32 behind them, a half each. */
NIB_INLINE W words16(const V x[8], size_t first, V by)
{
    W a = _mm256_cvtps_epi32(v_mul(x[first], by)), b = _mm256_cvtps_epi32(v_mul(x[first + 4], by));
    return _mm256_packs_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                              _mm256_permute2x128_si256(a, b, 0x31));
}

/* In each half even words, then odd ones. */
NIB_INLINE W divided(W all)
{
    const W order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    return _mm256_shuffle_epi8(all, order);
}

void nib_arrange4_fixed_avx2(size_t n, const float *x, int16_t *to)
{
    float *steps = (float *)(void *)(to + n);

    for (size_t b = 0; b < n / NIB_DOT4_BLOCK; b++, x += NIB_DOT4_BLOCK, to += NIB_DOT4_BLOCK) {
        V values[8], by;
        for (size_t i = 0; i < 8; i++) values[i] = v_load(x + 8 * i);
        steps[b] = step_of(values);
        by = v_set(1 / steps[b]);
        for (size_t i = 0; i < 2; i++) { /* channels 0 .. 16 and 32 .. 48, then the others */
            W first = divided(words16(values, 2 * i, by));
            W second = divided(words16(values, 2 * i + 1, by));
            _mm256_storeu_si256((W *)(void *)(to + 32 * i), _mm256_unpacklo_epi64(first, second));
            _mm256_storeu_si256((W *)(void *)(to + 32 * i + 16),
                                _mm256_unpackhi_epi64(first, second));
        }
    }
}
