/* mlx_names.h - what MLX calls the experts of a layer, whose matrices it stacks:
 *
 *     M.switch_mlp.gate_proj [experts, out, in]       M.experts.0.gate_proj, M.experts.1. ...
 *
 * In a module block_sparse_moe (mixtral's) theirs are w1, w3 and w2 in place of gate_proj, up_proj
 * and down_proj.  Where the family's own files stack them too, MLX has gate and up apart:
 *
 *     granitemoe   block_sparse_moe.switch_mlp.gate_proj, up_proj    .input_linear.weight
 *     gemma4       experts.switch_glu.gate_proj, up_proj             .gate_up_proj
 *     gpt_oss      mlp.experts.gate_proj, up_proj, by turns          .gate_up_proj
 *
 * Source: formats-quant.md 8.1. */
#ifndef NIB_QUANT_MLX_NAMES_H
#define NIB_QUANT_MLX_NAMES_H

#include "base/base.h"

enum { NIB_MLX_NAME_ROOM = 700 };

/* "M.experts.%d.gate_proj.scales" of "M.switch_mlp.gate_proj.scales".  False: it is no such name.
 */
bool nib_mlx_experts_of(const char *tensor, char out[NIB_MLX_NAME_ROOM]);
/* "M.switch_mlp.gate_proj" of "M.experts.7.gate_proj".  False: it is none of a layer's experts. */
bool nib_mlx_stack_of(const char *module, char out[NIB_MLX_NAME_ROOM]);
/* What MLX makes of a tensor of experts: the modules that it is made of. */
typedef struct nib_mlx_halves {
    char first[NIB_MLX_NAME_ROOM], second[NIB_MLX_NAME_ROOM]; /* second "": there is but one */
    bool turns; /* rows of theirs are of each by turns, else one behind the other */
} nib_mlx_halves;
/* Of "M.block_sparse_moe.input_linear.weight", "M.experts.gate_up_proj".  False: none of these. */
bool nib_mlx_halves_of(const char *stack, nib_mlx_halves *out);
/* Does `tensor` ("M.mlp.experts.up_proj.scales") belong to such a module?  `to`: what its piece of
 * the stack is called here, "M.mlp.experts.gate_up_proj.scales" (of "bias": gate_up_proj_bias);
 * `rest`: the other half's tensor, "": there is none, or this is the second. */
bool nib_mlx_stacked(const char *tensor, char to[NIB_MLX_NAME_ROOM], char rest[NIB_MLX_NAME_ROOM],
                     bool *second, bool *turns);

#endif
