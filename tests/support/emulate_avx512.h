/* emulate_avx512.h - the AVX-512 intrinsics that nibble's kernels use, on a machine with AVX2.
 *
 * `make EMULATE=avx512` puts this header before every *_avx512.c and *_avx512bf16.c, so that their
 * text is tested as it stands where the instructions are missing.  A vector is a union of two AVX2
 * halves and of its lanes; each function does what the "Operation" of its intrinsic says in Intel's
 * guide (intel.com/content/www/us/en/docs/intrinsics-guide), by halves where AVX2 has the same
 * instruction, else lane by lane.  What the guide leaves undefined is filled with POISON, so that a
 * kernel that relies on it fails.  An intrinsic that is missing here does not compile: add it.
 *
 * The compilers' immintrin.h would declare the same names: only its parts up to AVX2 are included,
 * under the guards by which gcc and clang know that it is there already. */
#ifndef NIB_TESTS_EMULATE_AVX512_H
#define NIB_TESTS_EMULATE_AVX512_H

#define _IMMINTRIN_H_INCLUDED /* gcc */
#define __IMMINTRIN_H         /* clang */
#include <nmmintrin.h>

#include <avxintrin.h>

#include <avx2intrin.h>
#include <f16cintrin.h>
#include <fmaintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define __AVX512F__ 1 /* what kernel/simd.h and its kind choose by */

typedef uint16_t __mmask16;
typedef uint64_t __mmask64;
typedef union __m512 { __m256 half[2]; float f32[16]; } __m512;
typedef union __m512i {
    __m256i half[2];
    __m128i quarter[4];
    uint8_t u8[64];
    uint16_t u16[32];
    uint32_t u32[16];
} __m512i;
typedef __m512i __m512bh; /* a cast between vectors of integers and of bfloat16 is none here */
typedef __m256i __m256bh;
typedef union nib_lanes256 { __m256i whole; uint16_t u16[16]; } nib_lanes256;

#define EMULATED static inline __attribute__((always_inline))
enum { POISON = 0xa5 };

/* --- the same instruction on both halves --- */

