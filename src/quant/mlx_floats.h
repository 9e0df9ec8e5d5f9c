/* mlx_floats.h - the modes of MLX that hold floats, as the schemes of E2M1 and E4M3 know them
 * (formats-quant.md 8.1).
 *
 *              M.weight U32 [out, in * bits / 32]      M.scales U8
 *     mxfp4    E2M1, the first in the low half         E8M0 [out, in / 32]
 *     nvfp4    the same                                E4M3 [out, in / 16]; no scale of the matrix
 *     mxfp8    E4M3                                    E8M0 [out, in / 32]
 */
#ifndef NIB_QUANT_MLX_FLOATS_H
#define NIB_QUANT_MLX_FLOATS_H

#include "quant/mlx_rules.h"

nib_form nib_mlx_floats_form(nib_mlx_mode mode, nib_dtype dtype); /* not of affine */
/* The rule that gives such a form; false: it is none of these. */
bool nib_mlx_floats_rule(const nib_form *form, nib_mlx_rule *r);

/* A module whose sizes were checked. */
typedef struct nib_mlx_floats {
    const char *module;
    nib_mlx_mode mode;
    const nib_part *codes, *scales;
    size_t out, in;
    nib_dtype dtype;
} nib_mlx_floats;
/* NIB_E_FORMAT naming a scale that is no number, NIB_E_UNSUPPORTED: one of the whole matrix. */
nib_status nib_mlx_floats_open(nib_ctx *ctx, nib_part_finder find, const nib_mlx_floats *f,
                               nib_weight **w, nib_error *err);

#endif
