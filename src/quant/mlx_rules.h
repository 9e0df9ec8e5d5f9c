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

typedef struct nib_mlx_rule {
    const char *module; /* as the file calls it */
    bool dense;
    unsigned bits, group;
} nib_mlx_rule;

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
