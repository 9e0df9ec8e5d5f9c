/* dot8_simd.h - rows of 8-bit codes: the body of dot8_avx2.c and dot8_avx512.c.  A word holds two
 * codes, which become words of 0 to 255. */
#include "kernel/kernels.h"
#include "kernel/words.h"

NIB_INLINE void dot8(size_t M, size_t rows, size_t n, const uint8_t *codes, const int16_t *x,
                     int32_t *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++) {
        W even[NIB_DOT_ROWS], odd[NIB_DOT_ROWS];
        for (size_t m = 0; m < M; m++) even[m] = odd[m] = w_zero();
        for (size_t i = 0; i < n; i += NIB_DOT8_STEP, codes += NIB_DOT8_STEP) {
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            for (size_t at = 0; at < NIB_DOT8_STEP; at += sizeof(W)) {
                W both = w_load(codes + at), first = w_even(both), second = w_odd(both);
                for (size_t m = 0; m < M; m++) {
                    const int16_t *values = x + m * n + i + at / 2;
                    const int16_t *others = values + NIB_DOT8_STEP / 2;
                    even[m] = w_add(even[m], w_products(first, w_load(values)));
                    odd[m] = w_add(odd[m], w_products(second, w_load(others)));
                }
            }
        }
        for (size_t m = 0; m < M; m++) y[m * ldy + r] = w_sum(w_add(even[m], odd[m]));
    }
}

void NIB_VARIANT(dot8)(size_t rows, size_t n, const uint8_t *codes, size_t M, const int16_t *x,
                       int32_t *y, size_t ldy)
{
    NIB_WITH_ROWS(M, dot8, rows, n, codes, x, y, ldy);
}

nib_encoded8 NIB_VARIANT(encode8)(size_t n, const float *x, uint8_t *codes)
{
    V most = v_zero(), error = v_zero(), by, step;
    uint8_t bytes[16];
    float scale;

    for (size_t i = 0; i < n; i += VN)
        most = v_max(most, v_abs(v_get(NIB_F32, x, i, nib_min(VN, n - i))));
    scale = v_greatest(most) / 127;
    step = v_set(scale);
    by = v_set(scale > 0 ? 1 / scale : 0);
    for (size_t i = 0; i < n; i += VN) {
        size_t count = nib_min(VN, n - i);
        V value = v_get(NIB_F32, x, i, count);
        V code = v_round(v_min(v_set(127), v_max(v_set(-127), v_mul(value, by))));
        V rest = v_sub(value, v_mul(code, step));
        _mm_storeu_si128((__m128i *)(void *)bytes, w_bytes(code, NIB_DOT8_ZERO));
        if (count == VN) memcpy(codes + i, bytes, VN);
        else memcpy(codes + i, bytes, count);
        error = v_fma(rest, rest, error);
    }
    return (nib_encoded8){ scale, (double)v_sum(error) };
}
