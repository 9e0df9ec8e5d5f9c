/* dtype.h - element types of files and of values, and the half-width floats.
 *
 * bfloat16 is the upper half of a float, rounded to nearest even; float16 is
 * IEEE 754 binary16.  Both conversions are exact where they can be and keep NaN
 * a NaN. */
#ifndef NIB_BASE_DTYPE_H
#define NIB_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum nib_dtype {
    NIB_F32, NIB_F16, NIB_BF16, NIB_F64,
    NIB_U8, NIB_I8, NIB_I16, NIB_U16, NIB_I32, NIB_U32, NIB_I64, NIB_U64, NIB_BOOL,
    NIB_F8_E4M3, NIB_F8_E8M0, /* of quantized weights and their scales: kernel/float8.h */
    NIB_DTYPE_OTHER /* known to a format, but not computable here: float8_e5m2, ... */
} nib_dtype;

size_t nib_dtype_bytes(nib_dtype t);      /* 0 for NIB_DTYPE_OTHER */
const char *nib_dtype_name(nib_dtype t);  /* "float32", "bfloat16", ...: torch's names */

/* One that nib_convert() takes. */
static inline bool nib_dtype_is_float(nib_dtype t)
{
    return t == NIB_F32 || t == NIB_F16 || t == NIB_BF16;
}

static inline float nib_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint16_t nib_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40); /* quiet NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float nib_round_bf16(float f) { return nib_bf16_to_f32(nib_f32_to_bf16(f)); }

/* Value i of floats, or of bfloat16. */
static inline float nib_get(nib_dtype type, const void *x, size_t i)
{
    return type == NIB_F32 ? ((const float *)x)[i] : nib_bf16_to_f32(((const uint16_t *)x)[i]);
}

static inline void nib_put(nib_dtype type, void *x, size_t i, float value)
{
    if (type == NIB_F32) ((float *)x)[i] = value;
    else ((uint16_t *)x)[i] = nib_f32_to_bf16(value);
}

float nib_f16_to_f32(uint16_t h);
uint16_t nib_f32_to_f16(float f);

/* Converts `count` values between F32, F16 and BF16 (any pair), rounding to nearest even. */
void nib_convert(void *dst, nib_dtype dst_type, const void *src, nib_dtype src_type, size_t count);

#endif
