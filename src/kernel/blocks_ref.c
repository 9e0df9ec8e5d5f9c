/* blocks_ref.c - ggml's block formats, a part of 32 values at a time. */
#include "base/dtype.h"
#include "kernel/kernels.h"

#define LAYOUT(name, values, bytes, offset) [NIB_BLOCK_##name] = { #name, values, bytes, offset },
const nib_block_layout nib_block_layouts[NIB_BLOCK_KINDS] = { NIB_BLOCK_LIST(LAYOUT) };

/* Not evenly spaced. */
static const int8_t iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                       1, 13, 25, 38, 53, 69, 89, 113 };

static float half_at(const uint8_t *p) { return nib_f16_to_f32(nib_load_le16(p)); }

static void set_scale(nib_block_part *p, float scale, float offset)
{
    p->scale[0] = p->scale[1] = scale;
    p->offset[0] = p->offset[1] = offset;
}

/* Low nibbles of 16 bytes are the first half, high ones the second. */
static void nibbles(const uint8_t *qs, nib_block_part *p)
{
    for (size_t i = 0; i < NIB_BLOCK_HALF; i++) {
        p->codes[i] = (int8_t)(qs[i] & 15);
        p->codes[i + NIB_BLOCK_HALF] = (int8_t)(qs[i] >> 4);
    }
}

static void look_up(nib_block_part *p, const int8_t table[16])
{
    for (size_t i = 0; i < NIB_BLOCK_PART; i++) p->codes[i] = table[p->codes[i] & 15];
}

static void add_bit(nib_block_part *p, uint32_t bits, int less)
{
    for (size_t i = 0; i < NIB_BLOCK_PART; i++)
        p->codes[i] = (int8_t)(p->codes[i] + (int)((bits >> i & 1) << 4) - less);
}

static void q4_0(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    nibbles(b + 2, p);
    for (size_t i = 0; i < NIB_BLOCK_PART; i++) p->codes[i] = (int8_t)(p->codes[i] - 8);
    set_scale(p, half_at(b), 0);
}

static void q4_1(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    nibbles(b + 4, p);
    set_scale(p, half_at(b), -half_at(b + 2));
}

static void q5_0(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    nibbles(b + 6, p);
    add_bit(p, nib_load_le32(b + 2), 16);
    set_scale(p, half_at(b), 0);
}

static void q5_1(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    nibbles(b + 8, p);
    add_bit(p, nib_load_le32(b + 4), 0);
    set_scale(p, half_at(b), -half_at(b + 2));
}

static void q8_0(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    memcpy(p->codes, b + 2, NIB_BLOCK_PART);
    set_scale(p, half_at(b), 0);
}

/* scales[16], qs[64], d, dmin: part 4 t + u is bits 2 u of qs[32 t ..]. */
static void q2_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *qs = b + 16 + part / 4 * 32;
    float d = half_at(b + 80), least = half_at(b + 82);

    for (size_t i = 0; i < NIB_BLOCK_PART; i++)
        p->codes[i] = (int8_t)(qs[i] >> part % 4 * 2 & 3);
    for (size_t h = 0; h < 2; h++) {
        uint8_t s = b[2 * part + h];
        p->scale[h] = d * (float)(s & 15);
        p->offset[h] = least * (float)(s >> 4);
    }
}

/* hmask[32], qs[64], scales[12], d: two bits as in Q2_K, the third from hmask, 0 meaning -4. */
static void q3_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *qs = b + 32 + part / 4 * 32, *s = b + 96;
    float d = half_at(b + 108);

    for (size_t i = 0; i < NIB_BLOCK_PART; i++)
        p->codes[i] = (int8_t)((qs[i] >> part % 4 * 2 & 3) - (b[i] >> part & 1 ? 0 : 4));
    for (size_t h = 0; h < 2; h++) {
        size_t k = 2 * part + h;
        int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
        int high = s[8 + k % 4] >> k / 4 * 2 & 3;
        p->scale[h] = d * (float)((low | high << 4) - 32);
        p->offset[h] = 0;
    }
}

/* Scale and offset of part j, 6 bits each, of Q4_K and Q5_K. */
static void scale_and_offset(const uint8_t *b, size_t j, nib_block_part *p)
{
    const uint8_t *s = b + 4;
    int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    int offset = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;

    set_scale(p, half_at(b) * (float)scale, half_at(b + 2) * (float)offset);
}

