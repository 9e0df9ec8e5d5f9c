/* grouped_row_ref.c - products of few rows with a row of grouped codes, plainly. */
#include "kernel/kernels.h"

static int32_t code_at(const nib_grouped_row *row, size_t i)
{
    if (row->bits == 4) return row->codes[i / 2] >> i % 2 * 4 & 15;
    return row->codes[i] ^ row->flip;
}

void nib_grouped_row_dot_ref(const nib_grouped_row *row, size_t M, const nib_fixed_x *x,
                             const float *ones, size_t ldo, float *y, size_t ldy)
{
    for (size_t m = 0; m < M; m++) {
        const nib_fixed_x of = nib_fixed_row(x, m);
        float sum = 0;

        for (size_t b = 0; b < row->terms / NIB_FIXED_BLOCK; b++) {
            int32_t products = 0;
            for (size_t i = b * NIB_FIXED_BLOCK; i < (b + 1) * NIB_FIXED_BLOCK; i++)
                products +=
                    code_at(row, i) * nib_grouped_row_word(row->bits, of.words, row->terms, i);
            sum += row->scales[b * NIB_FIXED_BLOCK / row->group] * ((float)products * of.steps[b]);
        }
        for (size_t g = 0; g < row->terms / row->group; g++)
            sum -= row->offsets[g] * ones[m * ldo + g];
        y[m * ldy] = sum;
    }
}
