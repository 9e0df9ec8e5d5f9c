/* mlx_open.h - a matrix of MLX's codes, scales and biases (format_mlx.c). */
#ifndef NIB_QUANT_MLX_OPEN_H
#define NIB_QUANT_MLX_OPEN_H

#include "quant/formats.h"
#include "quant/mlx_rules.h"

typedef struct nib_mlx_parts {
    nib_part codes, scales, biases;
    bool has_biases;
} nib_mlx_parts;

/* What a rule makes of a matrix, `dtype` being that of config.json. */
nib_form nib_mlx_form(const nib_mlx_rule *r, nib_dtype dtype);
/* NIB_E_FORMAT: `has` is there, and the module's `piece` is not. */
nib_status nib_mlx_lacks(const char *has, const char *module, const char *piece, nib_error *err);
/* The tensors of `module`; *there: it is packed.  end: of the codes' name.  NIB_E_FORMAT: some are
 * missing, or the codes are none. */
nib_status nib_mlx_find(nib_part_finder find, const char *module, const char *end,
                        nib_mlx_parts *p, bool *there, nib_error *err);
/* Sizes from the scales, held to the words and to the rule; rank 3: of a stack, those of one of its
 * matrices.  NIB_E_FORMAT, NIB_E_MISMATCH naming the tensor. */
nib_status nib_mlx_check_sizes(const nib_mlx_parts *p, unsigned rank, const nib_mlx_rule *r,
                               size_t *out, size_t *in, nib_error *err);
/* The matrix of parts that were found, all of rank 2. */
nib_status nib_mlx_open(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                        const char *module, const nib_mlx_parts *p, const nib_mlx_rule *r,
                        nib_weight **w, nib_error *err);

#endif
