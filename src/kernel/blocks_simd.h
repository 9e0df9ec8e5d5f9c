/* blocks_simd.h - ggml's block formats: the body of blocks_avx2.c and blocks_avx512.c.
 *
 * The formats that are used most are unpacked with vectors of bytes, the others as the reference
 * does it; scales and dots are the same for all. */
#include "kernel/kernels.h"
#include "kernel/words.h"

NIB_INLINE float f16_at(const uint8_t *p)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(nib_load_le16(p))));
}

NIB_INLINE void put_codes(nib_block_part *p, __m256i codes)
{
    _mm256_storeu_si256((__m256i *)(void *)p->codes, codes);
}

NIB_INLINE void same_scale(nib_block_part *p, float scale, float offset)
{
    p->scale[0] = p->scale[1] = scale;
    p->offset[0] = p->offset[1] = offset;
}

/* 16 bytes as 32 codes, low nibbles first. */
NIB_INLINE __m256i nibbles_of(const uint8_t *qs)
{
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)qs);
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(b, 4), b);

    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

NIB_INLINE void unpack_q4_0(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, _mm256_sub_epi8(nibbles_of(b + 2), _mm256_set1_epi8(8)));
    same_scale(p, f16_at(b), 0);
}

NIB_INLINE void unpack_q4_1(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, nibbles_of(b + 4));
    same_scale(p, f16_at(b), -f16_at(b + 2));
}

NIB_INLINE void unpack_q8_0(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, _mm256_loadu_si256((const __m256i *)(const void *)(b + 2)));
    same_scale(p, f16_at(b), 0);
}

NIB_INLINE void unpack_q4_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    __m256i qs = _mm256_loadu_si256((const __m256i *)(const void *)(b + 16 + part / 2 * 32));
    const uint8_t *s = b + 4;
    int scale = part < 4 ? s[part] & 63 : (s[part + 4] & 15) | s[part - 4] >> 6 << 4;
    int offset = part < 4 ? s[part + 4] & 63 : s[part + 4] >> 4 | s[part] >> 6 << 4;

    if (part % 2) qs = _mm256_srli_epi16(qs, 4);
    put_codes(p, _mm256_and_si256(qs, _mm256_set1_epi8(15)));
    same_scale(p, f16_at(b) * (float)scale, f16_at(b + 2) * (float)offset);
}

NIB_INLINE void unpack_q6_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *at = b + part / 4 * 64 + part % 2 * 32, *above = b + 128 + part / 4 * 32;
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)above);
    const int8_t *scales = (const int8_t *)b + 192 + 2 * part;
    float d = f16_at(b + 208);

    if (part % 4 >= 2) low = _mm256_srli_epi16(low, 4);
    high = _mm256_srl_epi16(high, _mm_cvtsi32_si128((int)(part % 4 * 2)));
    low = _mm256_and_si256(low, _mm256_set1_epi8(15));
    high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
    put_codes(p, _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32)));
    p->scale[0] = d * (float)scales[0];
    p->scale[1] = d * (float)scales[1];
    p->offset[0] = p->offset[1] = 0;
}

/* `kind` is a constant wherever this is inlined. */
NIB_INLINE void unpack(nib_block_kind kind, const uint8_t *b, size_t part, nib_block_part *p)
{
    switch (kind) {
    case NIB_BLOCK_Q4_0: unpack_q4_0(b, p); break;
    case NIB_BLOCK_Q4_1: unpack_q4_1(b, p); break;
    case NIB_BLOCK_Q8_0: unpack_q8_0(b, p); break;
    case NIB_BLOCK_Q4_K: unpack_q4_k(b, part, p); break;
    case NIB_BLOCK_Q6_K: unpack_q6_k(b, part, p); break;
    default: nib_block_unpack(kind, b, part, p); break;
    }
}

/* Values i .. i + VN of a part. */
NIB_INLINE V value(const nib_block_part *p, size_t i, bool offset)
{
    V v = v_mul(w_widen(p->codes + i), v_set(p->scale[i / NIB_BLOCK_HALF]));

    return offset ? v_sub(v, v_set(p->offset[i / NIB_BLOCK_HALF])) : v;
}

/* --- one loop a kind: f(kind, has_offset, ...) with constants --- */

#define WITH_KIND(kind, f, ...)                                                                    \
    switch (kind) {                                                                                \
    case NIB_BLOCK_Q4_0: f(NIB_BLOCK_Q4_0, false, __VA_ARGS__); break;                             \
    case NIB_BLOCK_Q4_1: f(NIB_BLOCK_Q4_1, true, __VA_ARGS__); break;                              \
    case NIB_BLOCK_Q8_0: f(NIB_BLOCK_Q8_0, false, __VA_ARGS__); break;                             \
    case NIB_BLOCK_Q4_K: f(NIB_BLOCK_Q4_K, true, __VA_ARGS__); break;                              \
    case NIB_BLOCK_Q6_K: f(NIB_BLOCK_Q6_K, false, __VA_ARGS__); break;                             \
    default: f(kind, true, __VA_ARGS__); break;                                                    \
    }

NIB_INLINE void decode(nib_block_kind kind, bool offset, size_t count, const uint8_t *blocks,
                       float *dst)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t bytes = l->bytes, parts = l->values / NIB_BLOCK_PART;
    nib_block_part p;

    for (size_t b = 0; b < count; b++)
        for (size_t part = 0; part < parts; part++, dst += NIB_BLOCK_PART) {
            unpack(kind, blocks + b * bytes, part, &p);
            for (size_t i = 0; i < NIB_BLOCK_PART; i += VN) v_store(dst + i, value(&p, i, offset));
        }
}

void NIB_VARIANT(blocks_decode)(nib_block_kind kind, size_t count, const uint8_t *blocks,
                                float *dst)
{
    WITH_KIND(kind, decode, count, blocks, dst)
}

/* Two sums a row of x: a product need not wait for the one before. */
NIB_INLINE void dot(size_t M, nib_block_kind kind, bool offset, size_t count,
                    const uint8_t *blocks, const float *x, float *y, size_t ldy)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t bytes = l->bytes, parts = l->values / NIB_BLOCK_PART, in = count * l->values;
    V sums[4][2];
    nib_block_part p;

    for (size_t m = 0; m < M; m++) sums[m][0] = sums[m][1] = v_zero();
    for (size_t b = 0; b < count; b++) {
        _mm_prefetch((const char *)blocks + b * bytes + AHEAD, _MM_HINT_T0);
        for (size_t part = 0; part < parts; part++, x += NIB_BLOCK_PART) {
            unpack(kind, blocks + b * bytes, part, &p);
#pragma GCC unroll 4
            for (size_t i = 0; i < NIB_BLOCK_PART; i += VN) {
                V v = value(&p, i, offset);
#pragma GCC unroll 4
                for (size_t m = 0; m < M; m++)
                    sums[m][i / VN % 2] = v_fma(v, v_load(x + m * in + i), sums[m][i / VN % 2]);
            }
        }
    }
    for (size_t m = 0; m < M; m++) y[m * ldy] = v_sum(v_add(sums[m][0], sums[m][1]));
}

#define DOT(kind, offset, M, ...) NIB_WITH_ROWS(M, dot, kind, offset, __VA_ARGS__)

void NIB_VARIANT(blocks_dot)(nib_block_kind kind, size_t M, size_t count, const uint8_t *blocks,
                             const float *x, float *y, size_t ldy)
{
    WITH_KIND(kind, DOT, M, count, blocks, x, y, ldy)
}
