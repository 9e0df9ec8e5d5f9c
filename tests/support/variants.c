/* variants.c - helpers of the kernels' tests (see variants.h). */
#include "variants.h"

#include <math.h>

const char *test_next_variant(size_t *i, nib_kernels *k)
{
    static const uint32_t levels[] = { NIB_CPU_AVX2, NIB_CPU_AVX2 | NIB_CPU_AVX512,
                                       NIB_CPU_AVX2 | NIB_CPU_AVX512 | NIB_CPU_AVX512BF16,
                                       NIB_CPU_AVX2 | NIB_CPU_AVX512 | NIB_CPU_AVX512BF16 |
                                           NIB_CPU_AMX };
    uint32_t has = nib_cpu_detect();

    while (*i < NIB_COUNT(levels)) {
        uint32_t cpu = levels[(*i)++];
        if ((has & cpu) == cpu) {
            *k = nib_kernels_for(cpu);
            return nib_cpu_name(cpu);
        }
    }
    return NULL;
}

void *test_values(nib_dtype type, size_t n, float size)
{
    void *p = test_guarded(n * nib_dtype_bytes(type)); /* zeroed */

    for (size_t i = 0; i < n && size != 0; i++) {
        float x = size * test_rand_float();
        if (type == NIB_F32) ((float *)p)[i] = x;
        else ((uint16_t *)p)[i] = nib_f32_to_bf16(x);
    }
    return p;
}

float *test_floats(size_t n, float size) { return test_values(NIB_F32, n, size); }

float test_worst(nib_dtype type, const void *a, const void *b, size_t n)
{
    float worst = 0;

    for (size_t i = 0; i < n; i++) {
        float x = nib_get(type, a, i), y = nib_get(type, b, i), off = fabsf(x - y) / (1 + fabsf(y));
        if (isnan(x) && isnan(y)) continue;
        if (isnan(off)) off = x == y ? 0 : INFINITY; /* equal infinities, or NaN against a number */
        worst = fmaxf(worst, off);
    }
    return worst;
}
