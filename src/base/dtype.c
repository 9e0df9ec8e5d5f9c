/* dtype.c - names, sizes, and float16 by its bits. */
#include "base/dtype.h"

#include <assert.h>

size_t nib_dtype_bytes(nib_dtype t)
{
    switch (t) {
    case NIB_U8: case NIB_I8: case NIB_BOOL: case NIB_F8_E4M3: case NIB_F8_E8M0: return 1;
    case NIB_F16: case NIB_BF16: case NIB_I16: case NIB_U16: return 2;
    case NIB_F32: case NIB_I32: case NIB_U32: return 4;
    case NIB_F64: case NIB_I64: case NIB_U64: return 8;
    case NIB_DTYPE_OTHER: break;
    }
    return 0;
}

const char *nib_dtype_name(nib_dtype t)
{
    static const char *const names[] = { "float32", "float16", "bfloat16", "float64", "uint8",
                                         "int8",    "int16",   "uint16",   "int32",   "uint32",
                                         "int64",   "uint64",  "bool",
                                         "float8_e4m3fn", "float8_e8m0fnu", "other" };
    return names[t];
}

float nib_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023,
             bits;
    float f;

    if (exponent == 31) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else { /* zero or subnormal: fraction * 2^-24, exact in float */
        f = (float)fraction * 0x1p-24f;
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t nib_f32_to_f16(float f)
{
    uint32_t bits, sign, magnitude;

    memcpy(&bits, &f, sizeof bits);
    sign = bits >> 16 & 0x8000;
    magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00); /* 65536 and above: infinity */
    if (magnitude < 0x38800000u) { /* below 2^-14: a multiple of 2^-24, rounded by the adder */
        float a, magic = 0.5f; /* 0.5 has its last bit at 2^-24 */
        uint32_t sum;
        memcpy(&a, &magnitude, sizeof a);
        a += magic;
        memcpy(&sum, &a, sizeof sum);
        return (uint16_t)(sign | (sum - 0x3f000000u));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

static float load(const void *src, nib_dtype type, size_t i)
{
    switch (type) {
    case NIB_F32: { float f; memcpy(&f, (const char *)src + 4 * i, sizeof f); return f; }
    case NIB_F16: {
        uint16_t h;
        memcpy(&h, (const char *)src + 2 * i, sizeof h);
        return nib_f16_to_f32(h);
    }
    case NIB_BF16: {
        uint16_t h;
        memcpy(&h, (const char *)src + 2 * i, sizeof h);
        return nib_bf16_to_f32(h);
    }
    default: assert(!"a float type"); return 0;
    }
}

void nib_convert(void *dst, nib_dtype dst_type, const void *src, nib_dtype src_type, size_t count)
{
    if (dst_type == src_type) {
        memmove(dst, src, count * nib_dtype_bytes(src_type));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float f = load(src, src_type, i);
        uint16_t h = dst_type == NIB_F16 ? nib_f32_to_f16(f) : nib_f32_to_bf16(f);
        if (dst_type == NIB_F32) memcpy((char *)dst + 4 * i, &f, sizeof f);
        else memcpy((char *)dst + 2 * i, &h, sizeof h);
    }
}
