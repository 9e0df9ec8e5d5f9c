/* encode4_ref.c - the tables of the 4-bit encoders, and the reference. */
#include <math.h>

#include "kernel/kernels.h"

/* Midpoints of neighbours in the sorted code tables, sum and half taken in float. */
const float nib_nf4_bounds[15] = {
    -0x1.b239bp-1f,  -0x1.38a4ep-1f,  -0x1.d709p-2f,   -0x1.5bd4ecp-2f, -0x1.e079d8p-3f,
    -0x1.1a7178p-3f, -0x1.74f0e2p-5f, 0x1.45f5fep-5f,  0x1.ec90c4p-4f,  0x1.a0cfcp-3f,
    0x1.2b05a8p-2f,  0x1.8ea7f2p-2f,  0x1.00da08p-1f,  0x1.491b5ep-1f,  0x1.b913b4p-1f,
};
const float nib_fp4_bounds[15] = {
    -0x1.aaaaacp-1f, -0x1.2aaaacp-1f, -0x1.aaaaacp-2f, -0x1.2aaaacp-2f, -0x1.aaaaacp-3f,
    -0x1.6p-4f,      -0x1.555556p-9f, 0,               0x1.555556p-9f,  0x1.6p-4f,
    0x1.aaaaacp-3f,  0x1.2aaaacp-2f,  0x1.aaaaacp-2f,  0x1.2aaaacp-1f,  0x1.aaaaacp-1f,
};
const uint8_t nib_fp4_codes[16] = { 11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3 };

const nib_encode4_bins nib_nf4_bins = {
    { 0, 0, 0, 1, 1,  1,  1,  2,  2,  3,  3,  4,  4,  5,  6,  6,
      7, 8, 9, 9, 10, 11, 11, 12, 13, 13, 14, 14, 14, 14, 15, 15 },
    { -0x1.b239bp-1f, -0x1.38a4ep-1f, -0x1.d709p-2f, -0x1.5bd4ecp-2f, -0x1.e079d8p-3f,
      -0x1.1a7178p-3f, -0x1.74f0e2p-5f, 0x1.45f5fep-5f, 0x1.ec90c4p-4f, 0x1.a0cfcp-3f,
      0x1.2b05a8p-2f, 0x1.8ea7f2p-2f, 0x1.00da08p-1f, 0x1.491b5ep-1f, 0x1.b913b4p-1f, INFINITY },
};
const nib_encode4_bins nib_fp4_bins = {
    { 0, 0, 0, 0, 1, 1,  1,  2,  2,  2,  3,  3,  4,  5,  5,  6,
      6, 7, 8, 8, 9, 10, 10, 11, 11, 11, 12, 12, 12, 13, 13, 13 },
    { -0x1.aaaaacp-1f, -0x1.2aaaacp-1f, -0x1.aaaaacp-2f, -0x1.2aaaacp-2f, -0x1.aaaaacp-3f,
      -0x1.6p-4f,      0x1.555556p-9f,  0x1.6p-4f,       0x1.aaaaacp-3f,  0x1.2aaaacp-2f,
      0x1.aaaaacp-2f,  0x1.2aaaacp-1f,  0x1.aaaaacp-1f,  INFINITY,        INFINITY, INFINITY },
};

void nib_encode4_ref(uint8_t *restrict codes, float *restrict absmax, const void *restrict x,
                     nib_dtype type, size_t blocks, unsigned blocksize, bool fp4)
{
    size_t bytes = blocksize * nib_dtype_bytes(type);
    float values[NIB_ENCODE4_MOST];

    assert(blocksize <= NIB_ENCODE4_MOST);
    for (size_t b = 0; b < blocks; b++, codes += blocksize / 2) {
        uint32_t most = 0; /* as integers, magnitudes order like floats and NaN is the greatest */
        float reciprocal;

        nib_convert(values, NIB_F32, (const char *)x + b * bytes, type, blocksize);
        for (unsigned i = 0; i < blocksize; i++) {
            uint32_t bits;
            memcpy(&bits, values + i, sizeof bits);
            bits &= 0x7fffffffu;
            if (bits > most) most = bits;
        }
        memcpy(absmax + b, &most, sizeof most);
        reciprocal = 1.0f / (absmax[b] < 1e-38f ? 1e-38f : absmax[b]);
        for (unsigned i = 0; i < blocksize; i += 2)
            codes[i / 2] = (uint8_t)(nib_encode4_one(values[i] * reciprocal, fp4) << 4 |
                                     nib_encode4_one(values[i + 1] * reciprocal, fp4));
    }
}
