/* decode4_avx512.c - 4-bit codes to float, sixteen a step: eight bytes are spread over the lanes,
 * each lane shifts its nibble down, one permute looks up all sixteen (it ignores the higher
 * bits). */
#include <immintrin.h>

#include "kernel/kernels.h"

void nib_decode4_avx512(const uint8_t *codes, size_t n, const float values[16], float *dst)
{
    const __m512 table = _mm512_loadu_ps(values);
    const __m512i shift = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28,
                                            24);
    const __m512i half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        __m512i eight = _mm512_castsi128_si512(
            _mm_loadl_epi64((const __m128i *)(const void *)(codes + i / 2)));
        __m512i code = _mm512_srlv_epi32(_mm512_permutexvar_epi32(half, eight), shift);
        _mm512_storeu_ps(dst + i, _mm512_permutexvar_ps(code, table));
    }
    nib_decode4_ref(codes + i / 2, n - i, values, dst + i);
}
