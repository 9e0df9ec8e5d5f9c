/* arch_llama.h - what llama and its kin have in common: the keys, the layer, the whole. */
#ifndef NIB_MODEL_ARCH_LLAMA_H
#define NIB_MODEL_ARCH_LLAMA_H

#include "model/arch.h"

typedef struct nib_llama {
    size_t vocabulary, width, layers, heads, kv_heads, head_dim, inner, positions;
    bool tied; /* the head is the embedding */
    float eps;
    nib_activation activation;
    bool qkv_bias, o_bias, mlp_bias;
    nib_rope rope;
    size_t window;       /* tokens that a sliding layer sees; 0: none slides */
    const bool *sliding; /* [layers], NULL: all slide */
} nib_llama;

/* The keys of llama; rope included. */
void nib_llama_read(nib_reader *r, void *config);
/* down(act(gate(h)) * up(h)) of layer i. */
nib_value nib_llama_mlp(nib_build *b, const nib_llama *m, int i, nib_value h);
/* One layer on the stream x. */
nib_value nib_llama_layer(nib_build *b, const nib_llama *m, int i, nib_value x);
void nib_llama_build(nib_build *b, const void *config, nib_task task);
extern const char *const nib_llama_targets[];

/* use_sliding_window, sliding_window and max_window_layers, as the Qwen models have them. */
void nib_qwen_read_window(nib_reader *r, nib_llama *m);

#endif
