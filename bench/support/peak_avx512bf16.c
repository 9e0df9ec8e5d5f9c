/* peak_avx512bf16.c - 28 independent chains of vdpbf16ps: 32 products a step. */
#include <immintrin.h>

#include "bench.h"

double bench_loop_avx512bf16(uint64_t rounds)
{
    __m512 s[28];
    __m512i x = _mm512_set1_epi32(0x3f803f80), y = _mm512_set1_epi32(0x38003800);

    for (int i = 0; i < 28; i++) s[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(x), "+v"(y));
#pragma GCC unroll 28
        for (int i = 0; i < 28; i++) s[i] = _mm512_dpbf16_ps(s[i], (__m512bh)x, (__m512bh)y);
    }
    for (int i = 1; i < 28; i++) s[0] = _mm512_add_ps(s[0], s[i]);
    return _mm512_reduce_add_ps(s[0]) > 0 ? (double)rounds * 28 * 64 : 0;
}