/* d, dmin, scales[12], qs[128]: parts 2 t and 2 t + 1 are the nibbles of qs[32 t ..]. */
static void q4_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *qs = b + 16 + part / 2 * 32;

    for (size_t i = 0; i < NIB_BLOCK_PART; i++)
        p->codes[i] = (int8_t)(qs[i] >> part % 2 * 4 & 15);
    scale_and_offset(b, part, p);
}

/* The same with qh[32] before qs. */
static void q5_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *qs = b + 48 + part / 2 * 32, *qh = b + 16;

    for (size_t i = 0; i < NIB_BLOCK_PART; i++)
        p->codes[i] = (int8_t)((qs[i] >> part % 2 * 4 & 15) | (qh[i] >> part & 1) << 4);
    scale_and_offset(b, part, p);
}

/* ql[128], qh[64], scales[16], d. */
static void q6_k(const uint8_t *b, size_t part, nib_block_part *p)
{
    const uint8_t *ql = b + part / 4 * 64 + part % 2 * 32, *qh = b + 128 + part / 4 * 32;
    const int8_t *scales = (const int8_t *)b + 192;
    float d = half_at(b + 208);

    for (size_t i = 0; i < NIB_BLOCK_PART; i++) {
        int low = ql[i] >> part % 4 / 2 * 4 & 15, high = qh[i] >> part % 4 * 2 & 3;
        p->codes[i] = (int8_t)((low | high << 4) - 32);
    }
    for (size_t h = 0; h < 2; h++) {
        p->scale[h] = d * (float)scales[2 * part + h];
        p->offset[h] = 0;
    }
}

static void iq4_nl(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    nibbles(b + 2, p);
    look_up(p, iq4_values);
    set_scale(p, half_at(b), 0);
}

/* d, scales_h (u16), scales_l[4], qs[128]. */
static void iq4_xs(const uint8_t *b, size_t part, nib_block_part *p)
{
    int low = b[4 + part / 2] >> part % 2 * 4 & 15, high = nib_load_le16(b + 2) >> part * 2 & 3;

    nibbles(b + 8 + part * 16, p);
    look_up(p, iq4_values);
    set_scale(p, half_at(b) * (float)((low | high << 4) - 32), 0);
}

static void mxfp4(const uint8_t *b, size_t part, nib_block_part *p)
{
    (void)part;
    nibbles(b + 1, p);
    look_up(p, nib_e2m1_twice);
    set_scale(p, nib_e8m0_half(b[0]), 0);
}

/* Part `part` of a block, of any kind, code by code. */
static void unpack(nib_block_kind kind, const uint8_t *block, size_t part, nib_block_part *out)
{
    static void (*const unpack[NIB_BLOCK_KINDS])(const uint8_t *, size_t, nib_block_part *) = {
        [NIB_BLOCK_Q4_0] = q4_0, [NIB_BLOCK_Q4_1] = q4_1, [NIB_BLOCK_Q5_0] = q5_0,
        [NIB_BLOCK_Q5_1] = q5_1, [NIB_BLOCK_Q8_0] = q8_0, [NIB_BLOCK_Q2_K] = q2_k,
        [NIB_BLOCK_Q3_K] = q3_k, [NIB_BLOCK_Q4_K] = q4_k, [NIB_BLOCK_Q5_K] = q5_k,
        [NIB_BLOCK_Q6_K] = q6_k, [NIB_BLOCK_IQ4_NL] = iq4_nl, [NIB_BLOCK_IQ4_XS] = iq4_xs,
        [NIB_BLOCK_MXFP4] = mxfp4,
    };

    unpack[kind](block, part, out);
}

static float value(const nib_block_part *p, size_t i)
{
    return (float)p->codes[i] * p->scale[i / NIB_BLOCK_HALF] - p->offset[i / NIB_BLOCK_HALF];
}

void nib_blocks_decode_ref(nib_block_kind kind, size_t count, const uint8_t *blocks, float *dst)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    nib_block_part p;

    for (size_t b = 0; b < count; b++)
        for (size_t part = 0; part < l->values / NIB_BLOCK_PART; part++, dst += NIB_BLOCK_PART) {
            unpack(kind, blocks + b * l->bytes, part, &p);
            for (size_t i = 0; i < NIB_BLOCK_PART; i++) dst[i] = value(&p, i);
        }
}

