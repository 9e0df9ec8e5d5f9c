/* mlx_halves.h - a tensor that the family's own files have, of those that MLX has instead. */
#ifndef NIB_MODEL_MLX_HALVES_H
#define NIB_MODEL_MLX_HALVES_H

#include "format/safetensors.h"
#include "quant/mlx_names.h"

/* Gives the tensor its name there; where it is a half, the first takes the other to itself along
 * `axis`, by turns or one behind the other (nib_tensor.rest), and the second is foreign.
 * NIB_E_MISMATCH: a half is missing, or of another shape or type; NIB_E_NOMEM. */
nib_status nib_mlx_keep(nib_tensors *tensors, nib_tensor *t, const nib_mlx_place *to,
                        unsigned axis, nib_error *err);

#endif
