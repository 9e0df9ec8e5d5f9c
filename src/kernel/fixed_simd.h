/* fixed_simd.h - a row of x in fixed point: the body of fixed_avx2.c and fixed_avx512.c, with
 * vectors of 32 bytes in both. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/words.h"

/* What a word of a block counts, NaN where a value is not finite. */
NIB_INLINE float step_of(const float *x)
{
    V most = v_zero();
    bool nan = false;
    float step;

    for (size_t i = 0; i < NIB_FIXED_BLOCK; i += VN) {
        V value = v_load(x + i);
        nan |= v_any_nan(value, value);
        most = v_max(most, v_abs(value));
    }
    step = fmaxf(v_greatest(most) * (1.0f / NIB_FIXED_MOST), 0x1p-100f);
    return nan || !isfinite(step) ? NAN : step;
}

/* Words of a block, in order. */
typedef struct block { __m256i half[2]; } block;

NIB_INLINE __m256i eight_of(const float *x, __m256 by)
{
    const __m256 most = _mm256_set1_ps(NIB_FIXED_MOST), least = _mm256_set1_ps(-NIB_FIXED_MOST);
    __m256 value = _mm256_mul_ps(_mm256_loadu_ps(x), by);

    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(value, least), most));
}

NIB_INLINE block words_of(const float *x, float step)
{
    __m256 by = _mm256_set1_ps(1 / step);
    block b = { { _mm256_setzero_si256(), _mm256_setzero_si256() } };

    if (isnan(step)) return b;
    for (size_t h = 0; h < 2; h++) {
        __m256i turned = _mm256_packs_epi32(eight_of(x + 16 * h, by), eight_of(x + 16 * h + 8, by));
        b.half[h] = _mm256_permute4x64_epi64(turned, 0xd8);
    }
    return b;
}

NIB_INLINE void put_sums(const block *b, float step, float *sums)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i two = _mm256_hadd_epi32(_mm256_madd_epi16(b->half[0], one),
                                    _mm256_madd_epi16(b->half[1], one));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
    int32_t sum[4];

    _mm_storeu_si128((__m128i *)(void *)sum, _mm_hadd_epi32(four, four));
    for (size_t h = 0; h < 2; h++) sums[h] = (float)sum[h] * step;
}

/* A block's even words, then its odd ones. */
NIB_INLINE block even_odd_of(const block *b)
{
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    __m256i half[2];

    for (size_t h = 0; h < 2; h++)
        half[h] = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(b->half[h], apart), 0xd8);
    return (block){ { _mm256_permute2x128_si256(half[0], half[1], 0x20),
                      _mm256_permute2x128_si256(half[0], half[1], 0x31) } };
}

NIB_INLINE void put(void *to, __m256i bytes) { _mm256_storeu_si256((__m256i *)to, bytes); }

/* The high bytes of 32 words, then, `run` bytes further on, their low ones. */
NIB_INLINE void put_bytes(__m256i a, __m256i b, size_t run, char *to)
{
    __m256i low[2] = { _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8),
                       _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8) };
    __m256i high[2] = { _mm256_srai_epi16(_mm256_sub_epi16(a, low[0]), 8),
                        _mm256_srai_epi16(_mm256_sub_epi16(b, low[1]), 8) };

    put(to, _mm256_permute4x64_epi64(_mm256_packs_epi16(high[0], high[1]), 0xd8));
    put(to + run, _mm256_permute4x64_epi64(_mm256_packs_epi16(low[0], low[1]), 0xd8));
}

/* One by one. */
static void put_places(nib_fixed_order order, const block *b, int16_t *to)
{
    int16_t words[NIB_FIXED_BLOCK];

    memcpy(words, b, sizeof words);
    for (size_t i = 0; i < NIB_FIXED_BLOCK; i++)
        nib_fixed_put(order, to, i, words[nib_fixed_place(order, i)]);
}

/* Two blocks of a unit of bytes, of which `run` belong together: 32, or 64 with two others. */
NIB_INLINE void put_pair(bool turns, const block b[2], size_t run, char *to)
{
    block turned[2];

    for (size_t i = 0; i < 2; i++) turned[i] = turns ? even_odd_of(&b[i]) : b[i];
    for (size_t h = 0; h < 2; h++)
        put_bytes(turned[0].half[h], turned[1].half[h], run, to + 2 * run * h);
}

/* A unit's blocks: one, two or four. */
NIB_INLINE void put_unit(nib_fixed_order order, const block b[4], int16_t *to)
{
    block turned[1];

    switch (order) {
    case NIB_FIXED_TURNS: case NIB_FIXED_HALVES:
        put_pair(order == NIB_FIXED_TURNS, b, 32, (char *)to);
        break;
    case NIB_FIXED_TURNS4:
        for (size_t i = 0; i < 2; i++) put_pair(true, b + 2 * i, 64, (char *)to + 32 * i);
        break;
    case NIB_FIXED_IN_ORDER: case NIB_FIXED_EVEN_ODD:
        turned[0] = order == NIB_FIXED_EVEN_ODD ? even_odd_of(b) : *b;
        for (size_t h = 0; h < 2; h++) put(to + NIB_FIXED_HALF * h, turned[0].half[h]);
        break;
    default: put_places(order, b, to);
    }
}

void NIB_VARIANT(arrange_fixed)(size_t n, nib_fixed_order order, const float *x, void *to)
{
    int16_t *words = to;
    float *steps = (float *)(void *)(words + n), *sums = steps + n / NIB_FIXED_BLOCK;
    size_t unit;

    for (size_t u = 0; u < n; u += unit) {
        block b[4];
        order = nib_fixed_order_of(order, n - u);
        unit = nib_fixed_unit(order);
        for (size_t i = 0; i < unit / NIB_FIXED_BLOCK; i++, steps++, sums += 2) {
            *steps = step_of(x + u + i * NIB_FIXED_BLOCK);
            b[i] = words_of(x + u + i * NIB_FIXED_BLOCK, *steps);
            put_sums(&b[i], *steps, sums);
        }
        put_unit(order, b, words + u);
    }
}
