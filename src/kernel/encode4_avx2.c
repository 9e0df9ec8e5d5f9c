/* encode4_avx2.c - 4-bit encoding, 32 values a step; built with -mavx2 -mfma.
 *
 * Bins, counts and codes are bytes; the bounds that they name are looked up by bytes too
 * (planes_avx2.h), 32 at a time, and compared eight at a time. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/planes_avx2.h"

typedef struct tables {
    __m256i below_low, below_high; /* halves of nib_encode4_bins.below, in both lanes */
    planes bounds;
} tables;

static inline __m256i both_lanes(const uint8_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline __m256 load8(const char *x, nib_dtype type, size_t i)
{
    if (type == NIB_F32) return _mm256_loadu_ps((const float *)(const void *)(x + 4 * i));
    if (type == NIB_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + 2 * i)));
    return v_from_bf16(_mm_loadu_si128((const __m128i *)(const void *)(x + 2 * i)));
}

/* The low bytes of 32 numbers of 32 bits.  In each half: four of the first vector, of the second,
 * ...: the order in which look_up32() gives values back. */
static inline __m256i bytes_of(const __m256i x[4])
{
    return _mm256_packus_epi16(_mm256_packs_epi32(x[0], x[1]), _mm256_packs_epi32(x[2], x[3]));
}

/* 1 (as 0xff, -1) where v is greater than its bound. */
static inline __m256i above(const __m256 v[4], const __m256 bound[4])
{
    __m256i m[4];

    for (int i = 0; i < 4; i++)
        m[i] = _mm256_castps_si256(_mm256_cmp_ps(v[i], bound[i], _CMP_GT_OQ));
    return _mm256_packs_epi16(_mm256_packs_epi32(m[0], m[1]), _mm256_packs_epi32(m[2], m[3]));
}

/* Counts of 32 values, as bytes in the order of bytes_of(). */
static inline __m256i counts32(const tables *t, const char *x, nib_dtype type, __m256 reciprocal,
                               bool fp4)
{
    __m256 v[4], bound[4];
    __m256i bin[4], bins, count;

    for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_mul_ps(load8(x, type, 8 * i), reciprocal);
        bin[i] = _mm256_cvttps_epi32(
            _mm256_fmadd_ps(v[i], _mm256_set1_ps(15.5f), _mm256_set1_ps(16.0f)));
    }
    bins = bytes_of(bin);
    /* Bit 4 of a bin, moved to the top of its byte, chooses the half; a lookup uses four bits. */
    count = _mm256_blendv_epi8(_mm256_shuffle_epi8(t->below_low, bins),
                               _mm256_shuffle_epi8(t->below_high, bins),
                               _mm256_slli_epi16(bins, 3));
    look_up32(&t->bounds, count, bound);
    count = _mm256_sub_epi8(count, above(v, bound));
    if (fp4) {
        for (int i = 0; i < 4; i++) bound[i] = _mm256_set1_ps(nib_fp4_bounds[6]);
        count = _mm256_sub_epi8(count, above(v, bound));
        for (int i = 0; i < 4; i++) bound[i] = _mm256_setzero_ps();
        count = _mm256_sub_epi8(count, above(v, bound));
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
                       planes_of(bins->bounds) };
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
            __m256i c = counts32(&t, x + i * bytes, type, reciprocal, fp4), pairs;
            c = _mm256_permutevar8x32_epi32(c, order);
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
