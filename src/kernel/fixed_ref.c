/* fixed_ref.c - a row of x in fixed point, plainly. */
#include <math.h>

#include "kernel/kernels.h"

static float step_of(const float *x)
{
    float most = 0;

    for (size_t i = 0; i < NIB_FIXED_BLOCK && !isnan(most); i++)
        if (!(fabsf(x[i]) <= most)) most = fabsf(x[i]);
    return isfinite(most) ? fmaxf(most * (1.0f / NIB_FIXED_MOST), 0x1p-100f) : NAN;
}

static int32_t word_of(float x, float step)
{
    float word = rintf(x * (1 / step));

    return isnan(step) ? 0 : (int32_t)fminf(fmaxf(word, -NIB_FIXED_MOST), NIB_FIXED_MOST);
}

void nib_arrange_fixed_ref(size_t n, nib_fixed_order order, const float *x, void *to)
{
    int16_t *words = to;
    float *steps = (float *)(void *)(words + n), *sums = steps + n / NIB_FIXED_BLOCK;
    size_t unit;

    for (size_t b = 0; b < n / NIB_FIXED_BLOCK; b++, x += NIB_FIXED_BLOCK) {
        int32_t sum[2] = { 0, 0 };
        steps[b] = step_of(x);
        for (size_t i = 0; i < NIB_FIXED_BLOCK; i++)
            sum[i / NIB_FIXED_HALF] += word_of(x[i], steps[b]);
        for (size_t h = 0; h < 2; h++) sums[2 * b + h] = (float)sum[h] * steps[b];
    }
    x -= n;
    for (size_t u = 0; u < n; u += unit) {
        order = nib_fixed_order_of(order, n - u);
        unit = nib_fixed_unit(order);
        for (size_t i = 0; i < unit; i++) {
            size_t at = u + nib_fixed_place(order, i);
            nib_fixed_put(order, words + u, i, word_of(x[at], steps[at / NIB_FIXED_BLOCK]));
        }
    }
}
