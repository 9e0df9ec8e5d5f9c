/* rows8_ref.c - rows of signed 8-bit integers, plainly. */
#include <math.h>

#include "base/dtype.h"
#include "kernel/kernels.h"

void nib_int8_products_ref(size_t n, nib_int8_rows x, nib_int8_rows w, int32_t *y, size_t ldy)
{
    assert(n <= NIB_INT8_MOST_TERMS);
    for (size_t m = 0; m < x.rows; m++)
        for (size_t r = 0; r < w.rows; r++) {
            int32_t sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += x.codes[m * x.ld + i] * w.codes[r * w.ld + i];
            y[m * ldy + r] = sum;
        }
}

nib_int8_row nib_int8_encode_ref(size_t n, const float *x, float threshold, int8_t *codes,
                                 uint64_t *outliers)
{
    nib_int8_row row = { 0 };
    float by;

    memset(outliers, 0, nib_ceil_div(n, 64) * sizeof *outliers);
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(nib_f16_to_f32(nib_f32_to_f16(x[i])));
        if (size >= threshold) {
            outliers[i / 64] |= (uint64_t)1 << i % 64;
            row.outliers++;
        } else if (size > row.absmax || isnan(size)) { /* NaN stays: nothing is greater */
            row.absmax = size;
        }
    }
    by = row.absmax > 0 ? 1 / row.absmax * 127 : 0;
    for (size_t i = 0; i < n; i++) {
        float value = nib_f16_to_f32(nib_f32_to_f16(x[i]));
        codes[i] = by > 0 && fabsf(value) < threshold ? (int8_t)rintf(value * by) : 0;
    }
    return row;
}

void nib_int8_decode_ref(size_t n, const int8_t *codes, float step, float *x)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)codes[i] * step;
}