#define BY_HALVES_1(type, name)                                                                    \
    EMULATED type _mm512_##name(type a)                                                            \
    {                                                                                              \
        return (type){ { _mm256_##name(a.half[0]), _mm256_##name(a.half[1]) } };                   \
    }
#define BY_HALVES_2(type, name)                                                                    \
    EMULATED type _mm512_##name(type a, type b)                                                    \
    {                                                                                              \
        return (type){ { _mm256_##name(a.half[0], b.half[0]),                                      \
                         _mm256_##name(a.half[1], b.half[1]) } };                                  \
    }
#define BY_HALVES_COUNT(name)                                                                      \
    EMULATED __m512i _mm512_##name(__m512i a, unsigned count)                                      \
    {                                                                                              \
        return (__m512i){ { _mm256_##name(a.half[0], (int)count),                                  \
                            _mm256_##name(a.half[1], (int)count) } };                              \
    }

BY_HALVES_1(__m512, sqrt_ps)
BY_HALVES_1(__m512i, abs_epi8)
BY_HALVES_2(__m512, add_ps)
BY_HALVES_2(__m512, sub_ps)
BY_HALVES_2(__m512, mul_ps)
BY_HALVES_2(__m512, div_ps)
BY_HALVES_2(__m512, max_ps)
BY_HALVES_2(__m512, min_ps)
BY_HALVES_2(__m512i, add_epi32)
BY_HALVES_2(__m512i, madd_epi16)
BY_HALVES_2(__m512i, add_epi16)
BY_HALVES_2(__m512i, maddubs_epi16)
BY_HALVES_2(__m512i, max_epu32)
BY_HALVES_2(__m512i, srlv_epi32)
BY_HALVES_2(__m512i, shuffle_epi8)
BY_HALVES_2(__m512i, unpacklo_epi8)
BY_HALVES_2(__m512i, unpackhi_epi8)
BY_HALVES_2(__m512i, add_epi8)
BY_HALVES_2(__m512i, max_epu8)
BY_HALVES_2(__m512i, unpacklo_epi16)
BY_HALVES_2(__m512i, unpackhi_epi16)
BY_HALVES_2(__m512i, unpacklo_epi32)
BY_HALVES_2(__m512i, unpackhi_epi32)
BY_HALVES_2(__m512i, unpacklo_epi64)
BY_HALVES_2(__m512i, unpackhi_epi64)
BY_HALVES_COUNT(slli_epi32)
BY_HALVES_COUNT(srli_epi32)

/* A macro: the count is a constant without optimization as well. */
#define _mm512_shuffle_ps(a, b, imm)                                                               \
    ((__m512){ { _mm256_shuffle_ps((a).half[0], (b).half[0], imm),                                 \
                 _mm256_shuffle_ps((a).half[1], (b).half[1], imm) } })

EMULATED __m512i _mm512_and_si512(__m512i a, __m512i b)
{
    return (__m512i){ { _mm256_and_si256(a.half[0], b.half[0]),
                        _mm256_and_si256(a.half[1], b.half[1]) } };
}
EMULATED __m512i _mm512_or_si512(__m512i a, __m512i b)
{
    return (__m512i){ { _mm256_or_si256(a.half[0], b.half[0]),
                        _mm256_or_si256(a.half[1], b.half[1]) } };
}
EMULATED __m512i _mm512_xor_si512(__m512i a, __m512i b)
{
    return (__m512i){ { _mm256_xor_si256(a.half[0], b.half[0]),
                        _mm256_xor_si256(a.half[1], b.half[1]) } };
}
EMULATED __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    return (__m512){ { _mm256_fmadd_ps(a.half[0], b.half[0], c.half[0]),
                       _mm256_fmadd_ps(a.half[1], b.half[1], c.half[1]) } };
}
EMULATED __m512i _mm512_cvtps_epi32(__m512 a)
{
    return (__m512i){ { _mm256_cvtps_epi32(a.half[0]), _mm256_cvtps_epi32(a.half[1]) } };
}
EMULATED __m512 _mm512_cvtepi32_ps(__m512i a)
{
    return (__m512){ { _mm256_cvtepi32_ps(a.half[0]), _mm256_cvtepi32_ps(a.half[1]) } };
}
EMULATED __m256 _mm512_castps512_ps256(__m512 a) { return a.half[0]; }
EMULATED __m256i _mm512_extracti64x4_epi64(__m512i a, int i) { return a.half[i]; }
EMULATED __m256 _mm512_extractf32x8_ps(__m512 a, int i) { return a.half[i]; }
EMULATED __m512 _mm512_castps256_ps512(__m256 a)
{
    __m512 r;
    memset(&r, POISON, sizeof r);
    r.half[0] = a;
    return r;
}
EMULATED __m512 _mm512_insertf32x8(__m512 a, __m256 b, int i)
{
    a.half[i] = b;
    return a;
}
EMULATED __m512i _mm512_cvttps_epi32(__m512 a)
{
    return (__m512i){ { _mm256_cvttps_epi32(a.half[0]), _mm256_cvttps_epi32(a.half[1]) } };
}
EMULATED __m512 _mm512_cvtph_ps(__m256i a)
{
    return (__m512){ { _mm256_cvtph_ps(_mm256_castsi256_si128(a)),
                       _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)) } };
}
EMULATED __m512i _mm512_cvtepu16_epi32(__m256i a)
{
    return (__m512i){ { _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                        _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)) } };
}
EMULATED __m512i _mm512_cvtepu8_epi16(__m256i a)
{
    return (__m512i){ { _mm256_cvtepu8_epi16(_mm256_castsi256_si128(a)),
                        _mm256_cvtepu8_epi16(_mm256_extracti128_si256(a, 1)) } };
}
EMULATED __m512i _mm512_cvtepi8_epi16(__m256i a)
{
    return (__m512i){ { _mm256_cvtepi8_epi16(_mm256_castsi256_si128(a)),
                        _mm256_cvtepi8_epi16(_mm256_extracti128_si256(a, 1)) } };
}
EMULATED __m512i _mm512_slli_epi16(__m512i a, unsigned by)
{
    return (__m512i){ { _mm256_slli_epi16(a.half[0], (int)by),
                        _mm256_slli_epi16(a.half[1], (int)by) } };
}
EMULATED __m512i _mm512_srli_epi16(__m512i a, unsigned by)
{
    return (__m512i){ { _mm256_srli_epi16(a.half[0], (int)by),
                        _mm256_srli_epi16(a.half[1], (int)by) } };
}
EMULATED __m512i _mm512_cvtepu8_epi32(__m128i a)
{
    return (__m512i){ { _mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)) } };
}
EMULATED __m512i _mm512_cvtepi8_epi32(__m128i a)
{
    return (__m512i){ { _mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)) } };
}
EMULATED __mmask64 _mm512_movepi8_mask(__m512i a)
{
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(a.half[1]) << 32 |
           (uint32_t)_mm256_movemask_epi8(a.half[0]);
}
EMULATED __mmask64 _mm512_cmpeq_epi8_mask(__m512i a, __m512i b)
{
    return _mm512_movepi8_mask((__m512i){ { _mm256_cmpeq_epi8(a.half[0], b.half[0]),
                                            _mm256_cmpeq_epi8(a.half[1], b.half[1]) } });
}
EMULATED __m512i _mm512_set1_epi8(char a)
{
    return (__m512i){ { _mm256_set1_epi8(a), _mm256_set1_epi8(a) } };
}
EMULATED __m512i _mm512_mask_sub_epi8(__m512i otherwise, __mmask64 mask, __m512i a, __m512i b)
{
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1) otherwise.u8[i] = (uint8_t)(a.u8[i] - b.u8[i]);
    return otherwise;
}
/* Immediates must reach the instruction as constants: macros, whose arguments are read twice. */
#define _mm512_cvtps_ph(a, how)                                                                \
    _mm256_set_m128i(_mm256_cvtps_ph((a).half[1], how), _mm256_cvtps_ph((a).half[0], how))
