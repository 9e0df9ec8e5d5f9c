/* encode4_avx2.c - 4-bit encoding, eight values a step; built with -mavx2 -mfma. */
#include <immintrin.h>
#include <math.h>

#include "kernel/kernels.h"

typedef struct tables {
    __m256i below_low, below_high; /* halves of nib_encode4_bins.below, in both lanes */
    __m256 bounds_low, bounds_high;
} tables;

static inline __m256i both_lanes(const uint8_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}

static inline __m256 load8(const char *x, nib_dtype type, size_t i)
{
    if (type == NIB_F32) return _mm256_loadu_ps((const float *)(const void *)(x + 4 * i));
    if (type == NIB_F16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + 2 * i)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + 2 * i))), 16));
}

/* Counts of eight values, as 32-bit numbers. */
static inline __m256i counts8(const tables *t, __m256 x, __m256 reciprocal, bool fp4)
{
    __m256 v = _mm256_mul_ps(x, reciprocal), bound;
    __m256i bin =
        _mm256_cvttps_epi32(_mm256_fmadd_ps(v, _mm256_set1_ps(15.5f), _mm256_set1_ps(16.0f)));
    /* Bit 4 of a bin, moved to the sign of its byte, chooses the half.  The three upper bytes
     * of each number look up entry 0 of the low half, which is 0 in both formats. */
    __m256i count =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(t->below_low, bin),
                           _mm256_shuffle_epi8(t->below_high, bin), _mm256_slli_epi32(bin, 3));

    bound = _mm256_blendv_ps(_mm256_permutevar8x32_ps(t->bounds_low, count),
                             _mm256_permutevar8x32_ps(t->bounds_high, count),
                             _mm256_castsi256_ps(_mm256_slli_epi32(count, 28)));
    count = _mm256_sub_epi32(count, _mm256_castps_si256(_mm256_cmp_ps(v, bound, _CMP_GT_OQ)));
    if (fp4) {
        __m256 above_tiny = _mm256_cmp_ps(v, _mm256_set1_ps(nib_fp4_bounds[6]), _CMP_GT_OQ);
        __m256 above_zero = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GT_OQ);
        count = _mm256_sub_epi32(count, _mm256_castps_si256(above_tiny));
        count = _mm256_sub_epi32(count, _mm256_castps_si256(above_zero));
    }
    return count;
}

static inline float greatest(const char *x, nib_dtype type, unsigned blocksize)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i a = _mm256_setzero_si256(), b = a;
    __m128i half;
    uint32_t bits;
    float most;

    for (unsigned i = 0; i < blocksize; i += 16) {
        __m256i p = _mm256_castps_si256(load8(x, type, i));
        __m256i q = _mm256_castps_si256(load8(x, type, i + 8));
        a = _mm256_max_epu32(a, _mm256_and_si256(p, magnitude));
        b = _mm256_max_epu32(b, _mm256_and_si256(q, magnitude));
    }
    a = _mm256_max_epu32(a, b);
    half = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    half = _mm_max_epu32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_max_epu32(half, _mm_shuffle_epi32(half, 0xb1));
    bits = (uint32_t)_mm_cvtsi128_si32(half);
    memcpy(&most, &bits, sizeof most);
    return most;
}

static inline void encode(uint8_t *restrict codes, float *restrict absmax, const char *restrict x,
                          nib_dtype type, size_t blocks, unsigned blocksize, bool fp4)
{
    const nib_encode4_bins *bins = fp4 ? &nib_fp4_bins : &nib_nf4_bins;
    const tables t = { both_lanes(bins->below), both_lanes(bins->below + 16),
                       _mm256_loadu_ps(bins->bounds), _mm256_loadu_ps(bins->bounds + 8) };
    const size_t bytes = nib_dtype_bytes(type);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* undoes the packs' lanes */
    const __m256i high_low =
        _mm256_set1_epi16(0x0110); /* first of a pair times 16, plus the second */

    for (size_t b = 0; b < blocks; b++, x += blocksize * bytes, codes += blocksize / 2) {
        float most = greatest(x, type, blocksize);
        __m256 reciprocal;

        if (!(most < INFINITY)) { /* rare, and outside what the bins promise */
            nib_encode4_ref(codes, absmax + b, x, type, 1, blocksize, fp4);
            continue;
        }
        absmax[b] = most;
        reciprocal = _mm256_set1_ps(1.0f / (most < 1e-38f ? 1e-38f : most));
        for (unsigned i = 0; i < blocksize; i += 32) {
            __m256i p = _mm256_packs_epi32(counts8(&t, load8(x, type, i), reciprocal, fp4),
                                           counts8(&t, load8(x, type, i + 8), reciprocal, fp4));
            __m256i q = _mm256_packs_epi32(counts8(&t, load8(x, type, i + 16), reciprocal, fp4),
                                           counts8(&t, load8(x, type, i + 24), reciprocal, fp4));
            __m256i c = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(p, q), order), pairs;
            if (fp4) c = _mm256_shuffle_epi8(both_lanes(nib_fp4_codes), c);
            pairs = _mm256_maddubs_epi16(c, high_low);
            _mm_storeu_si128((__m128i *)(codes + i / 2),
                             _mm_packus_epi16(_mm256_castsi256_si128(pairs),
                                              _mm256_extracti128_si256(pairs, 1)));
        }
    }
}

/* The constants unroll the usual cases. */
void nib_encode4_avx2(uint8_t *restrict codes, float *restrict absmax, const void *restrict x,
                      nib_dtype type, size_t blocks, unsigned blocksize, bool fp4)
{
    if (fp4) encode(codes, absmax, x, type, blocks, blocksize, true);
    else if (type == NIB_BF16) encode(codes, absmax, x, NIB_BF16, blocks, blocksize, false);
    else if (type == NIB_F16) encode(codes, absmax, x, NIB_F16, blocks, blocksize, false);
    else encode(codes, absmax, x, NIB_F32, blocks, blocksize, false);
}
