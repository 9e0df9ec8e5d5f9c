/* additive.h - the scheme of additively quantized weights (AQLM), for quant/ alone.
 *
 *     W[a O + u, b I + v] = scale[a] * sum over k of book[k][code[a, b, k]][u, v]
 *
 * Codes, codebooks and scales stay on the map (kernel/additive.h).
 *
 * Source: formats.md 8.1. */
#ifndef NIB_QUANT_ADDITIVE_H
#define NIB_QUANT_ADDITIVE_H

#include "quant/weight.h"

/* The form's settings. */
typedef struct nib_additive_options {
    unsigned books, bits;     /* K of 2^B entries */
    unsigned outputs, inputs; /* O, I of a group */
    nib_dtype dtype;
} nib_additive_options;

nib_form nib_additive_form(const nib_additive_options *o);
nib_additive_options nib_additive_form_options(const nib_form *f);

typedef struct nib_additive {
    nib_weight base;
    nib_additive_options options;
    const uint8_t *codes;
    size_t row_step, group_step; /* bytes from the codes of a group to those of the one below, or
                                    beside it */
    const void *entries;         /* [K][2^B][O][I] */
    const uint8_t *scales;       /* [out / O] */
    nib_dtype entry_type, scale_type; /* NIB_F16, NIB_BF16 or NIB_F32 */
    void *owned;                 /* all of them, or NULL: they are on the map */
    nib_additive_decode_fn *decode;
} nib_additive;

extern const nib_scheme nib_additive_scheme;

/* A weight as `made` describes it: all but base.scheme and dtype and decode.  NIB_E_NOMEM. */
nib_status nib_additive_create(nib_ctx *ctx, const nib_additive *made, nib_weight **w,
                               nib_error *err);

#endif
