/* encode4_avx512.c - 4-bit encoding, sixteen values a step; built with AVX-512 F, BW, VL, DQ. */
#include <immintrin.h>
#include <math.h>

#include "kernel/kernels.h"

typedef struct tables {
    __m512i below_low, below_high; /* nib_encode4_bins.below as 32-bit numbers */
    __m512 bounds;
    __m512i codes; /* FP4: count -> code */
} tables;

static inline __m512i widen(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

static inline __m512 load16(const char *x, nib_dtype type, size_t i)
{
    if (type == NIB_F32) return _mm512_loadu_ps(x + 4 * i);
    if (type == NIB_F16) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + 2 * i)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(x + 2 * i))), 16));
}

static inline __m128i codes16(const tables *t, __m512 x, __m512 reciprocal, bool fp4)
{
    __m512 v = _mm512_mul_ps(x, reciprocal);
    __m512i bin =
        _mm512_cvttps_epi32(_mm512_fmadd_ps(v, _mm512_set1_ps(15.5f), _mm512_set1_ps(16.0f)));
    __m512i count = _mm512_permutex2var_epi32(t->below_low, bin, t->below_high);
    __m512 bound = _mm512_permutexvar_ps(count, t->bounds);
    __m512i one = _mm512_set1_epi32(1);

    count = _mm512_mask_add_epi32(count, _mm512_cmp_ps_mask(v, bound, _CMP_GT_OQ), count, one);
    if (fp4) {
        __mmask16 above_tiny = _mm512_cmp_ps_mask(v, _mm512_set1_ps(nib_fp4_bounds[6]), _CMP_GT_OQ);
        __mmask16 above_zero = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ);
        count = _mm512_mask_add_epi32(count, above_tiny, count, one);
        count = _mm512_mask_add_epi32(count, above_zero, count, one);
        count = _mm512_permutexvar_epi32(count, t->codes);
    }
    return _mm512_cvtepi32_epi8(count);
}

static inline float greatest(const char *x, nib_dtype type, unsigned blocksize)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i a = _mm512_setzero_si512(), b = a;
    uint32_t bits;
    float most;

    for (unsigned i = 0; i < blocksize; i += 32) {
        a = _mm512_max_epu32(a,
                             _mm512_and_si512(_mm512_castps_si512(load16(x, type, i)), magnitude));
        b = _mm512_max_epu32(
            b, _mm512_and_si512(_mm512_castps_si512(load16(x, type, i + 16)), magnitude));
    }
    bits = _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
    memcpy(&most, &bits, sizeof most);
    return most;
}

static inline void encode(uint8_t *restrict codes, float *restrict absmax, const char *restrict x,
                          nib_dtype type, size_t blocks, unsigned blocksize, bool fp4)
{
    const nib_encode4_bins *bins = fp4 ? &nib_fp4_bins : &nib_nf4_bins;
    const tables t = { widen(bins->below), widen(bins->below + 16), _mm512_loadu_ps(bins->bounds),
                       widen(nib_fp4_codes) };
    const size_t bytes = nib_dtype_bytes(type);
    const __m256i high_low =
        _mm256_set1_epi16(0x0110); /* first of a pair times 16, plus the second */

    for (size_t b = 0; b < blocks; b++, x += blocksize * bytes, codes += blocksize / 2) {
        float most = greatest(x, type, blocksize);
        __m512 reciprocal;

        if (!(most < INFINITY)) { /* rare, and outside what the bins promise */
            nib_encode4_ref(codes, absmax + b, x, type, 1, blocksize, fp4);
            continue;
        }
        absmax[b] = most;
        reciprocal = _mm512_set1_ps(1.0f / (most < 1e-38f ? 1e-38f : most));
        for (unsigned i = 0; i < blocksize; i += 32) {
            __m256i c = _mm256_set_m128i(codes16(&t, load16(x, type, i + 16), reciprocal, fp4),
                                         codes16(&t, load16(x, type, i), reciprocal, fp4));
            _mm_storeu_si128((__m128i *)(codes + i / 2),
                             _mm256_cvtepi16_epi8(_mm256_maddubs_epi16(c, high_low)));
        }
    }
}

/* The constants unroll the usual cases. */
void nib_encode4_avx512(uint8_t *restrict codes, float *restrict absmax, const void *restrict x,
                        nib_dtype type, size_t blocks, unsigned blocksize, bool fp4)
{
    if (fp4) encode(codes, absmax, x, type, blocks, blocksize, true);
    else if (blocksize == 64 && type == NIB_BF16)
        encode(codes, absmax, x, NIB_BF16, blocks, 64, false);
    else if (blocksize == 64 && type == NIB_F16)
        encode(codes, absmax, x, NIB_F16, blocks, 64, false);
    else if (blocksize == 64) encode(codes, absmax, x, NIB_F32, blocks, 64, false);
    else encode(codes, absmax, x, type, blocks, blocksize, false);
}
