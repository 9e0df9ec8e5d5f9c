/* mamba.h - Mamba-2's half of a layer, as the hybrid families have it (formats.md 10.50).
 * Dao and Gu 2024, arXiv:2405.21060. */
#ifndef NIB_MODEL_MAMBA_H
#define NIB_MODEL_MAMBA_H

#include "model/arch.h"

/* What stands between the scan and the output. */
typedef enum nib_mamba_norm {
    NIB_MAMBA_GATE_NORM, /* the gate, then a norm of each group */
    NIB_MAMBA_NORM_GATE,
    NIB_MAMBA_GATE       /* no norm */
} nib_mamba_norm;

typedef struct nib_mamba {
    size_t width;       /* of the stream */
    nib_scan_spec scan; /* heads of `columns`, groups of heads (key_heads) of `rows` */
    size_t taps;
    bool conv_bias, in_bias, out_bias;
    nib_mamba_norm norm;
    float eps;          /* of the norm */
    bool scaled;        /* parts of the projection are, in this order: z, x, B, C, steps */
    float factors[5];
    bool bypassed;      /* out_proj is (graph/module.h) */
} nib_mamba;

/* The keys mamba_*, time_step_limit and the activation, which must be silu; `inner` channels in
 * all heads. */
void nib_mamba_read(nib_reader *r, nib_mamba *m, size_t width, size_t inner);
/* out_proj(norm(silu(z) * scan(conv(x, B, C), steps))), or with the norm elsewhere, z to steps
 * being parts of in_proj(h), of layer i's module `mamba`. */
nib_value nib_apply_mamba(nib_build *b, const nib_mamba *m, int i, nib_value h);

#endif
