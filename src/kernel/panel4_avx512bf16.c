/* panel4_avx512bf16.c - 4-bit codes into panels of bfloat16 pairs. */
#include "kernel/pairs_avx512bf16.h"
#include "kernel/panel4_avx512.h"

#ifdef NIB_EMULATE_BF16
nib_panel4_bf16_fn NIB_PAIRS_VARIANT(panel4_bf16); /* only the tests know them */
nib_panel4_back_bf16_fn NIB_PAIRS_VARIANT(panel4_back_bf16);
#endif

void NIB_PAIRS_VARIANT(panel4_bf16)(const nib_codes4 *c, size_t depth, uint16_t *panel,
                                    size_t strip)
{
    const V table = v_load(c->table);
    const __m512i pairs = _mm512_setr_epi32( /* words 0 and 16, 1 and 17, ... */
        0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
        0x180008, 0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f);

    for (size_t k = 0; k < depth; k += 32)
        for (size_t n = 0; n < NIB_PANEL; n += 16) {
            V scale = v_load(c->scales + k / c->block * NIB_PANEL + n);
            __m512i words[4];
            turn_codes(c->codes + n * c->stride + k / 2, c->stride, words);
#pragma GCC unroll 4
            for (unsigned j = 0; j < 4; j++)
#pragma GCC unroll 4
                for (unsigned i = 0; i < 8; i += 2) {
                    V even = v_mul(look_up(words[j], i, table), scale);
                    V odd = v_mul(look_up(words[j], i + 1, table), scale);
                    _mm512_storeu_si512(panel + n / NIB_STRIP * strip + (k + 8 * j + i) * NIB_STRIP,
                                        _mm512_permutexvar_epi16(pairs, narrow2(odd, even)));
                }
        }
}

/* The sixteen values of a row in bfloat16, twice: a lookup of words uses five bits of an index. */
NIB_INLINE __m512i row_table(V table, float scale)
{
    __m256i values = narrow(v_mul(table, v_set(scale)));
    return _mm512_inserti64x4(_mm512_castsi256_si512(values), values, 1);
}

/* 32 values of a row, ordered so that interleaving two rows gives columns 0 to 15 and 16 to 31. */
NIB_INLINE __m512i row_values(const uint8_t *codes, __m512i table)
{
    const __m512i bytes = _mm512_set_epi8(/* lane l: bytes 2l, 2l + 1 and 8 + 2l, 9 + 2l, each twice
                                             in 16 bits */
                                          15,
                                          15, 15, 15, 14, 14, 14, 14, 7, 7, 7, 7, 6, 6, 6, 6, 13,
                                          13, 13, 13, 12, 12, 12, 12, 5, 5, 5, 5, 4, 4, 4, 4, 11,
                                          11, 11, 11, 10, 10, 10, 10, 3, 3, 3, 3, 2, 2, 2, 2, 9, 9,
                                          9, 9, 8, 8, 8, 8, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m512i shift = _mm512_set1_epi32(4); /* even columns lie in the high nibble */
    __m512i spread = _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)codes)), bytes);
    return _mm512_permutexvar_epi16(_mm512_srlv_epi16(spread, shift), table);
}

void NIB_PAIRS_VARIANT(panel4_back_bf16)(const nib_codes4 *c, size_t rows, uint16_t *panel,
                                         size_t strip)
{
    const V table = v_load(c->table);

    for (size_t r = 0; r < rows; r += 2) {
        fetch_rows(c, r);
        __m512i even = row_values(c->codes + r * c->stride, row_table(table, c->scales[r]));
        __m512i odd = row_values(c->codes + (r + 1) * c->stride,
                                 row_table(table, c->scales[r + 1]));
        _mm512_storeu_si512(panel + r * NIB_STRIP, _mm512_unpacklo_epi16(even, odd));
        _mm512_storeu_si512(panel + strip + r * NIB_STRIP, _mm512_unpackhi_epi16(even, odd));
    }
}
