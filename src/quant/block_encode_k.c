/* block_encode_k.c - values into the blocks of 256 of Q4_K, Q5_K and Q6_K (formats.md 12.4).
 *
 * A block is parts of 32 (Q6_K: 16) values.  Each part is fitted by itself: a scale, and for Q4_K
 * and Q5_K a least value, that make the squared error small where values count by their size.  The
 * scales are then codes themselves, in units that the block has, and the values are coded again
 * with what these decode to.  Sums run in the order of the index, for ggml's bits. */
#include <math.h>

#include "quant/block_encode_parts.h"

enum { SUPER = NIB_ENCODE_SUPER, PART = NIB_ENCODE_PART, PARTS = NIB_ENCODE_PARTS,
       SETS = NIB_ENCODE_SETS, SIX_PART = 16, SIX_PARTS = SUPER / SIX_PART };

/* --- Q4_K and Q5_K --- */

static float stored(const uint8_t *at) { return nib_f16_to_f32((uint16_t)(at[0] | at[1] << 8)); }

/* Pairs of 6 bits: the first four in a byte each, of the others 4 bits below and 2 above those. */
static void put_scale(uint8_t *s, int part, uint8_t scale, uint8_t below)
{
    if (part < 4) {
        s[part] = scale;
        s[part + 4] = below;
        return;
    }
    s[part + 4] = (uint8_t)((scale & 15) | (below & 15) << 4);
    s[part - 4] |= (uint8_t)(scale >> 4 << 6);
    s[part] |= (uint8_t)(below >> 4 << 6);
}

/* The units of the scales and of the least values, and their codes: the largest is 63; with
 * importances those of the smallest error. */
static void code_scales(const float *scales, const float *sums, float *unit,
                        uint8_t coded[PARTS])
{
    float most = 0;

    if (sums) {
        *unit = nib_fit_scales(scales, sums, coded);
        return;
    }
    for (int j = 0; j < PARTS; j++) most = scales[j] > most ? scales[j] : most;
    for (int j = 0; j < PARTS; j++)
        coded[j] = (uint8_t)nib_clamp(nib_nearest((most > 0 ? 63 / most : 0) * scales[j]), 0, 63);
    *unit = most / 63;
}

/* What is fitted to the parts of some blocks; w: with importances. */
typedef struct parts_fit {
    const float *w;
    float scales[SETS * PARTS], below[SETS * PARTS], sums[SETS * PARTS];
    uint8_t codes[SETS * SUPER];
} parts_fit;

/* d, dmin and the 12 bytes of scales of block `i` to `block`; the codes of all its values anew. */
static const uint8_t *encode_scales(const nib_kernels *k, int most, size_t i, const float *x,
                                    parts_fit *fit, uint8_t *block)
{
    const float *sums = fit->w ? fit->sums + PARTS * i : NULL;
    uint8_t coded[2][PARTS], *codes = fit->codes + SUPER * i;
    float units[2], d[PARTS], dmin[PARTS];

    code_scales(fit->scales + PARTS * i, sums, &units[0], coded[0]);
    code_scales(fit->below + PARTS * i, sums, &units[1], coded[1]);
    memset(block, 0, 16);
    for (int j = 0; j < PARTS; j++) put_scale(block + 4, j, coded[0][j], coded[1][j]);
    nib_put_f16(nib_put_f16(block, units[0]), units[1]);
    for (int j = 0; j < PARTS; j++) {
        d[j] = stored(block) * (float)coded[0][j];
        dmin[j] = stored(block + 2) * (float)coded[1][j];
    }
    k->code_offsets(most, x + SUPER * i, d, dmin, codes);
    return codes;
}

static void put_four(const uint8_t *codes, uint8_t *q)
{
    for (int j = 0; j < SUPER; j += 2 * PART)
        for (int i = 0; i < PART; i++)
            *q++ = (uint8_t)(codes[j + i] | codes[j + i + PART] << 4);
}

static void put_five(const uint8_t *codes, uint8_t *high, uint8_t *q)
{
    memset(high, 0, PART);
    for (int j = 0; j < SUPER; j += 2 * PART)
        for (int i = 0; i < PART; i++) {
            uint8_t a = codes[j + i], b = codes[j + i + PART];
            high[i] |= (uint8_t)((a >> 4) << j / PART | (b >> 4) << (j / PART + 1));
            *q++ = (uint8_t)((a & 15) | (b & 15) << 4);
        }
}

void nib_encode_k4(const nib_kernels *k, nib_block_kind kind, size_t sets, const float *x,
                   const float *w, uint8_t *blocks)
{
    /* of 4 and of 5 bits; with importances more is tried */
    static const nib_fit fits[2][2] = { { { 15, -1, 0.1f, 20 }, { 15, -0.9f, 0.05f, 36 } },
                                        { { 31, -0.5f, 0.1f, 15 }, { 31, -0.9f, 0.05f, 36 } } };
    bool five = kind == NIB_BLOCK_Q5_K;
    const nib_fit *f = &fits[five][w != NULL];
    size_t bytes = nib_block_layouts[kind].bytes;
    parts_fit fit = { .w = w };

    k->fit_offsets(f, sets, x, w, fit.scales, fit.below, fit.sums, fit.codes);
    for (size_t i = 0; i < sets; i++, blocks += bytes) {
        const uint8_t *codes = encode_scales(k, f->most, i, x, &fit, blocks);
        if (five) put_five(codes, blocks + 16, blocks + 48);
        else put_four(codes, blocks + 16);
    }
}

/* --- Q6_K --- */

/* Low nibbles and upper pairs of bits of 128 values, in quarters of 32. */
static void put_six(const uint8_t *codes, uint8_t *low, uint8_t *high)
{
    for (int i = 0; i < 32; i++) {
        const uint8_t *c = codes + i;
        low[i] = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
        low[i + 32] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
        high[i] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
    }
}

static void encode_q6_k(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    float scales[SIX_PARTS], d[SIX_PARTS], most = 0, largest = 0, iscale, unit;
    uint8_t codes[SUPER];

    for (int h = 0; h < SIX_PARTS; h += PARTS)
        k->fit_signs(32, SIX_PART, x + SIX_PART * h, w ? w + SIX_PART * h : NULL, scales + h,
                     codes + SIX_PART * h);
    for (int j = 0; j < SIX_PARTS; j++)
        if (fabsf(scales[j]) > most) most = fabsf(scales[j]), largest = scales[j];
    memset(block, 0, 210);
    if (most < 1e-15f) return;
    iscale = -128 / largest;
    nib_put_f16(block + 208, 1 / iscale);
    unit = stored(block + 208);
    for (int j = 0; j < SIX_PARTS; j++) {
        int code = nib_clamp(nib_nearest(iscale * scales[j]), -128, 127);
        block[192 + j] = (uint8_t)(int8_t)code;
        d[j] = unit * (float)code;
    }
    for (int h = 0; h < SIX_PARTS; h += PARTS)
        k->code_signs(32, SIX_PART, x + SIX_PART * h, d + h, codes + SIX_PART * h);
    for (int t = 0; t < 2; t++) put_six(codes + 128 * t, block + 64 * t, block + 128 + 32 * t);
}

void nib_encode_q6_k(const nib_kernels *k, nib_block_kind kind, size_t sets, const float *x,
                     const float *w, uint8_t *blocks)
{
    for (size_t i = 0; i < sets; i++)
        encode_q6_k(k, x + SUPER * i, w ? w + SUPER * i : NULL,
                    blocks + nib_block_layouts[kind].bytes * i);
}
