/* dot8_simd.h - values to 8-bit codes: the body of dot8_avx2.c and dot8_avx512.c. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

/* The first n bytes of VN codes, numbers -127 to 127 yet. */
NIB_INLINE void put_codes(uint8_t *to, V code, size_t n)
{
    uint8_t bytes[16];
#if defined(__AVX512F__)
    __m512i integer = _mm512_add_epi32(_mm512_cvtps_epi32(code), _mm512_set1_epi32(NIB_DOT8_ZERO));
    _mm_storeu_si128((__m128i *)(void *)bytes, _mm512_cvtepi32_epi8(integer));
#else
    __m256i integer = _mm256_add_epi32(_mm256_cvtps_epi32(code), _mm256_set1_epi32(NIB_DOT8_ZERO));
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(integer),
                                     _mm256_extracti128_si256(integer, 1));
    _mm_storeu_si128((__m128i *)(void *)bytes, _mm_packus_epi16(words, words));
#endif
    memcpy(to, bytes, n);
}

nib_encoded8 NIB_VARIANT(encode8)(size_t n, const float *x, uint8_t *codes)
{
    V most = v_zero(), error = v_zero(), by, step;
    float scale;

    for (size_t i = 0; i < n; i += VN)
        most = v_max(most, v_abs(v_get(NIB_F32, x, i, nib_min(VN, n - i))));
    scale = v_greatest(most) / 127;
    step = v_set(scale);
    by = v_set(scale > 0 ? 1 / scale : 0);
    for (size_t i = 0; i < n; i += VN) {
        size_t count = nib_min(VN, n - i);
        V value = v_get(NIB_F32, x, i, count);
        V code = v_round(v_min(v_set(127), v_max(v_set(-127), v_mul(value, by))));
        V rest = v_sub(value, v_mul(code, step));
        put_codes(codes + i, code, count);
        error = v_fma(rest, rest, error);
    }
    return (nib_encoded8){ scale, (double)v_sum(error) };
}
