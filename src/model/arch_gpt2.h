/* arch_gpt2.h - what GPT-2 and its kin share: learned positions, and layers of two norms under
 * transformer.h.  Their attention, and how their weights lie, is their own. */
#ifndef NIB_MODEL_ARCH_GPT2_H
#define NIB_MODEL_ARCH_GPT2_H

#include "model/arch.h"

/* The first member of the config of each. */
typedef struct nib_gpt2 {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions;
    bool tied;
    float eps;
    nib_activation activation;
} nib_gpt2;

/* What a layer puts between one of its norms and the stream. */
typedef nib_value nib_gpt2_half(nib_build *b, const nib_gpt2 *m, int i, nib_value h);

void nib_gpt2_stack(nib_build *b, const nib_gpt2 *m, nib_gpt2_half *attend, nib_gpt2_half *mlp);
/* The feed-forward part of plain linears. */
nib_value nib_gpt2_linear_mlp(nib_build *b, const nib_gpt2 *m, int i, nib_value h);
extern const nib_gguf_key nib_gpt2_gguf_keys[];

#endif
