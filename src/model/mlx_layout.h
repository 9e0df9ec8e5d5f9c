/* mlx_layout.h - tensors that MLX lays out in its own way: of families with convolutions, and of
 * DeepSeek-V3.
 *
 * MLX has a convolution's channels last, [C, taps, 1] for [C, 1, taps] in the family's own files;
 * and where it meets the latter, mlx-lm changes more of the family's tensors (formats-quant.md
 * 8.1):
 *
 *     lfm2                    nothing more
 *     qwen3_next, qwen3_5     1 is added to the norms that multiply by 1 + w
 *     granitemoehybrid        nothing more, but without experts shared_mlp.input_linear is
 *                             mlp.gate_proj and mlp.up_proj, output_linear mlp.down_proj
 *     falcon_h1 and others    not undone: their convolutions stay as they are, and are refused
 *
 * DeepSeek-V3's kv_b_proj is in two (quant/mlx_names.h), which are one where they are packed. */
#ifndef NIB_MODEL_MLX_LAYOUT_H
#define NIB_MODEL_MLX_LAYOUT_H

#include "format/safetensors.h"

/* Gives the tensors of such a model the names, shapes and values of the family's own files; others
 * stay.  NIB_E_MISMATCH: a half is missing, or of another shape or type.  NIB_E_NOMEM. */
nib_status nib_mlx_take_layout(nib_tensors *tensors, nib_error *err);

#endif