void nib_blocks_back_ref(nib_block_kind kind, const nib_block_column *c, size_t terms,
                         nib_pack_kind pack, void *panel, size_t strip)
{
    nib_block_part p;

    for (size_t t = 0; t < terms; t++) {
        unpack(kind, nib_block_row(&c->of, t), c->part, &p);
        for (size_t i = 0; i < NIB_BLOCK_PART; i++)
            nib_pack_put(pack, panel, strip, t, i, value(&p, i));
    }
}

void nib_blocks_dot_ref(nib_block_kind kind, size_t M, size_t count, const uint8_t *blocks,
                        const float *x, float *y, size_t ldy)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t in = count * l->values;
    float values[256];

    for (size_t m = 0; m < M; m++) y[m * ldy] = 0;
    for (size_t b = 0; b < count; b++) {
        nib_blocks_decode_ref(kind, 1, blocks + b * l->bytes, values);
        for (size_t m = 0; m < M; m++) {
            const float *row = x + m * in + b * l->values;
            float sum = 0;
            for (size_t i = 0; i < l->values; i++) sum += values[i] * row[i];
            y[m * ldy] += sum;
        }
    }
}

/* One part times one row of x, from the part's first term on. */
static float part_dot(const nib_block_part *p, const nib_fixed_x *x)
{
    int32_t products[2] = { 0, 0 };
    float sum = 0;

    for (size_t i = 0; i < NIB_BLOCK_PART; i++) {
        size_t at = nib_fixed_place(NIB_FIXED_EVEN_ODD, i);
        products[at / NIB_BLOCK_HALF] += p->codes[at] * x->words[i];
    }
    for (size_t h = 0; h < 2; h++)
        sum += p->scale[h] * ((float)products[h] * x->steps[0]) - p->offset[h] * x->sums[h];
    return sum;
}

void nib_blocks_dot_fixed_ref(nib_block_kind kind, size_t M, size_t count, const nib_block_rows *w,
                              size_t rows, const nib_fixed_x *x, float *y, size_t ldy)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t parts = l->values / NIB_BLOCK_PART;
    nib_block_part part;

    for (size_t i = 0; i < rows * M; i++) {
        const uint8_t *blocks = nib_block_row(w, i / M);
        nib_fixed_x row = nib_fixed_row(x, i % M);
        float sum = 0;
        for (size_t p = 0; p < count * parts; p++) {
            unpack(kind, blocks + p / parts * l->bytes, p % parts, &part);
            sum += part_dot(&part, &row);
            row = (nib_fixed_x){ row.words + NIB_BLOCK_PART, row.steps + 1, row.sums + 2, 0 };
        }
        y[i % M * ldy + i / M] = sum;
    }
}

/* Two blocks times a row of x from the first of them on. */
static float pair_dot(nib_block_kind kind, const uint8_t *blocks, const nib_fixed_x *x)
{
    float products[2] = { 0, 0 }, sum = 0;
    nib_block_part part[2];

    for (size_t b = 0; b < 2; b++)
        unpack(kind, blocks + b * nib_block_layouts[kind].bytes, 0, &part[b]);
    for (size_t i = 0; i < 2 * NIB_BLOCK_PART; i++) {
        size_t at = nib_fixed_place(NIB_FIXED_HALVES, i), b = at / NIB_BLOCK_PART;
        products[b] += (float)part[b].codes[at % NIB_BLOCK_PART] *
                       (float)nib_fixed_word(NIB_FIXED_HALVES, x->words, i);
    }
    for (size_t b = 0; b < 2; b++)
        sum += part[b].scale[0] * (products[b] * x->steps[b]) - part[b].offset[0] * x->sums[b];
    return sum;
}

void nib_blocks_dot_bytes_ref(nib_block_kind kind, size_t M, size_t count, const nib_block_rows *w,
                              size_t rows, const nib_fixed_x *x, float *y, size_t ldy)
{
    size_t pair = 2 * nib_block_layouts[kind].bytes;

    for (size_t i = 0; i < rows * M; i++) {
        const uint8_t *blocks = nib_block_row(w, i / M);
        nib_fixed_x row = nib_fixed_row(x, i % M);
        float sum = 0;
        for (size_t b = 0; b < count; b += 2, blocks += pair) {
            sum += pair_dot(kind, blocks, &row);
            row = (nib_fixed_x){ row.words + 2 * NIB_BLOCK_PART, row.steps + 2, row.sums + 2, 0 };
        }
        y[i % M * ldy + i / M] = sum;
    }
}
