/* arch_granite.h - what the granite families have in common: factors around llama's layers. */
#ifndef NIB_MODEL_ARCH_GRANITE_H
#define NIB_MODEL_ARCH_GRANITE_H

#include "model/experts.h"

typedef struct nib_granite {
    nib_moe moe; /* first; of granite the model alone, which has no experts */
    float embedding, residual, logits;
} nib_granite;

void nib_granite_read(nib_reader *r, void *config);
/* The whole model, with both halves of a layer. */
void nib_granite_stack(nib_build *b, const nib_granite *g, nib_llama_half *mix,
                       nib_llama_half *mlp);
/* The experts as the second half; m is the model of a nib_granite. */
nib_value nib_granite_experts(nib_build *b, const nib_llama *m, int i, nib_value h);

#define NIB_GRANITE_GGUF_KEYS                                                                      \
    NIB_GGUF_LLAMA_KEYS, { "attention.key_length", "head_dim" },                                   \
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },                                        \
    { "embedding_scale", "embedding_multiplier" }, { "residual_scale", "residual_multiplier" },    \
    { "logit_scale", "logits_scaling" }, { "attention.scale", "attention_multiplier" }
void nib_granite_gguf_finish(nib_gguf_config *c);

#endif
