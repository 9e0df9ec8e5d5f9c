/* block_encode.c - see block_encode.h.
 *
 * Bytes are ggml's only if no product and sum are one instruction (the Makefile has
 * -ffp-contract=off) and sums run in the order of the index. */
#include "quant/block_encode.h"

#include <math.h>

#include "quant/block_encode_parts.h"

enum { LEGACY = NIB_ENCODE_PART, SUPER = NIB_ENCODE_SUPER, PARTS = NIB_ENCODE_PARTS,
       RUN = NIB_ENCODE_SETS * SUPER };

/* --- blocks of 32 --- */

/* Around zero: the scale of the smallest error.  Q4_0, Q5_0. */
static void encode_signed(const nib_kernels *k, nib_block_kind kind, size_t sets, const float *x,
                          const float *w, uint8_t *blocks)
{
    size_t bytes = nib_block_layouts[kind].bytes;
    bool five = kind == NIB_BLOCK_Q5_0;

    for (size_t i = 0; i < sets; i++, x += SUPER, w += SUPER) {
        uint8_t codes[SUPER];
        float d[PARTS];
        k->fit_signs(five ? 16 : 8, LEGACY, x, w, d, codes);
        for (size_t j = 0; j < PARTS; j++, blocks += bytes)
            nib_put_codes(nib_put_f16(blocks, d[j]), codes + LEGACY * j, five);
    }
}

/* From the least value, of the smallest error, up.  Q4_1, Q5_1. */
static void encode_offset(const nib_kernels *k, nib_block_kind kind, size_t sets, const float *x,
                          const float *w, uint8_t *blocks)
{
    bool five = kind == NIB_BLOCK_Q5_1;
    const nib_fit fit = { five ? 31 : 15, -0.9f, 0.05f, 36 };
    float d[RUN / LEGACY], below[RUN / LEGACY], sums[RUN / LEGACY];
    uint8_t codes[RUN];
    size_t bytes = nib_block_layouts[kind].bytes;

    k->fit_offsets(&fit, sets, x, w, d, below, sums, codes);
    for (size_t j = 0; j < PARTS * sets; j++, blocks += bytes)
        nib_put_codes(nib_put_f16(nib_put_f16(blocks, d[j]), -below[j]), codes + LEGACY * j, five);
}

static void encode_iq4_nl(const nib_kernels *k, nib_block_kind kind, size_t sets, const float *x,
                          const float *w, uint8_t *blocks)
{
    size_t bytes = nib_block_layouts[kind].bytes;

    for (size_t i = 0; i < sets; i++) {
        uint8_t codes[SUPER];
        float d[PARTS];
        k->fit_uneven(x + SUPER * i, w ? w + SUPER * i : NULL, d, codes);
        for (size_t j = 0; j < PARTS; j++, blocks += bytes)
            nib_put_codes(nib_put_f16(blocks, d[j]), codes + LEGACY * j, false);
    }
}

/* --- all --- */

/* With importances a value counts importance times the root of its square and of a mean of squares:
 * `over` values, times `times`. */
typedef enum mean { MEAN_NONE, MEAN_ROW, MEAN_BLOCK } mean;

/* plain: without importances there is no search; search NULL: there never is one. */
typedef struct encoder { nib_encode_fn *search; mean over; float times; bool plain; } encoder;

static const encoder encoders[NIB_BLOCK_KINDS] = {
    [NIB_BLOCK_Q8_0] = { NULL, MEAN_NONE, 0, true },
    [NIB_BLOCK_Q4_0] = { encode_signed, MEAN_ROW, 1, true },
    [NIB_BLOCK_Q4_1] = { encode_offset, MEAN_ROW, 1, true },
    [NIB_BLOCK_Q5_0] = { encode_signed, MEAN_ROW, 1, true },
    [NIB_BLOCK_Q5_1] = { encode_offset, MEAN_ROW, 1, true },
    [NIB_BLOCK_Q4_K] = { nib_encode_k4, MEAN_BLOCK, 2, false },
    [NIB_BLOCK_Q5_K] = { nib_encode_k4, MEAN_BLOCK, 2, false },
    [NIB_BLOCK_Q6_K] = { nib_encode_q6_k, MEAN_NONE, 0, false },
    [NIB_BLOCK_IQ4_NL] = { encode_iq4_nl, MEAN_BLOCK, 2, false },
    [NIB_BLOCK_MXFP4] = { NULL, MEAN_NONE, 0, true },
};

bool nib_block_encodes(const char *type, nib_block_kind *kind)
{
    for (unsigned i = 0; i < NIB_BLOCK_KINDS; i++)
        if ((encoders[i].search || encoders[i].plain) &&
            strcmp(nib_block_layouts[i].name, type) == 0) {
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

/* How much each of `count` values counts, in blocks of `values`; square: of the row. */
static void weigh(const encoder *e, size_t count, size_t values, float square, const float *x,
                  const float *importance, float *w)
{
    for (size_t i = 0; i < count; i++) {
        if (e->over == MEAN_BLOCK && i % values == 0)
            square = mean_square(x + i, values, e->times);
        w[i] = e->over == MEAN_NONE ? importance[i] : importance[i] * sqrtf(square + x[i] * x[i]);
    }
}

/* The end of a row: zeros fill the last 256 values. */
static void encode_rest(const nib_kernels *k, nib_block_kind kind, size_t count, const float *x,
                        const float *w, uint8_t *blocks)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t values = count * l->values;
    float filled[RUN] = { 0 }, counts[RUN] = { 0 };
    uint8_t made[RUN];

    assert(values < RUN && RUN / l->values * l->bytes <= sizeof made);
    memcpy(filled, x, values * sizeof *x);
    if (w) memcpy(counts, w, values * sizeof *w);
    encoders[kind].search(k, kind, (values + SUPER - 1) / SUPER, filled, w ? counts : NULL, made);
    memcpy(blocks, made, count * l->bytes);
}

void nib_block_encode(const nib_kernels *k, nib_block_kind kind, size_t count,
                      const float *values, const float *importance, uint8_t *blocks)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    const encoder *e = &encoders[kind];
    size_t run = RUN / l->values;
    float square = 0, w[RUN];

    if (e->plain && (!importance || !e->search)) {
        k->encode_plain(kind, count, values, blocks);
        return;
    }
    assert(e->search);
    if (importance && e->over == MEAN_ROW)
        square = mean_square(values, count * l->values, e->times);
    for (size_t i = 0; i < count; i += run) {
        size_t n = nib_min(run, count - i), many = n * l->values;
        const float *x = values + i * l->values, *own = importance ? w : NULL;
        if (own) weigh(e, many, l->values, square, x, importance + i * l->values, w);
        if (many % SUPER) encode_rest(k, kind, n, x, own, blocks + i * l->bytes);
        else e->search(k, kind, many / SUPER, x, own, blocks + i * l->bytes);
    }
}
