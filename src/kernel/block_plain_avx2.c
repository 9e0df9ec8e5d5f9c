/* block_plain_avx2.c - values to the blocks of ggml that need no search: a block, four vectors. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

/* Not a loop: gcc makes a copy by halves of it, which then is read by whole vectors. */
NIB_INLINE void load(const float *x, V v[4])
{
    v[0] = v_load(x);
    v[1] = v_load(x + 8);
    v[2] = v_load(x + 16);
    v[3] = v_load(x + 24);
}

NIB_INLINE float greatest_size(const V v[4])
{
    return v_greatest(v_max(v_max(v_abs(v[0]), v_abs(v[1])), v_max(v_abs(v[2]), v_abs(v[3]))));
}

/* The first of 32 values where `same` has a bit; which zero it is decides over a bit. */
NIB_INLINE float first(const float *x, const V same[4])
{
    uint32_t found = 0;

    for (size_t i = 0; i < 4; i++) found |= (uint32_t)_mm256_movemask_ps(same[i]) << 8 * i;
    return found ? x[__builtin_ctz(found)] : 0;
}

NIB_INLINE V equal(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }

/* nib_put_f16(): the instruction rounds alike, subnormal numbers and NaN too. */
NIB_INLINE uint8_t *put_half(uint8_t *to, float value)
{
    __m128i h = _mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT);
    uint16_t bits = (uint16_t)_mm_extract_epi16(h, 0);

    memcpy(to, &bits, sizeof bits);
    return to + sizeof bits;
}

/* The last 8 bits of 32 integers, of which 16 are kept, or what has no integer: those are 0. */
NIB_INLINE __m256i bytes_of(const __m256i of[4], int last)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i mask = _mm256_set1_epi16((short)last);
    __m256i low = _mm256_and_si256(_mm256_packs_epi32(of[0], of[1]), mask);
    __m256i high = _mm256_and_si256(_mm256_packs_epi32(of[2], of[3]), mask);

    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
}

/* nib_put_codes() */
NIB_INLINE void put_codes(uint8_t *to, __m256i bytes, bool five)
{
    if (five) {
        int32_t high = _mm256_movemask_epi8(_mm256_slli_epi16(bytes, 3));
        bytes = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
        memcpy(to, &high, sizeof high);
        to += sizeof high;
    }
    _mm_storeu_si128((__m128i *)(void *)to,
                     _mm_or_si128(_mm256_castsi256_si128(bytes),
                                  _mm_slli_epi16(_mm256_extracti128_si256(bytes, 1), 4)));
}

/* roundf(): halves away from zero.  The number added is the one below 1/2, for 1/2 itself would
 * bring the one below 1/2 to 1. */
NIB_INLINE __m256i rounded(V x)
{
    return _mm256_cvttps_epi32(v_add(x, v_copysign(v_set(0x1.fffffep-2f), x)));
}

NIB_INLINE void encode_q8_0(const float *x, uint8_t *block)
{
    __m256i codes[4];
    V v[4], by;
    float d;

    load(x, v);
    d = greatest_size(v) / 127;
    by = v_set(d != 0 ? 1 / d : 0);
    for (size_t i = 0; i < 4; i++) codes[i] = rounded(v_mul(v[i], by));
    _mm256_storeu_si256((__m256i *)(void *)put_half(block, d), bytes_of(codes, 255));
}

NIB_INLINE void encode_signed(const float *x, uint8_t *block, int levels)
{
    const __m256i last = _mm256_set1_epi32(2 * levels - 1);
    __m256i codes[4];
    V v[4], same[4], by, most;
    float d;

    load(x, v);
    most = v_set(greatest_size(v));
    for (size_t i = 0; i < 4; i++) same[i] = equal(v_abs(v[i]), most);
    d = first(x, same) / (float)-levels;
    by = v_set(d != 0 ? 1 / d : 0);
    for (size_t i = 0; i < 4; i++) {
        codes[i] = _mm256_cvttps_epi32(v_add(v_mul(v[i], by), v_set((float)levels + 0.5f)));
        codes[i] = _mm256_min_epi32(codes[i], last);
    }
    put_codes(put_half(block, d), bytes_of(codes, 2 * levels - 1), levels == 16);
}

NIB_INLINE void encode_offset(const float *x, uint8_t *block, int most_code)
{
    const __m256i last = _mm256_set1_epi32(most_code);
    __m256i codes[4];
    V v[4], same[4], by, low;
    float least, most, d;

    load(x, v);
    most = v_greatest(v_max(v_max(v[0], v[1]), v_max(v[2], v[3])));
    low = v_min(v_min(v[0], v[1]), v_min(v[2], v[3]));
    low = v_set(-v_greatest(v_sub(v_zero(), low)));
    for (size_t i = 0; i < 4; i++) same[i] = equal(v[i], low);
    least = first(x, same);
    d = most > least ? (most - least) / (float)most_code : 0;
    by = v_set(d != 0 ? 1 / d : 0);
    for (size_t i = 0; i < 4; i++) {
        codes[i] = _mm256_cvttps_epi32(v_add(v_mul(v_sub(v[i], low), by), v_set(0.5f)));
        codes[i] = _mm256_min_epi32(codes[i], last);
    }
    put_codes(put_half(put_half(block, d), least), bytes_of(codes, most_code), most_code == 31);
}

/* nib_mxfp4_unit(): from the exponent, but where the logarithm may be rounded up to an integer. */
NIB_INLINE int mxfp4_unit(float most)
{
    uint32_t bits;
    int e;

    memcpy(&bits, &most, sizeof bits);
    if ((bits & 0x7fffff) >= 0x7f0000) return nib_mxfp4_unit(most);
    e = (int)(bits >> 23) - 2;
    return e < 0 ? 0 : e;
}

/* How many means of neighbouring sizes a value is beyond is its code. */
NIB_INLINE void encode_mxfp4(const float *x, uint8_t *block)
{
    static const float means[] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5 };
    __m256i codes[4];
    V v[4];
    float unit;
    int e;

    load(x, v);
    e = mxfp4_unit(greatest_size(v));
    unit = 2 * nib_e8m0_half((uint8_t)e);
    for (size_t i = 0; i < 4; i++) codes[i] = _mm256_setzero_si256();
    for (size_t c = 0; c < NIB_COUNT(means); c++) {
        V mean = v_set(means[c] * unit);
        for (size_t i = 0; i < 4; i++) {
            V beyond = _mm256_cmp_ps(v_abs(v[i]), mean, _CMP_GT_OQ);
            codes[i] = _mm256_sub_epi32(codes[i], _mm256_castps_si256(beyond));
        }
    }
    for (size_t i = 0; i < 4; i++) { /* the sign, where the code is not that of 0 */
        __m256i some = _mm256_cmpgt_epi32(codes[i], _mm256_setzero_si256());
        __m256i sign = _mm256_srli_epi32(_mm256_castps_si256(v[i]), 31);
        sign = _mm256_and_si256(some, _mm256_slli_epi32(sign, 3));
        codes[i] = _mm256_or_si256(codes[i], sign);
    }
    block[0] = (uint8_t)e;
    put_codes(block + 1, bytes_of(codes, 15), false);
}

void nib_encode_plain_avx2(nib_block_kind kind, size_t count, const float *x, uint8_t *blocks)
{
    NIB_ENCODE_PLAIN(kind, count, x, blocks);
}