#define _mm512_cmp_ps_mask(a, b, predicate)                                                    \
    ((__mmask16)(_mm256_movemask_ps(_mm256_cmp_ps((a).half[0], (b).half[0], predicate)) |      \
                 _mm256_movemask_ps(_mm256_cmp_ps((a).half[1], (b).half[1], predicate)) << 8))
/* Rounds to a multiple of 2^-(how >> 4): whole numbers only. */
#define _mm512_roundscale_ps(a, how)                                                           \
    ((__m512){ { _mm256_round_ps((a).half[0], (how)), _mm256_round_ps((a).half[1], (how)) } })

/* --- constants, casts, memory --- */

EMULATED __m512 _mm512_set1_ps(float x)
{
    return (__m512){ { _mm256_set1_ps(x), _mm256_set1_ps(x) } };
}
EMULATED __m512 _mm512_setzero_ps(void) { return _mm512_set1_ps(0); }
EMULATED __m512i _mm512_set1_epi16(short a)
{
    return (__m512i){ { _mm256_set1_epi16(a), _mm256_set1_epi16(a) } };
}
EMULATED __m512i _mm512_set1_epi32(int x)
{
    return (__m512i){ { _mm256_set1_epi32(x), _mm256_set1_epi32(x) } };
}
EMULATED __m512i _mm512_setzero_si512(void) { return _mm512_set1_epi32(0); }
EMULATED __m512i _mm512_broadcast_i32x4(__m128i a)
{
    return (__m512i){ { _mm256_broadcastsi128_si256(a), _mm256_broadcastsi128_si256(a) } };
}
#define _mm512_setr_epi32(...) ((__m512i){ .u32 = { __VA_ARGS__ } })
EMULATED __m512i nib_reversed_epi8(__m512i a)
{
    __m512i r;
    for (int i = 0; i < 64; i++) r.u8[i] = a.u8[63 - i];
    return r;
}
/* the highest first */
#define _mm512_set_epi8(...) nib_reversed_epi8((__m512i){ .u8 = { __VA_ARGS__ } })

