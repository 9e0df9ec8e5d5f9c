/* float8_ref.c - E4M3 by its bits, code by code. */
#include <math.h>

#include "kernel/kernels.h"

static float value_of(uint8_t code)
{
    unsigned exponent = code >> 3 & 15, fraction = code & 7;
    float size;

    if ((code & 0x7f) == 0x7f) size = NAN;
    else if (!exponent) size = (float)fraction * 0x1p-9f;
    else size = ldexpf(1 + (float)fraction / 8, (int)exponent - 7);
    return code & 0x80 ? -size : size;
}

void nib_float8_decode_ref(size_t n, const uint8_t *codes, nib_float8_scale scale, float *dst)
{
    for (size_t i = 0; i < n; i++) {
        float x = value_of(codes[i]);

        x = scale.divide ? x / scale.by : x * scale.by;
        if (scale.round == NIB_BF16) x = nib_round_bf16(x);
        else if (scale.round == NIB_F16) x = nib_f16_to_f32(nib_f32_to_f16(x));
        dst[i] = x;
    }
}

void nib_float8_back_ref(const nib_float8_column *c, size_t terms, nib_pack_kind pack, void *panel,
                         size_t strip)
{
    float values[NIB_PANEL];

    for (size_t t = 0; t < terms; t++) {
        nib_float8_scale scale = { .by = c->by[t], .divide = c->divide, .round = c->round };
        nib_float8_decode_ref(NIB_PANEL, c->codes + t * c->stride, scale, values);
        for (size_t i = 0; i < NIB_PANEL; i++) nib_pack_put(pack, panel, strip, t, i, values[i]);
    }
}

void nib_float8_dot_ref(const nib_float8_row *r, size_t M, const float *x, float *y, size_t ldy)
{
    for (size_t m = 0; m < M; m++) {
        float sum = 0;
        for (size_t i = 0; i < r->n; i++)
            sum += value_of(r->codes[i]) * r->by[i / r->columns] * x[m * r->n + i];
        y[m * ldy] = sum;
    }
}
