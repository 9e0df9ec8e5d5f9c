/* float4.h - the scheme of E2M1 floats under shared scales, for quant/ alone.
 *
 *     mxfp4    W[o, i] = e2m1(code[o, i]) * 2^(scale[o, i / 32] - 127)
 *     nvfp4    W[o, i] = e2m1(code[o, i]) * s      s = e4m3(scale[o, i / 16]) / global, or * global
 *
 * Codes and scales stay on the map.  s is one float operation, the product with the code a second;
 * of NVFP4 it is then rounded to bfloat16, which all values of MXFP4 are anyway.
 *
 * Source: formats-quant.md 3. */
#ifndef NIB_QUANT_FLOAT4_H
#define NIB_QUANT_FLOAT4_H

#include "quant/format.h"

typedef enum nib_float4_kind { NIB_MXFP4, NIB_NVFP4 } nib_float4_kind;

typedef struct nib_float4 {
    nib_weight base;
    nib_float4_kind kind;
    const uint8_t *codes, *scales;
    float halves[256]; /* kernel/float4.h */
    void *owned;       /* codes and scales, or NULL: they are on the map */
    nib_float4_decode_fn *decode;
} nib_float4;

static inline unsigned nib_float4_group(nib_float4_kind kind)
{
    return kind == NIB_NVFP4 ? 16 : 32;
}

nib_form nib_float4_form(nib_float4_kind kind, nib_dtype dtype);

/* What a weight is made of. */
typedef struct nib_float4_parts {
    nib_float4_kind kind;
    size_t out, in;             /* in is a multiple of the group */
    const uint8_t *codes, *scales; /* [out, in / 2], [out, in / group]; they must outlive it */
    float global;               /* of NVFP4 */
    bool divide;                /* scales are divided by it */
    nib_dtype dtype;
    const char *source;
    void *owned;                /* freed with the weight; or NULL */
} nib_float4_parts;

nib_status nib_float4_create(nib_ctx *ctx, const nib_float4_parts *parts, nib_weight **w,
                             nib_error *err);

extern const nib_scheme nib_float4_scheme;

#endif