EMULATED __m512 _mm512_castsi512_ps(__m512i a)
{
    return (__m512){ { _mm256_castsi256_ps(a.half[0]), _mm256_castsi256_ps(a.half[1]) } };
}
EMULATED __m512i _mm512_castps_si512(__m512 a)
{
    return (__m512i){ { _mm256_castps_si256(a.half[0]), _mm256_castps_si256(a.half[1]) } };
}
EMULATED __m512i _mm512_castsi256_si512(__m256i a) /* above: undefined */
{
    return (__m512i){ { a, _mm256_set1_epi8((char)POISON) } };
}
EMULATED __m512i _mm512_castsi128_si512(__m128i a) /* above: undefined */
{
    __m512i r = _mm512_castsi256_si512(_mm256_set1_epi8((char)POISON));
    r.quarter[0] = a;
    return r;
}
EMULATED __m512i _mm512_inserti32x4(__m512i a, __m128i b, int at)
{
    a.quarter[at & 3] = b;
    return a;
}
EMULATED __m512i _mm512_broadcast_i64x4(__m256i a) { return (__m512i){ { a, a } }; }
EMULATED __m512 _mm512_broadcast_f32x8(__m256 a) { return (__m512){ { a, a } }; }
EMULATED __m512i _mm512_inserti64x4(__m512i a, __m256i b, int at)
{
    a.half[at & 1] = b;
    return a;
}

EMULATED __m512 _mm512_loadu_ps(const void *p)
{
    return (__m512){ { _mm256_loadu_ps((const float *)p), _mm256_loadu_ps((const float *)p + 8) } };
}
EMULATED void _mm512_storeu_ps(void *p, __m512 a)
{
    _mm256_storeu_ps((float *)p, a.half[0]);
    _mm256_storeu_ps((float *)p + 8, a.half[1]);
}
EMULATED __m512i _mm512_loadu_si512(const void *p)
{
    return (__m512i){ { _mm256_loadu_si256((const __m256i *)p),
                        _mm256_loadu_si256((const __m256i *)p + 1) } };
}
EMULATED void _mm512_storeu_si512(void *p, __m512i a)
{
    _mm256_storeu_si256((__m256i *)p, a.half[0]);
    _mm256_storeu_si256((__m256i *)p + 1, a.half[1]);
}

/* --- under a mask: bit i is lane i; memory of other lanes is not touched --- */

