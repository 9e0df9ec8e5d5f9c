/* peak_avx512.c - 28 independent chains of multiply-adds of 16 floats. */
#include <immintrin.h>

#include "bench.h"

double bench_loop_avx512(uint64_t rounds)
{
    __m512 s[28], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);

    for (int i = 0; i < 28; i++) s[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(x), "+v"(y)); /* nothing may be known of them */
#pragma GCC unroll 28
        for (int i = 0; i < 28; i++) s[i] = _mm512_fmadd_ps(s[i], x, y);
    }
    for (int i = 1; i < 28; i++) s[0] = _mm512_add_ps(s[0], s[i]);
    return _mm512_reduce_add_ps(s[0]) > 0 ? (double)rounds * 28 * 32 : 0;
}
