/* dot4_ref.c - products of one row with low-bit rows, plainly. */
#include "kernel/kernels.h"

void nib_arrange4_ref(size_t n, const float *x, float *to) { memcpy(to, x, n * sizeof *to); }
void nib_arrange_row_ref(size_t n, const float *x, float *to) { memcpy(to, x, n * sizeof *to); }

static float dot_row(const nib_dot4 *d, size_t r, const float *x)
{
    float sum = 0;

    for (size_t b = 0; b < d->blocks; b++) {
        const uint8_t *codes = d->codes + (r * d->blocks + b) * (NIB_DOT4_BLOCK / 2);
        const float *values = x + b * NIB_DOT4_BLOCK;
        float part = 0;
        for (size_t i = 0; i < NIB_DOT4_BLOCK; i += 2)
            part += d->table[codes[i / 2] >> 4] * values[i] +
                    d->table[codes[i / 2] & 15] * values[i + 1];
        sum += part * nib_dot4_scale(d, !d->scales, r * d->blocks + b);
    }
    return sum;
}

void nib_dot4_ref(const nib_dot4 *d, size_t M, const float *x, size_t ldx, float *y, size_t ldy)
{
    for (size_t r = 0; r < d->rows; r++)
        for (size_t m = 0; m < M; m++) y[m * ldy + r] = dot_row(d, r, x + m * ldx);
}

void nib_dot_rows_ref(size_t rows, size_t n, const uint16_t *w, size_t ld, const float *x, float *y)
{
    for (size_t r = 0; r < rows; r++) {
        float sum = 0;
        for (size_t i = 0; i < n; i++) sum += nib_bf16_to_f32(w[r * ld + i]) * x[i];
        y[r] = sum;
    }
}
