/* int8_numbers.c - numbers to 8-bit integers and back (include/nibble/int8.h).
 *
 * Products are by the reciprocal, taken once in float, as the references take it: a division a
 * value gives other codes where a value lies at the middle of two. */
#include "nibble/int8.h"

#include <float.h>
#include <math.h>

#include "base/base.h"

static nib_status check_finite(const float *x, size_t n, nib_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return nib_fail(err, NIB_E_NUMERIC, "value %zu of %zu is %g: only finite numbers have "
                            "an 8-bit code", i, n, (double)x[i]);
    return NIB_OK;
}

nib_status nib_int8_absmax_quantize(const float *x, size_t n, int8_t *codes, float *absmax,
                                    nib_error *err)
{
    nib_status status = check_finite(x, n, err);
    float most = 0, by;

    if (status) return status;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    by = most > 0 ? 1 / most * 127 : 0;
    for (size_t i = 0; i < n; i++) {
        /* below 2^-120 the reciprocal is infinite: the quotient is then formed value by value */
        float code = isfinite(by) ? x[i] * by : x[i] / most * 127;
        codes[i] = (int8_t)rintf(code);
    }
    *absmax = most;
    return NIB_OK;
}

void nib_int8_absmax_dequantize(const int8_t *codes, size_t n, float absmax, float *x)
{
    float step = absmax * (1.0f / 127);

    for (size_t i = 0; i < n; i++) x[i] = (float)codes[i] * step;
}

nib_status nib_int8_zeropoint_quantize(const float *x, size_t n, int8_t *codes, float *step,
                                       int32_t *zero_point, nib_error *err)
{
    nib_status status = check_finite(x, n, err);
    float least = 0, greatest = 0, size, zero = 0, by;

    if (status) return status;
    for (size_t i = 0; i < n; i++) {
        least = fminf(least, x[i]);
        greatest = fmaxf(greatest, x[i]);
    }
    size = (greatest - least) / 255;
    if (!isfinite(size))
        return nib_fail(err, NIB_E_NUMERIC, "values from %g to %g: a range wider than float32",
                        (double)least, (double)greatest);
    if (size >= FLT_MIN) {
        zero = -128 - rintf(least / size);
    } else {
        size = 1; /* all zero, or next to it: the reciprocal would be infinite */
    }
    by = 1 / size;
    for (size_t i = 0; i < n; i++)
        codes[i] = (int8_t)fminf(127, fmaxf(-128, rintf(x[i] * by) + zero));
    *step = size;
    *zero_point = (int32_t)zero;
    return NIB_OK;
}

void nib_int8_zeropoint_dequantize(const int8_t *codes, size_t n, float step, int32_t zero_point,
                                   float *x)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(codes[i] - zero_point) * step;
}
