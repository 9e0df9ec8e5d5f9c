/* blocks_simd.h - ggml's block formats: the body of blocks_avx2.c and blocks_avx512.c.
 *
 * A part's 32 codes are unpacked as one vector of bytes; values and dots are made of them alike for
 * all formats. */
#include "kernel/blocks_bits.h"
#include "kernel/kernels.h"
#include "kernel/panel_simd.h"

NIB_INLINE void put_codes(nib_block_part *p, __m256i codes)
{
    _mm256_storeu_si256((__m256i *)(void *)p->codes, codes);
}

NIB_INLINE void same_scale(nib_block_part *p, float scale, float offset)
{
    p->scale[0] = p->scale[1] = scale;
    p->offset[0] = p->offset[1] = offset;
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

NIB_INLINE void unpack_q5_0(const uint8_t *b, nib_block_part *p)
{
    __m256i codes = _mm256_or_si256(nibbles_of(b + 6), fifth_bits(nib_load_le32(b + 2)));

    put_codes(p, _mm256_sub_epi8(codes, _mm256_set1_epi8(16)));
    same_scale(p, f16_at(b), 0);
}

NIB_INLINE void unpack_q5_1(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, _mm256_or_si256(nibbles_of(b + 8), fifth_bits(nib_load_le32(b + 4))));
    same_scale(p, f16_at(b), -f16_at(b + 2));
}

NIB_INLINE void unpack_iq4_nl(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, iq4_values_of(b + 2));
    same_scale(p, f16_at(b), 0);
}

NIB_INLINE void unpack_iq4_xs(const uint8_t *b, size_t part, nib_block_part *p)
{
    int low = b[4 + part / 2] >> part % 2 * 4 & 15, high = nib_load_le16(b + 2) >> part * 2 & 3;

    put_codes(p, iq4_values_of(b + 8 + part * 16));
    same_scale(p, f16_at(b) * (float)((low | high << 4) - 32), 0);
}

NIB_INLINE void unpack_mxfp4(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, e2m1_values_of(b + 1));
    same_scale(p, nib_e8m0_half(b[0]), 0);
}

NIB_INLINE void unpack_q2_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    float d = f16_at(b + 80), least = f16_at(b + 82);

    put_codes(p, two_bits(b + 16 + part / 4 * 32, part % 4 * 2, 0));
    for (size_t h = 0; h < 2; h++) {
        uint8_t s = b[2 * part + h];
        p->scale[h] = d * (float)(s & 15);
        p->offset[h] = least * (float)(s >> 4);
    }
}

NIB_INLINE void unpack_q3_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    __m256i low = two_bits(b + 32 + part / 4 * 32, part % 4 * 2, 0), high = one_bit(b, part, 2);
    const uint8_t *s = b + 96;
    float d = f16_at(b + 108);

    put_codes(p, _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(4)));
    for (size_t h = 0; h < 2; h++) {
        size_t k = 2 * part + h;
        int below = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
        p->scale[h] = d * (float)((below | (s[8 + k % 4] >> k / 4 * 2 & 3) << 4) - 32);
        p->offset[h] = 0;
    }
}

NIB_INLINE void unpack_q8_0(const uint8_t *b, nib_block_part *p)
{
    put_codes(p, _mm256_loadu_si256((const __m256i *)(const void *)(b + 2)));
    same_scale(p, f16_at(b), 0);
}

/* The scale and offset of a part of Q4_K and Q5_K. */
NIB_INLINE void scale_of(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *s = b + 4;
    int scale = part < 4 ? s[part] & 63 : (s[part + 4] & 15) | s[part - 4] >> 6 << 4;
    int offset = part < 4 ? s[part + 4] & 63 : s[part + 4] >> 4 | s[part] >> 6 << 4;

    same_scale(p, f16_at(b) * (float)scale, f16_at(b + 2) * (float)offset);
}

NIB_INLINE void unpack_q4_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    put_codes(p, nibble_of(b + 16 + part / 2 * 32, part % 2));
    scale_of(b, part, p);
}

NIB_INLINE void unpack_q5_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    put_codes(p, _mm256_or_si256(nibble_of(b + 48 + part / 2 * 32, part % 2),
                                 one_bit(b + 16, part, 4)));
    scale_of(b, part, p);
}

NIB_INLINE void unpack_q6_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    __m256i low = nibble_of(b + part / 4 * 64 + part % 2 * 32, part % 4 >= 2);
    __m256i high = two_bits(b + 128 + part / 4 * 32, part % 4 * 2, 4);
    const int8_t *scales = (const int8_t *)b + 192 + 2 * part;
    float d = f16_at(b + 208);

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
    case NIB_BLOCK_Q5_0: unpack_q5_0(b, p); break;
    case NIB_BLOCK_Q5_1: unpack_q5_1(b, p); break;
    case NIB_BLOCK_Q8_0: unpack_q8_0(b, p); break;
    case NIB_BLOCK_Q2_K: unpack_q2_k(b, part, p); break;
    case NIB_BLOCK_Q3_K: unpack_q3_k(b, part, p); break;
    case NIB_BLOCK_Q4_K: unpack_q4_k(b, part, p); break;
    case NIB_BLOCK_Q5_K: unpack_q5_k(b, part, p); break;
    case NIB_BLOCK_Q6_K: unpack_q6_k(b, part, p); break;
    case NIB_BLOCK_IQ4_NL: unpack_iq4_nl(b, p); break;
    case NIB_BLOCK_IQ4_XS: unpack_iq4_xs(b, part, p); break;
    case NIB_BLOCK_MXFP4: unpack_mxfp4(b, p); break;
    case NIB_BLOCK_KINDS: break;
    }
}

