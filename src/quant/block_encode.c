/* block_encode.c - see block_encode.h.
 *
 * Bytes are ggml's only if no product and sum are one instruction (the Makefile has
 * -ffp-contract=off) and sums run in the order of the index. */
#include "quant/block_encode.h"

#include <math.h>

#include "base/dtype.h"
#include "quant/block_encode_parts.h"

enum { LEGACY = 32, HALF = LEGACY / 2 };

typedef void encode_fn(const float *x, uint8_t *block);

static uint8_t *put_f16(uint8_t *to, float value)
{
    uint16_t h = nib_f32_to_f16(value);

    to[0] = (uint8_t)h;
    to[1] = (uint8_t)(h >> 8);
    return to + 2;
}

static float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

static void encode_q8_0(const float *x, uint8_t *block)
{
    float most = 0, d, id;
    uint8_t *to;

    for (int i = 0; i < LEGACY; i++) most = fmaxf(most, fabsf(x[i]));
    d = most / 127;
    id = reciprocal(d);
    to = put_f16(block, d);
    for (int i = 0; i < LEGACY; i++) to[i] = (uint8_t)(int8_t)roundf(x[i] * id);
}

/* Nibbles of the two halves in one byte each; the fifth bits, where there are such, in front. */
static void put_codes(uint8_t *to, const uint8_t *codes, bool five)
{
    uint32_t high = 0;

    if (five) {
        for (int i = 0; i < LEGACY; i++) high |= (uint32_t)(codes[i] >> 4) << i;
        for (int i = 0; i < 4; i++) *to++ = (uint8_t)(high >> 8 * i);
    }
    for (int i = 0; i < HALF; i++) to[i] = (uint8_t)((codes[i] & 15) | (codes[i + HALF] & 15) << 4);
}

/* Around zero: the value of largest magnitude, with its sign, becomes -levels. */
static void encode_signed(const float *x, uint8_t *block, int levels)
{
    float most = 0, signed_most = 0, d, id;
    uint8_t codes[LEGACY];

    for (int i = 0; i < LEGACY; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), signed_most = x[i];
    d = signed_most / (float)-levels;
    id = reciprocal(d);
    for (int i = 0; i < LEGACY; i++) {
        int code = (int)(x[i] * id + ((float)levels + 0.5f));
        codes[i] = (uint8_t)(code > 2 * levels - 1 ? 2 * levels - 1 : code);
    }
    put_codes(put_f16(block, d), codes, levels == 16);
}

/* From the least value up. */
static void encode_offset(const float *x, uint8_t *block, int most_code)
{
    float least = x[0], most = x[0], d, id;
    uint8_t codes[LEGACY];

    for (int i = 1; i < LEGACY; i++) {
        if (x[i] < least) least = x[i];
        if (x[i] > most) most = x[i];
    }
    d = (most - least) / (float)most_code;
    id = reciprocal(d);
    for (int i = 0; i < LEGACY; i++) {
        int code = (int)((x[i] - least) * id + 0.5f);
        codes[i] = (uint8_t)(code > most_code ? most_code : code);
    }
    put_codes(put_f16(put_f16(block, d), least), codes, most_code == 31);
}

static void encode_q4_0(const float *x, uint8_t *block) { encode_signed(x, block, 8); }
static void encode_q5_0(const float *x, uint8_t *block) { encode_signed(x, block, 16); }
static void encode_q4_1(const float *x, uint8_t *block) { encode_offset(x, block, 15); }
static void encode_q5_1(const float *x, uint8_t *block) { encode_offset(x, block, 31); }

static encode_fn *const encoders[NIB_BLOCK_KINDS] = {
    [NIB_BLOCK_Q8_0] = encode_q8_0, [NIB_BLOCK_Q4_0] = encode_q4_0, [NIB_BLOCK_Q4_1] = encode_q4_1,
    [NIB_BLOCK_Q5_0] = encode_q5_0, [NIB_BLOCK_Q5_1] = encode_q5_1,
    [NIB_BLOCK_Q4_K] = nib_encode_q4_k, [NIB_BLOCK_Q5_K] = nib_encode_q5_k,
    [NIB_BLOCK_Q6_K] = nib_encode_q6_k,
};

bool nib_block_encodes(const char *type, nib_block_kind *kind)
{
    for (unsigned i = 0; i < NIB_BLOCK_KINDS; i++)
        if (encoders[i] && strcmp(nib_block_layouts[i].name, type) == 0) {
            *kind = (nib_block_kind)i;
            return true;
        }
    return false;
}

void nib_block_encode(nib_block_kind kind, size_t count, const float *values, uint8_t *blocks)
{
    const nib_block_layout *l = &nib_block_layouts[kind];

    assert(encoders[kind]);
    for (size_t i = 0; i < count; i++)
        encoders[kind](values + i * l->values, blocks + i * l->bytes);
}
