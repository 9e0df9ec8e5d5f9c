/* dynamic_map.c - the map, and quantizing with it (see dynamic_map.h). */
#include "quant/dynamic_map.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Boundary j of n from 0.1 to 1, counted from the nearer end, each with one rounding. */
static float boundary(unsigned j, unsigned n)
{
    float step = (1.0f - 0.1f) / (float)(n - 1);
    return j < n / 2 ? fmaf(step, (float)j, 0.1f) : fmaf(-step, (float)(n - 1 - j), 1.0f);
}

void nib_dynamic_map(bool with_sign, float map[256])
{
    static const double scales[7] = { 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1 };
    unsigned count = 0;

    for (unsigned i = 0; i < 7; i++) {
        unsigned items = (1u << (with_sign ? i : i + 1)) + 1;
        for (unsigned j = 0; j + 1 < items; j++) {
            float mean = (boundary(j, items) + boundary(j + 1, items)) / 2;
            map[count++] = (float)scales[i] * mean;
            if (with_sign) map[count++] = -(float)scales[i] * mean;
        }
    }
    map[count++] = 0;
    map[count++] = 1;
    assert(count == 256);
    qsort(map, count, sizeof *map, by_value);
}

void nib_dynamic_lookup(const float map[256], uint8_t lookup[NIB_DYNAMIC_LOOKUP])
{
    unsigned code = 0;

    for (unsigned i = 0; i < NIB_DYNAMIC_LOOKUP; i++) {
        float v = -1.0f + 2.0f * (float)i / 65535.0f;
        while (code < 255 && 0.5f * (map[code] + map[code + 1]) < v) code++;
        lookup[i] = (uint8_t)code;
    }
}

void nib_dynamic_encode(const uint8_t lookup[NIB_DYNAMIC_LOOKUP], const float *x, size_t count,
                        size_t blocksize, uint8_t *codes, float *absmax)
{
    for (size_t start = 0; start < count; start += blocksize) {
        size_t stop = nib_min(count, start + blocksize);
        float most = 0, reciprocal;

        for (size_t i = start; i < stop; i++) most = fmaxf(most, fabsf(x[i]));
        absmax[start / blocksize] = most;
        if (most == 0) {
            memset(codes + start, 0, stop - start);
            continue;
        }
        reciprocal = 1.0f / most;
        for (size_t i = start; i < stop; i++) {
            float v = fminf(fmaxf(x[i] * reciprocal, -1.0f), 1.0f);
            codes[i] = lookup[(unsigned)((v + 1.0f) * 0.5f * 65535.0f + 0.5f)];
        }
    }
}
