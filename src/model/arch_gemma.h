/* arch_gemma.h - what Gemma 2 and 3 have in common: the keys,
 * the layer of four norms, the whole. */
#ifndef NIB_MODEL_ARCH_GEMMA_H
#define NIB_MODEL_ARCH_GEMMA_H

#include "model/arch.h"

typedef struct nib_gemma {
    size_t vocabulary, width, layers, heads, kv_heads, head_dim, inner, positions, window;
    bool tied, bias;
    float eps, scale;       /* scale: of the scores */
    float cap, logit_cap;   /* 0: none */
    nib_activation activation;
    nib_rope rope;          /* of layers that see everything */
    nib_rope sliding_rope;  /* of layers with a window */
    bool *sliding;          /* [layers] */
    bool head_norms;        /* q and k are normed head by head */
    bool scaled_embedding;  /* the library's embedding multiplies by the scale itself */
} nib_gemma;

/* All keys but those of the ropes and the pattern of windows.  Published files leave keys out:
 * `vocabulary` and `positions` are those of the class. */
void nib_gemma_read(nib_reader *r, nib_gemma *m, size_t vocabulary, size_t positions);
/* Names in GGUF; and how llama.cpp scales scores, which no key says: by the width of a head, but in
 * the 27B sizes, of so many layers, by width / heads. */
extern const nib_gguf_name nib_gemma_gguf_names[];
void nib_gemma_gguf_scale(nib_gguf_config *c, size_t largest);
void nib_gemma_build(nib_build *b, const void *config, nib_task task);

#endif
