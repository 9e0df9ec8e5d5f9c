/* dot4_fixed_avx2.c - dot4_fixed_simd.h for its vectors, of which two hold 64 codes; and x in fixed
 * point, for both variants. */
#include <math.h>

#include "kernel/planes_avx2.h"
#include "kernel/words.h"

NIB_INLINE void split64(const uint8_t *bytes, W nibbles[2])
{
    nibbles[0] = high_nibbles(w_load(bytes));
    nibbles[1] = low_nibbles(w_load(bytes));
}

#include "kernel/dot4_fixed_simd.h"

/* In a lane of sums lie the products of eight words of x, four neighbours and the four that are 16
 * behind them (of half of these with AVX-512), with words of the table of up to NIB_FIXED4_MOST.
 * 2^31 - 1 is 2 NIB_FIXED4_MOST + 4 times that; the rounding of eight words takes 4 of them, and
 * some are left for what sums of floats lose. */
static const float LANE_MOST = 2 * NIB_FIXED4_MOST - 6;
/* A step below would make products with scales subnormal, which take many times as long. */
static const float LEAST_STEP = 0x1p-100f;

/* What a word of the block counts: the least with which no word and no lane overflows.  NaN when a
 * value is not finite or the sum of all is not. */
static float step_of(const V x[8])
{
    V most = v_zero(), lanes[4], sums;
    float step;

    for (size_t i = 0; i < 8; i++) most = v_max(most, v_abs(x[i]));
    for (size_t i = 0; i < 4; i++) {
        size_t at = i / 2 * 4 + i % 2;
        lanes[i] = v_add(v_abs(x[at]), v_abs(x[at + 2]));
    }
    sums = _mm256_hadd_ps(_mm256_hadd_ps(lanes[0], lanes[1]), _mm256_hadd_ps(lanes[2], lanes[3]));
    if (!isfinite(v_sum(sums))) return NAN;
    step = fmaxf(v_greatest(most) / NIB_FIXED4_MOST, v_greatest(sums) / LANE_MOST);
    return fmaxf(step, LEAST_STEP);
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
        V block[8], by;
        for (size_t i = 0; i < 8; i++) block[i] = v_load(x + 8 * i);
        steps[b] = step_of(block);
        by = v_set(1 / steps[b]);
        for (size_t i = 0; i < 2; i++) { /* channels 0 .. 16 and 32 .. 48, then the others */
            W first = divided(words16(block, 2 * i, by));
            W second = divided(words16(block, 2 * i + 1, by));
            _mm256_storeu_si256((W *)(void *)(to + 32 * i), _mm256_unpacklo_epi64(first, second));
            _mm256_storeu_si256((W *)(void *)(to + 32 * i + 16),
                                _mm256_unpackhi_epi64(first, second));
        }
    }
}
