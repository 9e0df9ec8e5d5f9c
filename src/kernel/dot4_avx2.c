/* dot4_avx2.c - products of one row with low-bit rows, 64 codes a step: 25 shuffles, which two of
 * the ports do, beside 9 multiply-adds. */
#include "kernel/kernels.h"
#include "kernel/planes_avx2.h"
#include "kernel/words.h"

typedef planes table;
typedef struct values { V high[4], low[4]; } values;

NIB_INLINE table table_of(const float numbers[16]) { return planes_of(numbers); }

NIB_INLINE values look_up64(const table *t, const uint8_t *codes)
{
    const W bytes = w_load(codes);
    values v;

    look_up32(t, high_nibbles(bytes), v.high);
    look_up32(t, low_nibbles(bytes), v.low);
    return v;
}

NIB_INLINE V dot64(const values *v, const float *x)
{
    V s[4];

    for (size_t i = 0; i < 4; i++) s[i] = v_mul(v->high[i], v_load(x + 8 * i));
    for (size_t i = 0; i < 4; i++) s[i] = v_fma(v->low[i], v_load(x + 32 + 8 * i), s[i]);
    return v_add(v_add(s[0], s[1]), v_add(s[2], s[3]));
}

#include "kernel/dot4_float_simd.h"

/* Which of 32 bytes lane i of the 32 values above is. */
static size_t order32(size_t i) { return i % 8 / 4 * 16 + i / 8 * 4 + i % 4; }

void nib_arrange4_avx2(size_t n, const float *x, float *to)
{
    for (size_t b = 0; b < n; b += NIB_DOT4_BLOCK)
        for (size_t i = 0; i < 32; i++) {
            to[b + i] = x[b + 2 * order32(i)]; /* high nibbles */
            to[b + 32 + i] = x[b + 2 * order32(i) + 1];
        }
}

/* Even channels of 16, then odd ones: a value in the upper half of a word pair is a float but for
 * what is below it. */
void nib_arrange_row_avx2(size_t n, const float *x, float *to)
{
    size_t whole = n / 16 * 16;

    for (size_t g = 0; g < whole; g += 16)
        for (size_t i = 0; i < 8; i++) {
            to[g + i] = x[g + 2 * i];
            to[g + 8 + i] = x[g + 2 * i + 1];
        }
    memcpy(to + whole, x + whole, (n - whole) * sizeof *to);
}

void nib_dot_rows_avx2(size_t rows, size_t n, const uint16_t *w, size_t ld, const float *x,
                       float *y)
{
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000u);

    for (size_t r = 0; r < rows; r++, w += ld) {
        V s[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
        size_t i = 0;
        float rest = 0;
        for (; i + 32 <= n; i += 32) {
            __m256i a = w_load(w + i);
            __m256i b = w_load(w + i + 16);
            _mm_prefetch((const char *)(w + i) + AHEAD, _MM_HINT_T0);
            s[0] = v_fma(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), v_load(x + i), s[0]);
            s[1] = v_fma(_mm256_castsi256_ps(_mm256_and_si256(a, upper)), v_load(x + i + 8), s[1]);
            s[2] = v_fma(_mm256_castsi256_ps(_mm256_slli_epi32(b, 16)), v_load(x + i + 16), s[2]);
            s[3] = v_fma(_mm256_castsi256_ps(_mm256_and_si256(b, upper)), v_load(x + i + 24), s[3]);
        }
        if (i + 16 <= n) {
            __m256i a = w_load(w + i);
            s[0] = v_fma(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), v_load(x + i), s[0]);
            s[1] = v_fma(_mm256_castsi256_ps(_mm256_and_si256(a, upper)), v_load(x + i + 8), s[1]);
            i += 16;
        }
        for (; i < n; i++) rest += nib_bf16_to_f32(w[i]) * x[i];
        y[r] = v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3]))) + rest;
    }
}
