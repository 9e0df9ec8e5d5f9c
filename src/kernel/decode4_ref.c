/* decode4_ref.c - 4-bit codes to float, one at a time. */
#include "kernel/kernels.h"

void nib_decode4_ref(const uint8_t *codes, size_t n, const float values[16], float *dst)
{
    size_t i = 0;

    for (; i + 2 <= n; i += 2, codes++) {
        dst[i] = values[*codes >> 4];
        dst[i + 1] = values[*codes & 15];
    }
    if (i < n) dst[i] = values[*codes >> 4];
}
