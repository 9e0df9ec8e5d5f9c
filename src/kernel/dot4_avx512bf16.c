/* dot4_avx512bf16.c - products of one row with low-bit rows in pairs of bfloat16.
 *
 * The table is rounded once, not the values of each block (a third of the work): sums of a block
 * are floats and its scale multiplies those.  The table lies twice in a vector of 32 words, so that
 * a lookup may ignore the bit above a nibble. */
#include "kernel/kernels.h"
#include "kernel/pairs_avx512bf16.h"
#include "kernel/words.h"

#ifdef NIB_EMULATE_BF16
nib_arrange4_bf16_fn NIB_PAIRS_VARIANT(arrange4_bf16); /* only the tests know them */
nib_dot4_bf16_fn NIB_PAIRS_VARIANT(dot4_bf16);
nib_dot_rows_bf16_fn NIB_PAIRS_VARIANT(dot_rows_bf16);
#endif

/* Even channels of 64 (high nibbles), then odd ones. */
void NIB_PAIRS_VARIANT(arrange4_bf16)(size_t n, const uint16_t *x, uint16_t *to)
{
    for (size_t g = 0; g < n; g += NIB_DOT4_BLOCK)
        for (size_t i = 0; i < 32; i++) {
            to[g + i] = x[g + 2 * i];
            to[g + 32 + i] = x[g + 2 * i + 1];
        }
}

typedef uint16_t x_type;
typedef struct table { __m512i twice; } table;
typedef struct values { __m512i even, odd; } values;

NIB_INLINE table table_of(const float numbers[16])
{
    __m256i once = narrow(v_load(numbers));
    return (table){ _mm512_inserti64x4(_mm512_castsi256_si512(once), once, 1) };
}

#include "kernel/dot4_unscaled.h"

NIB_INLINE values look_up64(const table *t, const uint8_t *codes)
{
    __m512i words = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)codes));
    return (values){ _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 4), t->twice),
                     _mm512_permutexvar_epi16(words, t->twice) };
}

NIB_INLINE V dot64(const values *v, const uint16_t *x)
{
    return dot_pairs(dot_pairs(v_zero(), v->even, _mm512_loadu_si512(x)), v->odd,
                     _mm512_loadu_si512(x + 32));
}

#include "kernel/dot4_simd.h"
DOT4_VARIANT(NIB_PAIRS_VARIANT(dot4_bf16))

void NIB_PAIRS_VARIANT(dot_rows_bf16)(size_t rows, size_t n, const uint16_t *w, size_t ld,
                                      const uint16_t *x, float *y)
{
    for (size_t r = 0; r < rows; r++, w += ld) {
        V s[2] = { v_zero(), v_zero() };
        size_t i = 0;
        float rest = 0;
        for (; i + 64 <= n; i += 64) {
            _mm_prefetch((const char *)(w + i) + AHEAD, _MM_HINT_T0);
            _mm_prefetch((const char *)(w + i) + AHEAD + 64, _MM_HINT_T0);
            s[0] = dot_pairs(s[0], _mm512_loadu_si512(w + i), _mm512_loadu_si512(x + i));
            s[1] = dot_pairs(s[1], _mm512_loadu_si512(w + i + 32), _mm512_loadu_si512(x + i + 32));
        }
        if (i + 32 <= n) {
            s[0] = dot_pairs(s[0], _mm512_loadu_si512(w + i), _mm512_loadu_si512(x + i));
            i += 32;
        }
        for (; i < n; i++) rest += nib_bf16_to_f32(w[i]) * nib_bf16_to_f32(x[i]);
        y[r] = v_sum(v_add(s[0], s[1])) + rest;
    }
}
