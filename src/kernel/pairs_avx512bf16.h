/* pairs_avx512bf16.h - the three instructions of AVX512_BF16 that kernels use, or the same made of
 * AVX-512 (NIB_EMULATE_BF16): each *_avx512bf16.c is built both ways, so that machines that lack
 * them test it.
 *
 * The emulated product multiplies and adds the odd then the even member of each pair and flushes
 * nothing, so it equals the instruction but for subnormal values. */
#ifndef NIB_KERNEL_PAIRS_AVX512BF16_H
#define NIB_KERNEL_PAIRS_AVX512BF16_H

#include "kernel/simd.h"

#ifdef NIB_EMULATE_BF16
#define NIB_PAIRS_VARIANT(op) nib_##op##_avx512bf16emu
NIB_INLINE __m256i narrow(V x) { return v_to_bf16(x); }
NIB_INLINE __m512i narrow2(V high, V low)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(v_to_bf16(low)), v_to_bf16(high), 1);
}
NIB_INLINE V dot_pairs(V s, __m512i x, __m512i y)
{
    const __m512i top = _mm512_set1_epi32((int)0xffff0000u);
    V xo = _mm512_castsi512_ps(_mm512_and_si512(x, top)),
      xe = _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
    V yo = _mm512_castsi512_ps(_mm512_and_si512(y, top)),
      ye = _mm512_castsi512_ps(_mm512_slli_epi32(y, 16));
    return v_fma(xe, ye, v_fma(xo, yo, s));
}
#else
#define NIB_PAIRS_VARIANT(op) nib_##op##_avx512bf16
NIB_INLINE __m256i narrow(V x) { return (__m256i)_mm512_cvtneps_pbh(x); }
NIB_INLINE __m512i narrow2(V high, V low) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
NIB_INLINE V dot_pairs(V s, __m512i x, __m512i y)
{
    return _mm512_dpbf16_ps(s, (__m512bh)x, (__m512bh)y);
}
#endif

#endif
