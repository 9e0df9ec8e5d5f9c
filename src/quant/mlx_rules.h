/* mlx_rules.h - MLX's `quantization` in config.json: how weights are packed, and which modules are
 * packed otherwise (formats-quant.md 8.1).
 *
 *     {"group_size": 64, "bits": 4, "mode": "affine",
 *      "model.layers.0.mlp.down_proj": {"group_size": 64, "bits": 6},    all of it anew
 *      "lm_head": false}                                                 dense
 */
#ifndef NIB_QUANT_MLX_RULES_H
#define NIB_QUANT_MLX_RULES_H

#include "quant/grouped_open.h"

typedef enum nib_mlx_mode {
    NIB_MLX_AFFINE, /* integers with scales and biases */
    NIB_MLX_MXFP4,  /* E2M1, a power of two for 32 */
    NIB_MLX_NVFP4,  /* E2M1, an E4M3 scale for 16, and none of the matrix */
    NIB_MLX_MXFP8   /* E4M3, a power of two for 32 */
} nib_mlx_mode;
extern const char *const nib_mlx_modes[]; /* as config.json has them, NULL at the end */

typedef struct nib_mlx_rule {
    const char *module; /* as the file calls it */
    bool dense;
    nib_mlx_mode mode;
    unsigned bits, group;
} nib_mlx_rule;

/* What `mode` has where config.json has nothing, for all modules. */
nib_mlx_rule nib_mlx_mode_rule(nib_mlx_mode mode);

typedef struct nib_mlx_rules {
    nib_mlx_rule all;
    size_t count;
    nib_mlx_rule single[]; /* names lie behind */
} nib_mlx_rules;

/* NIB_E_UNSUPPORTED: a mode, width or group that is not read, with those that are; NIB_E_INVALID: a
 * value that is none, or a key that is not known. */
nib_status nib_mlx_rules_read(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_mlx_rules **out, nib_error *err);

/* The rule of `module` alone, else that of all.  A rule of a model inside another one
 * ("language_model.model.layers.0...") is the text's; an expert has
 * that of the stack it lies in. */
const nib_mlx_rule *nib_mlx_rules_find(const nib_mlx_rules *rules, const char *module);

#endif
