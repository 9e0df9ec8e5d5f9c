/* fixed_ref.c - a row of x in fixed point, plainly. */
#include <math.h>

#include "kernel/kernels.h"

void nib_arrange_fixed_ref(size_t n, nib_fixed_order order, const float *x, void *to)
{
    int16_t *words = to;
    float *steps = (float *)(void *)(words + n), *sums = steps + n / NIB_FIXED_BLOCK;

    for (size_t b = 0; b < n / NIB_FIXED_BLOCK; b++, x += NIB_FIXED_BLOCK, sums += 2) {
        float most = 0;
        int32_t sum[2] = { 0, 0 };
        for (size_t i = 0; i < NIB_FIXED_BLOCK && !isnan(most); i++)
            if (!(fabsf(x[i]) <= most)) most = fabsf(x[i]);
        steps[b] = isfinite(most) ? fmaxf(most * (1.0f / NIB_FIXED_MOST), 0x1p-100f) : NAN;
        for (size_t i = 0; i < NIB_FIXED_BLOCK; i++) {
            size_t place = nib_fixed_place(order, i);
            float value = x[place] * (1 / steps[b]);
            int32_t word = isfinite(most) ? (int32_t)fminf(fmaxf(rintf(value), -NIB_FIXED_MOST),
                                                           NIB_FIXED_MOST)
                                          : 0;
            nib_fixed_put(order, words, i, word);
            sum[place / NIB_FIXED_HALF] += word;
        }
        words += NIB_FIXED_BLOCK;
        for (size_t h = 0; h < 2; h++) sums[h] = (float)sum[h] * steps[b];
    }
}
