/* conv_ref.c - the convolution plainly; what the vector forms are held to. */
#include <math.h>

#include "kernel/kernels.h"

static float sum_of(const nib_conv_args *a, size_t c)
{
    float z = a->bias ? a->bias[c] : 0;

    for (size_t j = 0; j < a->taps; j++)
        if (a->rows[j]) z = fmaf(a->w[j * a->stride + c], nib_get(a->in, a->rows[j], c), z);
    return z;
}

void nib_conv_ref(const nib_conv_args *a, void *y, bool accumulate)
{
    for (size_t c = 0; c < a->width; c++) {
        float z = sum_of(a, c);
        if (a->silu) z /= 1 + expf(-z);
        if (accumulate) z += nib_get(a->out, y, c);
        if (a->out == NIB_F32) ((float *)y)[c] = z;
        else ((uint16_t *)y)[c] = nib_f32_to_bf16(z);
    }
}

void nib_conv_slope_ref(const nib_conv_args *a, const void *dy, float *dz)
{
    for (size_t c = 0; c < a->width; c++) {
        float z = sum_of(a, c), s = 1 / (1 + expf(-z));
        dz[c] = nib_get(a->in, dy, c) * s * (1 + z * (1 - s));
    }
}