/* Values i .. i + VN of a part. */
NIB_INLINE V value(const nib_block_part *p, size_t i, bool offset)
{
    V v = v_mul(w_widen(p->codes + i), v_set(p->scale[i / NIB_BLOCK_HALF]));

    return offset ? v_sub(v, v_set(p->offset[i / NIB_BLOCK_HALF])) : v;
}

NIB_INLINE void decode(nib_block_kind kind, size_t count, const uint8_t *blocks, float *dst)
{
    const nib_block_layout l = nib_block_layout_of(kind);
    size_t bytes = l.bytes, parts = l.values / NIB_BLOCK_PART;
    nib_block_part p = {0}; /* gcc cannot see that every kind sets all of it */

    for (size_t b = 0; b < count; b++)
        for (size_t part = 0; part < parts; part++, dst += NIB_BLOCK_PART) {
            unpack(kind, blocks + b * bytes, part, &p);
            for (size_t i = 0; i < NIB_BLOCK_PART; i += VN)
                v_store(dst + i, value(&p, i, l.has_offset));
        }
}

void NIB_VARIANT(blocks_decode)(nib_block_kind kind, size_t count, const uint8_t *blocks,
                                float *dst)
{
    NIB_WITH_BLOCK_KIND(kind, decode, count, blocks, dst);
}

/* --- panels --- */

/* The lines of a block ROWS_AHEAD rows on: its scales and its codes. */
NIB_INLINE void fetch(const nib_block_column *c, size_t bytes, size_t term, size_t terms)
{
    const char *ahead = (const char *)nib_block_row(&c->of, nib_min(term + ROWS_AHEAD, terms - 1));

    for (size_t at = 0; at < bytes; at += 64) _mm_prefetch(ahead + at, _MM_HINT_T0);
}

/* A part is unpacked by itself: of blocks of 256 values too nothing is decoded that is not put. */
NIB_INLINE void back(nib_block_kind kind, const nib_block_column *c, size_t terms,
                     nib_pack_kind pack, char *panel, size_t strip)
{
    const nib_block_layout l = nib_block_layout_of(kind);
    nib_block_part p = {0}; /* gcc cannot see that every kind sets all of it */

    for (size_t t = 0, count; t < terms; t += count) {
        V x[2][PANEL_VECTORS];
        count = nib_min(2, terms - t);
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            size_t term = nib_min(t + i, terms - 1);
            fetch(c, l.bytes, term, terms);
            unpack(kind, nib_block_row(&c->of, term), c->part, &p);
#pragma GCC unroll 4
            for (size_t v = 0; v < PANEL_VECTORS; v++) x[i][v] = value(&p, v * VN, l.has_offset);
        }
        put_terms(pack, x, count, panel, strip, t);
    }
}

void NIB_VARIANT(blocks_back)(nib_block_kind kind, const nib_block_column *c, size_t terms,
                              nib_pack_kind pack, void *panel, size_t strip)
{
    NIB_WITH_BLOCK_KIND(kind, back, c, terms, pack, panel, strip * nib_pack_value_bytes(pack));
}

/* --- dots --- */

/* Two sums a row of x: a product need not wait for the one before. */
NIB_INLINE void dot(size_t M, nib_block_kind kind, size_t count, const uint8_t *blocks,
                    const float *x, float *y, size_t ldy)
{
    const nib_block_layout l = nib_block_layout_of(kind);
    size_t bytes = l.bytes, parts = l.values / NIB_BLOCK_PART, in = count * l.values;
    V sums[4][2];
    nib_block_part p = {0}; /* gcc cannot see that every kind sets all of it */

    for (size_t m = 0; m < M; m++) sums[m][0] = sums[m][1] = v_zero();
    for (size_t b = 0; b < count; b++) {
        _mm_prefetch((const char *)blocks + b * bytes + AHEAD, _MM_HINT_T0);
        for (size_t part = 0; part < parts; part++, x += NIB_BLOCK_PART) {
            unpack(kind, blocks + b * bytes, part, &p);
#pragma GCC unroll 4
            for (size_t i = 0; i < NIB_BLOCK_PART; i += VN) {
                V v = value(&p, i, l.has_offset);
#pragma GCC unroll 4
                for (size_t m = 0; m < M; m++)
                    sums[m][i / VN % 2] = v_fma(v, v_load(x + m * in + i), sums[m][i / VN % 2]);
            }
        }
    }
    for (size_t m = 0; m < M; m++) y[m * ldy] = v_sum(v_add(sums[m][0], sums[m][1]));
}

#define DOT(kind, M, ...) NIB_WITH_ROWS(M, dot, kind, __VA_ARGS__)

void NIB_VARIANT(blocks_dot)(nib_block_kind kind, size_t M, size_t count, const uint8_t *blocks,
                             const float *x, float *y, size_t ldy)
{
    NIB_WITH_BLOCK_KIND(kind, DOT, M, count, blocks, x, y, ldy);
}