EMULATED __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void *p)
{
    __m512 r = _mm512_setzero_ps();
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy(&r.f32[i], (const float *)p + i, sizeof(float));
    return r;
}
EMULATED __m512i _mm512_maskz_loadu_epi32(__mmask16 k, const void *p)
{
    return _mm512_castps_si512(_mm512_maskz_loadu_ps(k, p));
}
EMULATED void _mm512_mask_storeu_ps(void *p, __mmask16 k, __m512 a)
{
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy((float *)p + i, &a.f32[i], sizeof(float));
}
EMULATED __m256i _mm256_maskz_loadu_epi16(__mmask16 k, const void *p)
{
    nib_lanes256 r = { _mm256_setzero_si256() };
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy(&r.u16[i], (const uint16_t *)p + i, sizeof(uint16_t));
    return r.whole;
}
EMULATED void _mm256_mask_storeu_epi16(void *p, __mmask16 k, __m256i a)
{
    nib_lanes256 lanes = { a };
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy((uint16_t *)p + i, &lanes.u16[i], sizeof(uint16_t));
}
EMULATED __m512 _mm512_maskz_mov_ps(__mmask16 k, __m512 a)
{
    for (int i = 0; i < 16; i++)
        if (!(k >> i & 1)) a.f32[i] = 0;
    return a;
}
EMULATED __m512i _mm512_mask_add_epi32(__m512i src, __mmask16 k, __m512i a, __m512i b)
{
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) src.u32[i] = a.u32[i] + b.u32[i];
    return src;
}
EMULATED __m512 _mm512_mask_blend_ps(__mmask16 k, __m512 no, __m512 yes)
{
    float to[16], from[16];
    _mm512_storeu_ps(to, no);
    _mm512_storeu_ps(from, yes);
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) to[i] = from[i];
    return _mm512_loadu_ps(to);
}
EMULATED __m512i _mm512_mask_or_epi32(__m512i src, __mmask16 k, __m512i a, __m512i b)
{
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) src.u32[i] = a.u32[i] | b.u32[i];
    return src;
}

/* --- lane by lane --- */

EMULATED __m512 _mm512_abs_ps(__m512 a)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), magnitude));
}
EMULATED __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table)
{
    __m512i r = _mm512_setzero_si512();
    for (int i = 0; i < 16; i++)
        for (int bits = 0; bits < 8; bits++) /* one bit each of a, b, c, that of a the highest */
            if (table >> bits & 1)
                r.u32[i] |= (bits & 4 ? a.u32[i] : ~a.u32[i]) & (bits & 2 ? b.u32[i] : ~b.u32[i]) &
                            (bits & 1 ? c.u32[i] : ~c.u32[i]);
    return r;
}
EMULATED __m512i _mm512_srlv_epi16(__m512i a, __m512i count)
{
    for (int i = 0; i < 32; i++)
        a.u16[i] = count.u16[i] < 16 ? (uint16_t)(a.u16[i] >> count.u16[i]) : 0;
    return a;
}
EMULATED __m512 _mm512_permutexvar_ps(__m512i index, __m512 a)
{
    __m512 r;
    for (int i = 0; i < 16; i++) r.f32[i] = a.f32[index.u32[i] & 15];
    return r;
}
EMULATED __m512i _mm512_permutexvar_epi32(__m512i index, __m512i a)
{
    __m512i r;
    for (int i = 0; i < 16; i++) r.u32[i] = a.u32[index.u32[i] & 15];
    return r;
}
EMULATED __m512i _mm512_permutexvar_epi16(__m512i index, __m512i a)
{
    __m512i r;
    for (int i = 0; i < 32; i++) r.u16[i] = a.u16[index.u16[i] & 31];
    return r;
}
EMULATED __m512i _mm512_permutex2var_epi32(__m512i a, __m512i index, __m512i b)
{
    __m512i r;
    for (int i = 0; i < 16; i++) r.u32[i] = (index.u32[i] & 16 ? b : a).u32[index.u32[i] & 15];
    return r;
}
EMULATED __m128i _mm512_cvtepi32_epi8(__m512i a)
{
    __m512i r;
    for (int i = 0; i < 16; i++) r.u8[i] = (uint8_t)a.u32[i];
    return r.quarter[0];
}
EMULATED __m256i _mm512_cvtepi32_epi16(__m512i a)
{
    __m512i r;
    for (int i = 0; i < 16; i++) r.u16[i] = (uint16_t)a.u32[i];
    return r.half[0];
}
EMULATED __m128i _mm256_cvtepi16_epi8(__m256i a)
{
    __m512i r, wide = _mm512_castsi256_si512(a);
    for (int i = 0; i < 16; i++) r.u8[i] = (uint8_t)wide.u16[i];
    return r.quarter[0];
}
/* a * 2^floor(n), rounded once. */
static inline float nib_scaled(float a, float n)
{
    if (isnan(a) || isnan(n)) return a + n;
    if (isinf(n)) return a * (n > 0 ? INFINITY : 0.0f); /* 0 * inf and inf * 0 are NaN there too */
    return ldexpf(a, (int)floorf(fminf(fmaxf(n, -1000), 1000)));
}
EMULATED __m512 _mm512_scalef_ps(__m512 a, __m512 n)
{
    for (int i = 0; i < 16; i++) a.f32[i] = nib_scaled(a.f32[i], n.f32[i]);
    return a;
}

