/* mlx_experts.h - MLX's stacks of experts as what the family's own files hold. */
#ifndef NIB_MODEL_MLX_EXPERTS_H
#define NIB_MODEL_MLX_EXPERTS_H

#include "format/safetensors.h"

/* "M.switch_mlp.gate_proj.weight" [experts, ...] becomes "M.experts.0.gate_proj.weight" [...] and
 * so on, packed or dense.  Of a family whose own files stack the experts, the tensors get the names
 * they have there, gate and up being one (nib_tensor.rest); other tensors stay.
 * NIB_E_MISMATCH: a half is missing, or of another shape or type.  NIB_E_FORMAT naming a stack that
 * is none, or a name that is there twice then; NIB_E_NOMEM. */
nib_status nib_mlx_take_experts(nib_tensors *tensors, nib_error *err);

#endif
