/* peak_avx2.c - 12 independent chains of multiply-adds of 8 floats; reading memory. */
#include <immintrin.h>

#include "bench.h"

double bench_loop_avx2(uint64_t rounds)
{
    __m256 s[12], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
    float sum[8];

    for (int i = 0; i < 12; i++) s[i] = _mm256_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(x), "+v"(y));
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) s[i] = _mm256_fmadd_ps(s[i], x, y);
    }
    for (int i = 1; i < 12; i++) s[0] = _mm256_add_ps(s[0], s[i]);
    _mm256_storeu_ps(sum, s[0]);
    return sum[0] > 0 ? (double)rounds * 12 * 16 : 0;
}

uint64_t bench_read_avx2(const void *bytes, size_t count)
{
    const char *p = bytes;
    __m256i s[8] = { 0 };
    uint64_t out[4];

    for (size_t i = 0; i + 256 <= count; i += 256) {
        _mm_prefetch(p + i + 4096, _MM_HINT_T0);
        _mm_prefetch(p + i + 4160, _MM_HINT_T0);
        _mm_prefetch(p + i + 4224, _MM_HINT_T0);
        _mm_prefetch(p + i + 4288, _MM_HINT_T0);
        for (size_t j = 0; j < 8; j++)
            s[j] = _mm256_xor_si256(
                s[j], _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32 * j)));
    }
    for (size_t j = 1; j < 8; j++) s[0] = _mm256_xor_si256(s[0], s[j]);
    _mm256_storeu_si256((__m256i *)(void *)out, s[0]);
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}
