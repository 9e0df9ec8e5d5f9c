/* dot4_avx512.c - products of one row with low-bit rows, 64 codes a step: a permute looks up
 * sixteen codes and ignores the bits above a nibble. */
#include "kernel/kernels.h"
#include "kernel/words.h"

/* Bytes in order: even channels of 32 (high nibbles), then odd ones. */
void nib_arrange4_avx512(size_t n, const float *x, float *to)
{
    for (size_t g = 0; g < n; g += 32)
        for (size_t i = 0; i < 16; i++) {
            to[g + i] = x[g + 2 * i];
            to[g + 16 + i] = x[g + 2 * i + 1];
        }
}

NIB_INLINE __m512i bytes16(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

typedef V table;
typedef struct values { V high[2], low[2]; } values;

NIB_INLINE table table_of(const float numbers[16]) { return v_load(numbers); }

NIB_INLINE values look_up64(const table *t, const uint8_t *codes)
{
    const __m512i first = bytes16(codes), second = bytes16(codes + 16);

    return (values){ { _mm512_permutexvar_ps(_mm512_srli_epi32(first, 4), *t),
                       _mm512_permutexvar_ps(_mm512_srli_epi32(second, 4), *t) },
                     { _mm512_permutexvar_ps(first, *t),
                       _mm512_permutexvar_ps(second, *t) } };
}

NIB_INLINE V dot64(const values *v, const float *x)
{
    V s = v_mul(v->high[0], v_load(x)), t = v_mul(v->low[0], v_load(x + 16));

    return v_add(v_fma(v->high[1], v_load(x + 32), s), v_fma(v->low[1], v_load(x + 48), t));
}

#include "kernel/dot4_float_simd.h"

/* Even channels of 32, then odd ones. */
void nib_arrange_row_avx512(size_t n, const float *x, float *to)
{
    size_t whole = n / 32 * 32;

    nib_arrange4_avx512(whole, x, to);
    memcpy(to + whole, x + whole, (n - whole) * sizeof *to);
}

void nib_dot_rows_avx512(size_t rows, size_t n, const uint16_t *w, size_t ld, const float *x,
                         float *y)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);

    for (size_t r = 0; r < rows; r++, w += ld) {
        V s[2] = { v_zero(), v_zero() };
        size_t i = 0;
        float rest = 0;
        for (; i + 32 <= n; i += 32) {
            __m512i a = _mm512_loadu_si512(w + i);
            _mm_prefetch((const char *)(w + i) + AHEAD, _MM_HINT_T0);
            s[0] = v_fma(_mm512_castsi512_ps(_mm512_slli_epi32(a, 16)), v_load(x + i), s[0]);
            s[1] = v_fma(_mm512_castsi512_ps(_mm512_and_si512(a, upper)), v_load(x + i + 16), s[1]);
        }
        for (; i < n; i++) rest += nib_bf16_to_f32(w[i]) * x[i];
        y[r] = v_sum(v_add(s[0], s[1])) + rest;
    }
}
