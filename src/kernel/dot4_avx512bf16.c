/* dot4_avx512bf16.c - products of one row with low-bit rows in pairs of bfloat16.
 *
 * The sixteen values of a block are made once, rounded, and lie twice in a vector of 32 words, so
 * that a lookup may ignore the bit above a nibble. */
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

NIB_INLINE void dot4(size_t M, const nib_dot4 *d, const uint16_t *x, size_t ldx, bool nested,
                     float *y, size_t ldy)
{
    const V table = v_load(d->table);
    const uint8_t *codes = d->codes;
    size_t block = 0;

    for (size_t r = 0; r < d->rows; r++) {
        V even[NIB_DOT_ROWS], odd[NIB_DOT_ROWS];
        for (size_t m = 0; m < M; m++) even[m] = odd[m] = v_zero();
        for (size_t b = 0; b < d->blocks; b++, block++, codes += 32) {
            __m256i values = narrow(v_mul(table, v_set(nib_dot4_scale(d, nested, block))));
            __m512i twice = _mm512_inserti64x4(_mm512_castsi256_si512(values), values, 1);
            __m512i words = _mm512_cvtepu8_epi16(
                _mm256_loadu_si256((const __m256i *)(const void *)codes));
            __m512i high = _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 4), twice),
                    low = _mm512_permutexvar_epi16(words, twice);
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            for (size_t m = 0; m < M; m++) {
                const uint16_t *at = x + m * ldx + b * NIB_DOT4_BLOCK;
                even[m] = dot_pairs(even[m], high, _mm512_loadu_si512(at));
                odd[m] = dot_pairs(odd[m], low, _mm512_loadu_si512(at + 32));
            }
        }
        for (size_t m = 0; m < M; m++) y[m * ldy + r] = v_sum(v_add(even[m], odd[m]));
    }
}

void NIB_PAIRS_VARIANT(dot4_bf16)(const nib_dot4 *d, size_t M, const uint16_t *x, size_t ldx,
                                  float *y, size_t ldy)
{
    if (d->scales) NIB_WITH_ROWS(M, dot4, d, x, ldx, false, y, ldy);
    else NIB_WITH_ROWS(M, dot4, d, x, ldx, true, y, ldy);
}

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
