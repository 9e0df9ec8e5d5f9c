/* block_encode.c - see block_encode.h.
 *
 * Bytes are ggml's only if no product and sum are one instruction (the Makefile has
 * -ffp-contract=off) and sums run in the order of the index. */
#include "quant/block_encode.h"

#include <math.h>

#include "quant/block_encode_parts.h"

enum { LEGACY = 32, HALF = LEGACY / 2 };

/* w: how much each value counts; NULL: as without importances. */
typedef void encode_fn(const nib_kernels *k, const float *x, const float *w, uint8_t *block);

static float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

static void encode_q8_0(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    (void)w; /* ggml asks for none */
    k->encode_q8_0(x, block);
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

/* Around zero; with importances the scale of the smallest error. */
static void encode_signed(const float *x, const float *w, uint8_t *block, int levels)
{
    uint8_t codes[LEGACY];
    float d = w ? nib_fit_signed(x, w, LEGACY, levels, codes) : nib_fit_largest(x, levels, codes);

    put_codes(nib_put_f16(block, d), codes, levels == 16);
}

/* From the least value up; with importances from one of the smallest error. */
static void encode_offset(const float *x, const float *w, uint8_t *block, int most_code)
{
    const nib_fit fit = { most_code, -0.9f, 0.05f, 36 };
    float least = x[0], most = x[0], d, id, below;
    uint8_t codes[LEGACY];

    if (w) {
        d = nib_fit_offset(x, w, &fit, codes, &below);
        put_codes(nib_put_f16(nib_put_f16(block, d), -below), codes, most_code == 31);
        return;
    }
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
    put_codes(nib_put_f16(nib_put_f16(block, d), least), codes, most_code == 31);
}

static void encode_q4_0(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    if (w) encode_signed(x, w, block, 8);
    else k->encode_q4_0(x, block);
}
static void encode_q5_0(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    (void)k;
    encode_signed(x, w, block, 16);
}
static void encode_q4_1(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    (void)k;
    encode_offset(x, w, block, 15);
}
static void encode_q5_1(const nib_kernels *k, const float *x, const float *w, uint8_t *block)
{
    (void)k;
    encode_offset(x, w, block, 31);
}

/* With importances a value counts importance times the root of its square and of a mean of squares:
 * `over` values, times `times`. */
typedef enum mean { MEAN_NONE, MEAN_ROW, MEAN_BLOCK } mean;

static const struct { encode_fn *encode; mean over; float times; } encoders[NIB_BLOCK_KINDS] = {
    [NIB_BLOCK_Q8_0] = { encode_q8_0, MEAN_NONE, 0 },
    [NIB_BLOCK_Q4_0] = { encode_q4_0, MEAN_ROW, 1 },
    [NIB_BLOCK_Q4_1] = { encode_q4_1, MEAN_ROW, 1 },
    [NIB_BLOCK_Q5_0] = { encode_q5_0, MEAN_ROW, 1 },
    [NIB_BLOCK_Q5_1] = { encode_q5_1, MEAN_ROW, 1 },
    [NIB_BLOCK_Q4_K] = { nib_encode_q4_k, MEAN_BLOCK, 2 },
    [NIB_BLOCK_Q5_K] = { nib_encode_q5_k, MEAN_BLOCK, 2 },
    [NIB_BLOCK_Q6_K] = { nib_encode_q6_k, MEAN_NONE, 0 },
    [NIB_BLOCK_IQ4_NL] = { nib_encode_iq4_nl, MEAN_BLOCK, 2 },
    [NIB_BLOCK_MXFP4] = { nib_encode_mxfp4, MEAN_NONE, 0 },
};

bool nib_block_encodes(const char *type, nib_block_kind *kind)
{
    for (unsigned i = 0; i < NIB_BLOCK_KINDS; i++)
        if (encoders[i].encode && strcmp(nib_block_layouts[i].name, type) == 0) {
            *kind = (nib_block_kind)i;
            return true;
        }
    return false;
}

static float mean_square(const float *x, size_t count, float times)
{
    float sum = 0;

    for (size_t i = 0; i < count; i++) sum += x[i] * x[i];
    return times * sum / (float)count;
}

void nib_block_encode(const nib_kernels *k, nib_block_kind kind, size_t count,
                      const float *values, const float *importance, uint8_t *blocks)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    mean over = encoders[kind].over;
    float times = encoders[kind].times, square = 0, w[NIB_ENCODE_SUPER];

    assert(encoders[kind].encode && l->values <= NIB_ENCODE_SUPER);
    if (importance && over == MEAN_ROW) square = mean_square(values, count * l->values, times);
    for (size_t i = 0; i < count; i++) {
        const float *x = values + i * l->values;
        const float *own = importance ? importance + i * l->values : NULL;
        if (own && over != MEAN_NONE) {
            if (over == MEAN_BLOCK) square = mean_square(x, l->values, times);
            for (size_t j = 0; j < l->values; j++) w[j] = own[j] * sqrtf(square + x[j] * x[j]);
            own = w;
        }
        encoders[kind].encode(k, x, own, blocks + i * l->bytes);
    }
}
