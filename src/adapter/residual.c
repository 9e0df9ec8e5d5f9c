/* residual.c - see residual.h. */
#include "adapter/residual.h"

void nib_residual_add_row(size_t rank, size_t in, const float *b, const float *a, float s,
                          float *delta, float *to)
{
    memset(delta, 0, in * sizeof *delta);
    for (size_t q = 0; q < rank; q++)
        for (size_t k = 0; k < in; k++) delta[k] += b[q] * a[q * in + k];
    for (size_t k = 0; k < in; k++) to[k] += s * delta[k];
}