/* --- across lanes: halves against halves, the order of gcc and clang --- */

#define REDUCE_PS(name)                                                                            \
    EMULATED float _mm512_reduce_##name##_ps(__m512 a)                                             \
    {                                                                                              \
        __m256 eight = _mm256_##name##_ps(a.half[1], a.half[0]);                                   \
        __m128 four = _mm_##name##_ps(_mm256_extractf128_ps(eight, 1),                             \
                                       _mm256_castps256_ps128(eight));                             \
        __m128 two = _mm_##name##_ps(_mm_movehl_ps(four, four), four);                             \
        return _mm_cvtss_f32(_mm_##name##_ss(two, _mm_shuffle_ps(two, two, 1)));                   \
    }
REDUCE_PS(add)
REDUCE_PS(max)
EMULATED int _mm512_reduce_add_epi32(__m512i a)
{
    uint32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += a.u32[i];
    return (int)sum;
}
EMULATED uint32_t _mm512_reduce_max_epu32(__m512i a)
{
    uint32_t most = 0;
    for (int i = 0; i < 16; i++) most = a.u32[i] > most ? a.u32[i] : most;
    return most;
}

/* --- AVX512_BF16: subnormal numbers count as zero and become zero, whatever MXCSR says --- */

EMULATED __m256 nib_flushed(__m256 x)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff), least = _mm256_set1_epi32(0x00800000);
    __m256i bits = _mm256_castps_si256(x);
    __m256i small = _mm256_cmpgt_epi32(least, _mm256_and_si256(bits, magnitude));
    /* the sign stays */
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_and_si256(small, magnitude), bits));
}
EMULATED __m256 nib_dot_pairs(__m256 sum, __m256i a, __m256i b) /* the upper of each pair first */
{
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000u);
    __m256 a1 = _mm256_castsi256_ps(_mm256_and_si256(a, upper)),
           a0 = _mm256_castsi256_ps(_mm256_slli_epi32(a, 16));
    __m256 b1 = _mm256_castsi256_ps(_mm256_and_si256(b, upper)),
           b0 = _mm256_castsi256_ps(_mm256_slli_epi32(b, 16));
    sum = nib_flushed(_mm256_fmadd_ps(nib_flushed(a1), nib_flushed(b1), nib_flushed(sum)));
    return nib_flushed(_mm256_fmadd_ps(nib_flushed(a0), nib_flushed(b0), sum));
}
EMULATED __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b)
{
    return (__m512){ { nib_dot_pairs(sum.half[0], a.half[0], b.half[0]),
                       nib_dot_pairs(sum.half[1], a.half[1], b.half[1]) } };
}
EMULATED __m256bh _mm512_cvtneps_pbh(__m512 a)
{
    __m512i r,
        bits = _mm512_castps_si512((__m512){ { nib_flushed(a.half[0]), nib_flushed(a.half[1]) } });
    for (int i = 0; i < 16; i++) {
        uint32_t x = bits.u32[i];
        bool nan = (x & 0x7fffffff) > 0x7f800000;
        r.u16[i] = (uint16_t)(nan ? x >> 16 | 0x40 : (x + 0x7fff + (x >> 16 & 1)) >> 16);
    }
    return r.half[0];
}
EMULATED __m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low)
{
    return (__m512bh){ { _mm512_cvtneps_pbh(low), _mm512_cvtneps_pbh(high) } };
}

#endif
