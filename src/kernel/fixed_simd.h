/* fixed_simd.h - a row of x in fixed point: the body of fixed_avx2.c and fixed_avx512.c. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/words.h"

/* What a word of a block counts, NaN where a value is not finite. */
NIB_INLINE float step_of(const float *x)
{
    V most = v_zero();
    bool nan = false;
    float step;

    for (size_t i = 0; i < NIB_FIXED_BLOCK; i += VN) {
        V value = v_load(x + i);
        nan |= v_any_nan(value, value);
        most = v_max(most, v_abs(value));
    }
    step = fmaxf(v_greatest(most) * (1.0f / NIB_FIXED_MOST), 0x1p-100f);
    return nan || !isfinite(step) ? NAN : step;
}

void NIB_VARIANT(arrange_fixed)(size_t n, nib_fixed_order order, const float *x, void *to)
{
    int16_t *words = to;
    float *steps = (float *)(void *)(words + n), *sums = steps + n / NIB_FIXED_BLOCK;
    uint8_t place[NIB_FIXED_BLOCK];

    for (size_t i = 0; i < NIB_FIXED_BLOCK; i++) place[i] = (uint8_t)nib_fixed_place(order, i);
    for (size_t b = 0; b < n / NIB_FIXED_BLOCK; b++, x += NIB_FIXED_BLOCK, sums += 2) {
        int32_t whole[NIB_FIXED_BLOCK], sum[2] = { 0, 0 };
        const V most = v_set(NIB_FIXED_MOST), least = v_set(-NIB_FIXED_MOST);
        bool finite;
        steps[b] = step_of(x);
        finite = !isnan(steps[b]);
        for (size_t i = 0; i < NIB_FIXED_BLOCK; i += VN) {
            V value = finite ? v_mul(v_load(x + i), v_set(1 / steps[b])) : v_zero();
            w_store(whole + i, w_whole(v_min(v_max(value, least), most)));
        }
        for (size_t i = 0; i < NIB_FIXED_BLOCK; i++) {
            nib_fixed_put(order, words, i, whole[place[i]]);
            sum[i / NIB_FIXED_HALF] += whole[i];
        }
        words += NIB_FIXED_BLOCK;
        for (size_t h = 0; h < 2; h++) sums[h] = (float)sum[h] * steps[b];
    }
}
