/* grouped_dot_ref.c - products of few rows with grouped integer codes, plainly. */
#include <math.h>

#include "kernel/kernels.h"

void nib_grouped_arrange_ref(size_t n, unsigned bits, const float *x, void *to)
{
    int16_t *words = to;
    float *steps = (float *)(void *)(words + n), *sums = steps + n / NIB_GROUPED_BLOCK;

    for (size_t b = 0; b < n / NIB_GROUPED_BLOCK; b++, x += NIB_GROUPED_BLOCK) {
        float most = 0;
        int32_t sum = 0;
        for (size_t i = 0; i < NIB_GROUPED_BLOCK && !isnan(most); i++)
            if (!(fabsf(x[i]) <= most)) most = fabsf(x[i]);
        steps[b] = isfinite(most) ? fmaxf(most * (1.0f / NIB_GROUPED_MOST), 0x1p-100f) : NAN;
        for (size_t i = 0; i < NIB_GROUPED_BLOCK; i++) {
            float value = x[nib_grouped_place(bits, i)] * (1 / steps[b]);
            *words = isfinite(most) ? (int16_t)fminf(fmaxf(rintf(value), -NIB_GROUPED_MOST),
                                                     NIB_GROUPED_MOST)
                                    : 0;
            sum += *words++;
        }
        sums[b] = (float)sum * steps[b];
    }
}

void nib_grouped_dot_ref(const nib_grouped_codes *c, size_t terms, size_t M, const nib_grouped_x *x,
                         float *y)
{
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < NIB_PANEL; n++) {
            const uint8_t *stream = c->words + n / NIB_STRIP * c->second + n % NIB_STRIP * c->other;
            const int16_t *words = (const int16_t *)(const void *)((const char *)x->words +
                                                                   m * x->ldx);
            const float *steps = (const float *)(const void *)((const char *)x->steps + m * x->ldx);
            const float *sums = (const float *)(const void *)((const char *)x->sums + m * x->ldx);

            for (size_t b = 0; b < terms / NIB_GROUPED_BLOCK; b++) {
                size_t at = nib_grouped_group(c, b * NIB_GROUPED_BLOCK) * NIB_PANEL + n;
                int32_t sum = 0;
                for (size_t i = 0; i < NIB_GROUPED_BLOCK; i++) {
                    size_t v = b * NIB_GROUPED_BLOCK + nib_grouped_place(c->bits, i);
                    sum += (int32_t)nib_grouped_code(c, stream, v) *
                           words[b * NIB_GROUPED_BLOCK + i];
                }
                y[m * NIB_PANEL + n] +=
                    c->scales[at] * ((float)sum * steps[b] - c->zeros[at] * sums[b]);
            }
        }
}
