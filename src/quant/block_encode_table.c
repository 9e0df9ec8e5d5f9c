/* block_encode_table.c - values into blocks whose codes name entries of a table: IQ4_NL, MXFP4
 * (formats-quant.md 7.9, 7.11). */
#include <math.h>

#include "quant/block_encode_parts.h"

enum { VALUES = 32, HALF = VALUES / 2, ENTRIES = 16 };

static void put_codes(uint8_t *to, const uint8_t *codes)
{
    for (int i = 0; i < HALF; i++) to[i] = (uint8_t)(codes[i] | codes[i + HALF] << 4);
}

/* --- IQ4_NL --- */

static const int8_t uneven[ENTRIES] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                        1, 13, 25, 38, 53, 69, 89, 113 };

/* The nearest entry; the greater of two that are as near. */
static uint8_t nearest_entry(float x)
{
    uint8_t above = 1;

    if (x <= (float)uneven[0]) return 0;
    if (x >= (float)uneven[ENTRIES - 1]) return ENTRIES - 1;
    while (x >= (float)uneven[above]) above++;
    return x - (float)uneven[above - 1] < (float)uneven[above] - x ? above - 1 : above;
}

static void table_sums(const float *x, const float *w, float inverse, float *xl, float *l2)
{
    *xl = *l2 = 0;
    for (int i = 0; i < VALUES; i++) {
        float q = (float)uneven[nearest_entry(inverse * x[i])], wi = w ? w[i] : x[i] * x[i];
        *xl += wi * q * x[i];
        *l2 += wi * q * q;
    }
}

void nib_encode_iq4_nl(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    float most = 0, largest = 0, d = 0, best, xl, l2, inverse;
    uint8_t codes[VALUES];

    (void)k;
    for (int i = 0; i < VALUES; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), largest = x[i];
    if (most >= 1e-15f) {
        table_sums(x, w, 1 / (-largest / (float)uneven[0]), &xl, &l2);
        d = l2 > 0 ? xl / l2 : 0; /* 0: nothing of the block counts */
        best = d * xl;
        for (int t = -7; t <= 7; t++) {
            table_sums(x, w, ((float)t + (float)uneven[0]) / largest, &xl, &l2);
            if (!(l2 > 0 && xl * xl > best * l2)) continue;
            d = xl / l2;
            best = d * xl;
        }
    }
    inverse = d != 0 ? 1 / d : 0;
    for (int i = 0; i < VALUES; i++) codes[i] = nearest_entry(inverse * x[i]);
    put_codes(nib_put_f16(block, d), codes);
}

/* --- MXFP4 --- */

/* A power of two for all, and of each value the nearest of eight sizes, the smaller code of two
 * that are as near. */
void nib_encode_mxfp4(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    static const float sizes[ENTRIES] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6,
                                          -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6 };
    float most = 0, unit;
    uint8_t codes[VALUES];
    int e = 0;

    (void)k;
    (void)w; /* ggml asks for none */
    for (int i = 0; i < VALUES; i++) most = fmaxf(most, fabsf(x[i]));
    if (most > 0) e = nib_clamp((int)floorf(log2f(most)) - 2 + 127, 0, 254);
    unit = ldexpf(1, e - 127);
    for (int i = 0; i < VALUES; i++) {
        float best = fabsf(sizes[0] * unit - x[i]);
        codes[i] = 0;
        for (uint8_t c = 1; c < ENTRIES; c++) {
            float error = fabsf(sizes[c] * unit - x[i]);
            if (error < best) best = error, codes[i] = c;
        }
    }
    block[0] = (uint8_t)e;
    put_codes(block + 1, codes);
}
