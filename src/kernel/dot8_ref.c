/* dot8_ref.c - rows of 8-bit codes, plainly. */
#include <math.h>

#include "kernel/kernels.h"

void nib_dot8_ref(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                  int32_t *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t m = 0; m < M; m++) {
            int32_t sum = 0;
            for (size_t i = 0; i < n; i++) sum += codes[r * n + i] * x[m * n + nib_dot8_place(i)];
            y[m * ldy + r] = sum;
        }
}

nib_encoded8 nib_encode8_ref(size_t n, const float *x, uint8_t *codes)
{
    nib_encoded8 row = { 0 };
    float most = 0, by;

    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    row.scale = most / 127;
    by = row.scale > 0 ? 1 / row.scale : 0;
    for (size_t i = 0; i < n; i++) {
        float code = rintf(fminf(127, fmaxf(-127, x[i] * by))), rest = x[i] - code * row.scale;
        codes[i] = (uint8_t)(NIB_DOT8_ZERO + (int)code);
        row.error += (double)rest * (double)rest;
    }
    return row;
}
