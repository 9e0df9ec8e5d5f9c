/* float4_open.h - E2M1 floats from a file's tensors: what the formats that hold them share.
 *
 *                     MXFP4                       NVFP4
 *     codes           U8       [out, in / 2]      U8       [out, in / 2]
 *     scales          U8, or F8_E8M0 [out, in / 32]        F8_E4M3  [out, in / 16]
 *     of the matrix                               F32      [1] or []
 *
 * under names that differ by library. */
#ifndef NIB_QUANT_FLOAT4_OPEN_H
#define NIB_QUANT_FLOAT4_OPEN_H

#include "quant/float4.h"

/* What a library calls the tensors of a module. */
typedef struct nib_float4_names {
    const char *codes, *scales; /* ".weight_packed", ".weight_scale" */
    const char *global;         /* ".weight_global_scale" */
    bool divide;                /* by the scale of the matrix */
} nib_float4_names;

/* The weight of `module`, whose codes are there.  NIB_E_FORMAT for parts that are missing or of a
 * wrong type or shape; NIB_E_MISMATCH: a scale of the matrix where config.json says MXFP4. */
nib_status nib_float4_open(nib_ctx *ctx, nib_part_finder find, const char *module,
                           const nib_float4_names *names, nib_float4_kind kind, nib_dtype dtype,
                           nib_weight **w, nib_error *err);
/* As nib_format.describe, of the tensor of codes; the type of the scales tells the kind. */
bool nib_float4_describe(const nib_part *t, nib_part_finder find, const nib_float4_names *names,
                         nib_dtype dtype, uint64_t shape[2], nib_form *form);

#endif
