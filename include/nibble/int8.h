/* int8.h - numbers to 8-bit integers and back, in the two ways of the literature.
 *
 * Absmax is symmetric: the greatest magnitude becomes 127, zero stays zero.
 *
 *     code = round(x * (1 / absmax * 127))         x' = code * (absmax * (1 / 127))
 *
 *     1.2  -0.5  -4.3   1.2  -3.1   0.8   2.4   5.4      absmax 5.4
 *      28   -12  -101    28   -73    19    56   127
 *
 * Zero-point is affine: the range from the least to the greatest value, extended to contain zero,
 * is laid on -128 .. 127, and zero is a code of its own, so that it comes back exactly.  It uses
 * every code where the values are not symmetric, such as those behind a ReLU.
 *
 *     step = (greatest - least) / 255              zero_point = -128 - round(least / step)
 *     code = round(x * (1 / step)) + zero_point    x' = (code - zero_point) * step
 *
 * In float32, rounding half to even.  Absmax gives the bits of bitsandbytes 0.50
 * (int8_vectorwise_quant of a float32 row), zero-point those of torch 2.13 (MinMaxObserver of
 * qint8, per_tensor_affine, and quantize_per_tensor) for steps of at least 2^-23.
 * Sources: Dettmers et al. 2022, arXiv:2208.07339, section 2.1; Jacob et al. 2018,
 * arXiv:1712.05877, section 2.1. */
#ifndef NIBBLE_INT8_H
#define NIBBLE_INT8_H

#include <stddef.h>
#include <stdint.h>

#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* codes [n] in -127 .. 127.  n zeros, or none, give codes 0 and *absmax 0.
 * NIB_E_NUMERIC: a value is infinite or NaN; nothing is written. */
nib_status nib_int8_absmax_quantize(const float *x, size_t n, int8_t *codes, float *absmax,
                                    nib_error *err);
void nib_int8_absmax_dequantize(const int8_t *codes, size_t n, float absmax, float *x);

/* codes [n] in -128 .. 127; *zero_point too.  Where the range is below 255 * 2^-126, zeros or no
 * values among them, codes and *zero_point are 0 and *step is 1.
 * NIB_E_NUMERIC: a value is infinite or NaN, or the range is wider than a float can say; nothing
 * is written. */
nib_status nib_int8_zeropoint_quantize(const float *x, size_t n, int8_t *codes, float *step,
                                       int32_t *zero_point, nib_error *err);
void nib_int8_zeropoint_dequantize(const int8_t *codes, size_t n, float step, int32_t zero_point,
                                   float *x);

#ifdef __cplusplus
}
#endif

#endif
