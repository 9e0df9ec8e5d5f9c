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
 * and granitemoehybrid's shared_mlp.input_linear is mlp.gate_proj and mlp.up_proj, where it has no
 * experts.
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
/* What MLX makes of a tensor: the modules that it is made of. */
typedef struct nib_mlx_halves {
    char first[NIB_MLX_NAME_ROOM], second[NIB_MLX_NAME_ROOM]; /* second "": there is but one */
    bool turns; /* rows of theirs are of each by turns, else one behind the other */
} nib_mlx_halves;
/* Of "M.block_sparse_moe.input_linear.weight", "M.experts.gate_up_proj",
 * "M.shared_mlp.input_linear.weight".  False: none of these. */
bool nib_mlx_halves_of(const char *stack, nib_mlx_halves *out);
/* DeepSeek-V3's kv_b_proj is two stacks of the heads' matrices, the keys' turned: embed_q
 * [heads, rank, keys] and unembed_out [heads, values, rank].  Its name in that of a piece of
 * embed_q, "M.self_attn.kv_b_proj.scales" of "M.self_attn.embed_q.scales"; false: it is none. */
bool nib_mlx_latent_of(const char *tensor, char out[NIB_MLX_NAME_ROOM]);
/* "M.self_attn.embed_q", "M.self_attn.unembed_out" of "M.self_attn.kv_b_proj"; false: it is none.
 */
bool nib_mlx_latent_parts(const char *module, char keys[NIB_MLX_NAME_ROOM],
                          char values[NIB_MLX_NAME_ROOM]);
/* Where a tensor belongs that is a module's of these, whole or a half. */
typedef struct nib_mlx_place {
    char name[NIB_MLX_NAME_ROOM]; /* of the piece there: "M.mlp.experts.gate_up_proj.scales" (of
                                     "bias": gate_up_proj_bias) */
    char rest[NIB_MLX_NAME_ROOM]; /* the other half's tensor; "": there is none, or this is it */
    bool second, turns;
} nib_mlx_place;
/* Of "M.mlp.experts.up_proj.scales" and the like.  False: it is none of experts. */
bool nib_mlx_stacked(const char *tensor, nib_mlx_place *out);
/* Of "M.mlp.gate_proj.weight" and the like, if the model is a granitemoehybrid without experts:
 * elsewhere these names mean themselves. */
bool nib_mlx_shared(const char *tensor, nib_mlx_place *out);

#endif
