/* float8.h - the scheme of scaled E4M3 floats, for quant/ alone.
 *
 *     W[o, i] = e4m3(code[o, i]) * scale[o / rows][i / columns]       or / scale
 *
 * Codes and scales stay on the map.  A scale belongs to a block of the matrix, to a row, or to the
 * whole.  compressed-tensors computes in the scales' type: the product is rounded to it.
 *
 * Source: formats-quant.md 1, 2.5, 3.5. */
#ifndef NIB_QUANT_FLOAT8_H
#define NIB_QUANT_FLOAT8_H

#include "quant/weight.h"

/* The form's settings. */
typedef struct nib_float8_options {
    unsigned rows, columns; /* of the matrix that share a scale; 0: all there are */
    bool divide;            /* the scales are reciprocals: GPTQModel's */
    nib_dtype dtype;        /* of the values before they were encoded */
} nib_float8_options;

nib_form nib_float8_form(const nib_float8_options *o);
nib_float8_options nib_float8_form_options(const nib_form *f);

typedef struct nib_float8 {
    nib_weight base;
    nib_float8_options options;
    const uint8_t *codes;
    const uint8_t *scales; /* [ceil(out / rows)][grid] of scale_type, of any alignment */
    nib_dtype scale_type;  /* NIB_F32, NIB_F16, NIB_BF16, or NIB_F8_E8M0: powers of two */
    size_t rows, columns;  /* of a block, none of them 0 */
    size_t grid;           /* scales of a row of blocks */
    nib_dtype round;       /* of the values; NIB_F32: not again */
    void *owned;           /* codes and scales, or NULL: they are on the map */
    nib_float8_decode_fn *decode;
} nib_float8;

extern const nib_scheme nib_float8_scheme;

/* Scale `i` of a tensor of scales. */
float nib_float8_scale_at(nib_dtype type, const uint8_t *scales, size_t i);
/* A weight as `made` describes it: options, codes, scales and their type, round, owned, and
 * base.out, in, bytes and source; the rest is set here.  NIB_E_NOMEM. */
nib_status nib_float8_create(nib_ctx *ctx, const nib_float8 *made, nib_weight **w, nib_error *err);

#endif
