/* mlx_experts.h - MLX's stacks of experts as the modules that the family's own files hold. */
#ifndef NIB_MODEL_MLX_EXPERTS_H
#define NIB_MODEL_MLX_EXPERTS_H

#include "format/safetensors.h"

/* "M.switch_mlp.gate_proj.weight" [experts, ...] becomes "M.experts.0.gate_proj.weight" [...] and
 * so on, packed or dense; other tensors stay.  NIB_E_FORMAT naming a stack that is none, or a name
 * that is there twice then; NIB_E_NOMEM. */
nib_status nib_mlx_take_experts(nib_tensors *tensors, nib_error *err);

#endif
