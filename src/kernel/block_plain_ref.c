/* block_plain_ref.c - values to the blocks of ggml that need no search, value by value. */
#include "kernel/block_plain.h"

#include <math.h>

#include "kernel/kernels.h"

enum { PART = NIB_BLOCK_PART, HALF = NIB_BLOCK_HALF };

static float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

void nib_put_codes(uint8_t *to, const uint8_t *codes, bool five)
{
    uint32_t high = 0;

    if (five) {
        for (int i = 0; i < PART; i++) high |= (uint32_t)(codes[i] >> 4) << i;
        for (int i = 0; i < 4; i++) *to++ = (uint8_t)(high >> 8 * i);
    }
    for (int i = 0; i < HALF; i++) to[i] = (uint8_t)((codes[i] & 15) | (codes[i + HALF] & 15) << 4);
}

static void encode_q8_0(const float *x, uint8_t *block)
{
    float most = 0, d, id;

    for (int i = 0; i < PART; i++) most = fmaxf(most, fabsf(x[i]));
    d = most / 127;
    id = reciprocal(d);
    block = nib_put_f16(block, d);
    for (int i = 0; i < PART; i++) block[i] = (uint8_t)nib_to_int(roundf(x[i] * id));
}

/* The value of largest size, with its sign, becomes -levels. */
static void encode_signed(const float *x, uint8_t *block, int levels)
{
    float most = 0, largest = 0, d, id;
    uint8_t codes[PART];

    for (int i = 0; i < PART; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), largest = x[i];
    d = largest / (float)-levels;
    id = reciprocal(d);
    for (int i = 0; i < PART; i++) {
        int code = nib_to_int(x[i] * id + ((float)levels + 0.5f));
        codes[i] = (uint8_t)(code > 2 * levels - 1 ? 2 * levels - 1 : code);
    }
    nib_put_codes(nib_put_f16(block, d), codes, levels == 16);
}

/* From the least value up. */
static void encode_offset(const float *x, uint8_t *block, int most_code)
{
    float least = x[0], most = x[0], d, id;
    uint8_t codes[PART];

    for (int i = 1; i < PART; i++) {
        if (x[i] < least) least = x[i];
        if (x[i] > most) most = x[i];
    }
    d = (most - least) / (float)most_code;
    id = reciprocal(d);
    for (int i = 0; i < PART; i++) {
        int code = nib_to_int((x[i] - least) * id + 0.5f);
        codes[i] = (uint8_t)(code > most_code ? most_code : code);
    }
    nib_put_codes(nib_put_f16(nib_put_f16(block, d), least), codes, most_code == 31);
}

/* --- MXFP4 --- */

int nib_mxfp4_unit(float most)
{
    int e = most > 0 ? (int)floorf(log2f(most)) - 2 + 127 : 0;

    return e < 0 ? 0 : e;
}

/* A power of two for all, and of each value the nearest of eight sizes, the smaller code of two
 * that are as near. */
static void encode_mxfp4(const float *x, uint8_t *block)
{
    static const float sizes[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6,
                                   -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6 };
    float most = 0, unit;
    uint8_t codes[PART];
    int e;

    for (int i = 0; i < PART; i++) most = fmaxf(most, fabsf(x[i]));
    e = nib_mxfp4_unit(most);
    unit = ldexpf(1, e - 127);
    for (int i = 0; i < PART; i++) {
        float best = fabsf(sizes[0] * unit - x[i]);
        codes[i] = 0;
        for (uint8_t c = 1; c < NIB_COUNT(sizes); c++) {
            float error = fabsf(sizes[c] * unit - x[i]);
            if (error < best) best = error, codes[i] = c;
        }
    }
    block[0] = (uint8_t)e;
    nib_put_codes(block + 1, codes, false);
}

void nib_encode_plain_ref(nib_block_kind kind, size_t count, const float *x, uint8_t *blocks)
{
    NIB_ENCODE_PLAIN(kind, count, x, blocks);
}
