/* float4_ref.c - E2M1 under shared scales, value by value. */
#include "kernel/kernels.h"

const int8_t nib_e2m1_twice[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static float value_at(const nib_float4_row *r, size_t i)
{
    float x = (float)nib_e2m1_twice[r->codes[i / 2] >> i % 2 * 4 & 15] *
              r->halves[r->scales[i / r->group]];

    return r->round ? nib_round_bf16(x) : x;
}

void nib_float4_decode_ref(const nib_float4_row *r, size_t n, float *dst)
{
    for (size_t i = 0; i < n; i++) dst[i] = value_at(r, i);
}

void nib_float4_back_ref(const nib_float4_row *first, size_t codes, size_t scales, size_t terms,
                         nib_pack_kind pack, void *panel, size_t strip)
{
    for (size_t t = 0; t < terms; t++) {
        nib_float4_row r = *first;
        r.codes += t * codes;
        r.scales += t * scales;
        for (size_t i = 0; i < NIB_PANEL; i++)
            nib_pack_put(pack, panel, strip, t, i, value_at(&r, i));
    }
}

void nib_float4_dot_ref(const nib_float4_row *r, size_t M, size_t n, const float *x, float *y,
                        size_t ldy)
{
    for (size_t m = 0; m < M; m++) {
        float sum = 0;
        for (size_t i = 0; i < n; i++) sum += value_at(r, i) * x[m * n + i];
        y[m * ldy] = sum;
    }
}

void nib_float4_dot_fixed_ref(const nib_float4_row *r, size_t M, size_t n, const nib_fixed_x *x,
                              float *y, size_t ldy)
{
    for (size_t m = 0; m < M; m++) {
        const nib_fixed_x row = nib_fixed_row(x, m);
        float sum = 0;
        for (size_t i = 0; i < n; i++) {
            float step = row.steps[i / NIB_FIXED_BLOCK];
            int32_t word = nib_fixed_turned(row.words, n, i);
            sum += (float)nib_e2m1_twice[r->codes[i / 2] >> i % 2 * 4 & 15] *
                   (r->halves[r->scales[i / r->group]] * step) *
                   (float)word;
        }
        y[m * ldy] = sum;
    }
}
