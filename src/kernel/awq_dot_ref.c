/* awq_dot_ref.c - products of few rows with AWQ's codes, plainly. */
#include "kernel/kernels.h"

static float output(const nib_awq_group *g, size_t n, const nib_fixed_x *x)
{
    const uint8_t *words = g->rows + n / 8 * 4;
    float all = 0, ones = 0;

    for (size_t b = 0; b < g->inputs / NIB_FIXED_BLOCK; b++) {
        int32_t sum = 0;
        for (size_t i = b * NIB_FIXED_BLOCK; i < (b + 1) * NIB_FIXED_BLOCK; i++)
            sum += (int32_t)(nib_load_le32(words + i * g->next) >> nib_awq_shift(n) & 15) *
                   x->words[i];
        all += (float)sum * x->steps[b];
        ones += x->sums[2 * b] + x->sums[2 * b + 1];
    }
    return g->scales[n] * (all - g->zeros[n] * ones);
}

void nib_awq_dot_ref(const nib_awq_group *g, size_t M, const nib_fixed_x *x, float *room, float *y)
{
    (void)room;
    for (size_t m = 0; m < M; m++) {
        const nib_fixed_x row = nib_fixed_row(x, m);
        for (size_t n = 0; n < g->outputs; n++)
            y[(n / NIB_PANEL * M + m) * NIB_PANEL + n % NIB_PANEL] += output(g, n, &row);
    }
}
