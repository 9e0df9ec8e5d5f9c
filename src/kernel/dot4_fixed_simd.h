/* dot4_fixed_simd.h - 4-bit rows times x in fixed point: the body of dot4_fixed_avx2.c and
 * dot4_fixed_avx512.c, which split 64 codes into nibbles (split64).
 *
 * The table's values are words too, a shuffle for each of their two bytes: 64 codes take 8 shuffles
 * of 32 lanes where floats take 25 (dot4_avx2.c), and a product of words does twice the terms of
 * one of floats. */
#include "kernel/kernels.h"
#include "kernel/words.h"

enum { CODES = 64 / sizeof(W), PARTS = 2 * CODES }; /* vectors of 64 codes, and of their values */

typedef int16_t x_type;
typedef struct table {
    W low, high; /* bytes of the table's values, in every quarter */
    float unit;  /* what a word counts */
} table;
typedef struct values { W parts[PARTS]; } values;

/* By vectors, for a call is for few rows. */
NIB_INLINE table table_of(const float numbers[16])
{
    const __m128i bytes = _mm_set1_epi16(255);
    V size = v_zero();
    __m256 by;
    __m128i word[2];
    float most;

    for (size_t i = 0; i < 16; i += VN) size = v_max(size, v_abs(v_load(numbers + i)));
    most = v_greatest(size);
    by = _mm256_set1_ps(most > 0 ? NIB_FIXED4_MOST / most : 0);
    for (int i = 0; i < 2; i++) {
        __m256 half = _mm256_mul_ps(_mm256_loadu_ps(numbers + 8 * i), by);
        __m256i all = _mm256_cvtps_epi32(half);
        word[i] = _mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    }
    return (table){ .low = w_repeat(_mm_packus_epi16(_mm_and_si128(word[0], bytes),
                                                     _mm_and_si128(word[1], bytes))),
                    .high = w_repeat(_mm_packs_epi16(_mm_srai_epi16(word[0], 8),
                                                     _mm_srai_epi16(word[1], 8))),
                    .unit = most / NIB_FIXED4_MOST };
}

NIB_INLINE float unit_of(const table *t) { return t->unit; }

/* In the order that nib_arrange4_fixed gives x. */
NIB_INLINE values look_up64(const table *t, const uint8_t *codes)
{
    W nibbles[CODES];
    values v;

    split64(codes, nibbles);
    for (size_t i = 0; i < CODES; i++) {
        W low = w_shuffle(t->low, nibbles[i]), high = w_shuffle(t->high, nibbles[i]);
        v.parts[i] = w_join_first(low, high);
        v.parts[CODES + i] = w_join_second(low, high);
    }
    return v;
}

/* Exact, and within 32 bits by the choice of a block's step. */
NIB_INLINE V dot64(const values *v, const int16_t *x)
{
    W sum[PARTS];

    for (size_t i = 0; i < PARTS; i++)
        sum[i] = w_products(v->parts[i], w_load(x + i * sizeof(W) / sizeof *x));
    for (size_t half = PARTS / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++) sum[i] = w_add(sum[i], sum[i + half]);
    return w_to_floats(sum[0]);
}

NIB_INLINE float step_of_block(const int16_t *row, size_t blocks, size_t b)
{
    return nib_fixed4_steps(row, blocks)[b];
}

#include "kernel/dot4_simd.h"
DOT4_VARIANT(NIB_VARIANT(dot4_fixed))
