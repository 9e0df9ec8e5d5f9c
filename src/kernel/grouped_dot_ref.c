/* grouped_dot_ref.c - products of few rows with grouped integer codes, plainly. */
#include "kernel/kernels.h"

/* codes: the sum of code * x; ones: of x. */
static float of_block(const nib_grouped_codes *c, size_t at, float codes, float ones)
{
    if (c->biased) return c->scales[at] * codes + c->zeros[at] * ones;
    return c->scales[at] * (codes - c->zeros[at] * ones);
}

void nib_grouped_dot_ref(const nib_grouped_codes *c, size_t terms, size_t M, const nib_fixed_x *x,
                         size_t columns, float *y)
{
    const nib_fixed_order order = (nib_fixed_order)c->bits;

    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < columns; n++) {
            const uint8_t *stream = c->words + n / NIB_PANEL * NIB_PANEL * c->other +
                                    n / NIB_STRIP % 2 * c->second + n % NIB_STRIP * c->other;
            const nib_fixed_x row = nib_fixed_row(x, m);

            for (size_t b = 0; b < terms / NIB_FIXED_BLOCK; b++) {
                size_t at = nib_grouped_group(c, b * NIB_FIXED_BLOCK) * NIB_PANEL + n;
                int32_t sum = 0;
                for (size_t i = 0; i < NIB_FIXED_BLOCK; i++) {
                    size_t v = b * NIB_FIXED_BLOCK + nib_fixed_place(order, i);
                    sum += (int32_t)nib_grouped_code(c, stream, v) *
                           nib_fixed_word(order, row.words + b * NIB_FIXED_BLOCK, i);
                }
                y[(n / NIB_PANEL * M + m) * NIB_PANEL + n % NIB_PANEL] +=
                    of_block(c, at, (float)sum * row.steps[b],
                             row.sums[2 * b] + row.sums[2 * b + 1]);
            }
        }
}
