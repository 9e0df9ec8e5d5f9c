/* decode4_avx2.c - 4-bit codes to float, eight a step: a permute sees only the low three bits of an
 * index, so both halves of the table are looked up and the code's top bit chooses. */
#include <immintrin.h>

#include "kernel/kernels.h"

void nib_decode4_avx2(const uint8_t *codes, size_t n, const float values[16], float *dst)
{
    const __m256 low = _mm256_loadu_ps(values), high = _mm256_loadu_ps(values + 8);
    const __m256i shift = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        int32_t four; /* bytes: eight codes */
        __m256i code;
        memcpy(&four, codes + i / 2, sizeof four);
        code = _mm256_srlv_epi32(_mm256_set1_epi32(four), shift);
        _mm256_storeu_ps(dst + i,
                         _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code),
                                          _mm256_permutevar8x32_ps(high, code),
                                          _mm256_castsi256_ps(_mm256_slli_epi32(code, 28))));
    }
    nib_decode4_ref(codes + i / 2, n - i, values, dst + i);
}
