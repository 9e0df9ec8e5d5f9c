/* additive_ref.c - additively quantized rows, value by value. */
#include "kernel/kernels.h"

static float entry_at(const nib_additive_row *r, size_t i)
{
    float x;

    if (r->type == NIB_F32) memcpy(&x, (const char *)r->entries + 4 * i, sizeof x);
    else {
        uint16_t bits = nib_load_le16((const uint8_t *)r->entries + 2 * i);
        x = r->type == NIB_F16 ? nib_f16_to_f32(bits) : nib_bf16_to_f32(bits);
    }
    return x;
}

static float value_at(const nib_additive_row *r, const uint8_t *codes, size_t v)
{
    float sum = entry_at(r, nib_additive_place(r, codes, 0) + v);

    for (unsigned k = 1; k < r->books; k++)
        sum += entry_at(r, nib_additive_place(r, codes, k) + v);
    return sum * r->scale;
}

void nib_additive_decode_ref(const nib_additive_row *r, size_t groups, float *dst)
{
    for (size_t g = 0; g < groups; g++)
        for (size_t v = 0; v < r->group; v++)
            dst[g * r->group + v] = value_at(r, r->codes + g * r->step, v);
}

void nib_additive_back_ref(const nib_additive_column *c, size_t terms, nib_pack_kind pack,
                           void *panel, size_t strip)
{
    for (size_t t = 0; t < terms; t++) {
        nib_additive_row r = c->first;
        r.codes += t * c->stride;
        r.scale = c->scales[t];
        for (size_t i = 0; i < NIB_PANEL; i++)
            nib_pack_put(pack, panel, strip, t, i,
                         value_at(&r, r.codes + i / r.group * r.step, i % r.group));
    }
}

void nib_additive_dot_ref(const nib_additive_row *r, size_t M, size_t groups, const float *x,
                          float *y, size_t ldy)
{
    size_t in = groups * r->group;

    for (size_t m = 0; m < M; m++) {
        float sum = 0;
        for (size_t i = 0; i < in; i++)
            sum += value_at(r, r->codes + i / r->group * r->step, i % r->group) * x[m * in + i];
        y[m * ldy] = sum;
    }
}
