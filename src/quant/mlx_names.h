/* mlx_names.h - what MLX calls the experts of a layer, whose matrices it stacks:
 *
 *     M.switch_mlp.gate_proj [experts, out, in]       M.experts.0.gate_proj, M.experts.1. ...
 *
 * In a module block_sparse_moe (mixtral's) theirs are w1, w3 and w2 in place of gate_proj, up_proj
 * and down_proj.  Source: formats-quant.md 8.1. */
#ifndef NIB_QUANT_MLX_NAMES_H
#define NIB_QUANT_MLX_NAMES_H

#include "base/base.h"

enum { NIB_MLX_NAME_ROOM = 700 };

/* "M.experts.%d.gate_proj.scales" of "M.switch_mlp.gate_proj.scales".  False: it is no such name.
 */
bool nib_mlx_experts_of(const char *tensor, char out[NIB_MLX_NAME_ROOM]);
/* "M.switch_mlp.gate_proj" of "M.experts.7.gate_proj".  False: it is none of a layer's experts. */
bool nib_mlx_stack_of(const char *module, char out[NIB_MLX_NAME_ROOM]);

#endif
