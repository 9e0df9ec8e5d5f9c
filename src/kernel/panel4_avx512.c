/* panel4_avx512.c - 4-bit codes into panels of floats. */
#include "kernel/panel4_avx512.h"

NIB_INLINE void forward(const nib_codes4 *c, size_t depth, bool rounded, float *panel, size_t strip)
{
    const V table = v_load(c->table);

    for (size_t k = 0; k < depth; k += 32)
        for (size_t n = 0; n < NIB_PANEL; n += 16) {
            V scale = v_load(c->scales + k / c->block * NIB_PANEL + n);
            __m512i words[4];
            turn_codes(c->codes + n * c->stride + k / 2, c->stride, words);
#pragma GCC unroll 4
            for (unsigned j = 0; j < 4; j++)
#pragma GCC unroll 8
                for (unsigned i = 0; i < 8; i++) {
                    V x = v_mul(look_up(words[j], i, table), scale);
                    v_store(panel + n / NIB_STRIP * strip + (k + 8 * j + i) * NIB_STRIP,
                            rounded ? v_rounded(NIB_BF16, x) : x);
                }
        }
}

void nib_panel4_f32_avx512(const nib_codes4 *c, size_t depth, bool rounded, float *panel,
                           size_t strip)
{
    if (rounded) forward(c, depth, true, panel, strip);
    else forward(c, depth, false, panel, strip);
}

void nib_panel4_back_f32_avx512(const nib_codes4 *c, size_t rows, bool rounded, float *panel,
                                size_t strip)
{
    const V table = v_load(c->table);
    const __m512i shift = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28,
                                            24);
    const __m512i first = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(2));

    for (size_t r = 0; r < rows; r++) {
        __m512i codes = _mm512_castsi128_si512(
            _mm_loadu_si128((const __m128i *)(const void *)(c->codes + r * c->stride)));
        V scaled;
        if (r % 2 == 0) fetch_rows(c, r);
        scaled = v_mul(table, v_set(c->scales[r])); /* all sixteen values of the row at once */
        if (rounded) scaled = v_rounded(NIB_BF16, scaled);
        v_store(panel + r * NIB_STRIP,
                _mm512_permutexvar_ps(
                    _mm512_srlv_epi32(_mm512_permutexvar_epi32(first, codes), shift), scaled));
        v_store(panel + strip + r * NIB_STRIP,
                _mm512_permutexvar_ps(
                    _mm512_srlv_epi32(_mm512_permutexvar_epi32(second, codes), shift), scaled));
    }
}
