/* arch_llama.h - what llama and its kin have in common: the keys, the layer, the whole. */
#ifndef NIB_MODEL_ARCH_LLAMA_H
#define NIB_MODEL_ARCH_LLAMA_H

#include "model/arch.h"

typedef struct nib_llama nib_llama;

/* Norms the heads of q or k (`of`: 'q', 'k') of layer i. */
typedef nib_value nib_llama_head_norm(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                                      size_t heads);

struct nib_llama {
    size_t vocabulary, width, layers, heads, kv_heads, head_dim, inner, positions;
    bool tied; /* the head is the embedding */
    float eps;
    nib_activation activation;
    bool qkv_bias, o_bias, mlp_bias;
    nib_rope rope;
    nib_rope q_rope;     /* of queries, where it is another one; else rot is 0 */
    size_t window;       /* tokens that a sliding layer sees; 0: none slides */
    const bool *sliding; /* [layers], NULL: all slide */
    float scale;         /* of the scores; 0: by the width of a head */
    nib_llama_head_norm *head_norm; /* of q and of k before the rotation, or NULL */
    bool norm_behind;    /* it comes behind the rotation */
};

/* What a layer puts between one of its norms and the stream. */
typedef nib_value nib_llama_half(nib_build *b, const nib_llama *m, int i, nib_value h);

/* Where the kin differ in their keys: names, and values of keys that are absent. */
typedef struct nib_llama_keys {
    const char *eps_key;  /* NULL: rms_norm_eps */
    const char *activation; /* NULL: the caller reads hidden_act */
    float eps;
    double theta, partial; /* partial: rotated fraction of a head, by partial_rotary_factor */
    size_t head_dim;      /* 0: width / heads */
    bool no_null_head_dim; /* head_dim null is an error; else it is width / heads */
    size_t kv_heads;      /* 0: heads */
    bool no_null_kv_heads; /* num_key_value_heads null is an error; else it is heads */
    size_t inner, positions;
    bool tied, bias;      /* bias: attention_bias */
    bool interleaved;     /* neighbouring channels are rotated */
    const char *rope;     /* nib_rope_spec's absent */
    bool grows, axes, alpha; /* nib_rope_spec's */
} nib_llama_keys;
extern const nib_llama_keys nib_llama_plain_keys; /* llama's own */

/* The keys of llama; rope included. */
void nib_llama_read_keys(nib_reader *r, nib_llama *m, const nib_llama_keys *keys);
/* q, k, v, rotation (rope NULL: none), attention and its output projection. */
nib_value nib_llama_attend(nib_build *b, const nib_llama *m, int i, const nib_rope *rope,
                           nib_value h);
/* down(act(gate(h)) * up(h)) of layer i. */
nib_value nib_llama_mlp(nib_build *b, const nib_llama *m, int i, nib_value h);
/* The window of layer i; 0: none. */
size_t nib_llama_window(const nib_llama *m, int i);
/* The layers on embedded tokens, the norm behind them and the head. */
void nib_llama_layers(nib_build *b, const nib_llama *m, nib_llama_half *attend,
                      nib_llama_half *mlp, nib_value x);
/* The whole model with its own attention in llama's layers; with its own of both halves. */
void nib_llama_stack(nib_build *b, const nib_llama *m, nib_llama_half *attend);
void nib_llama_stack_of(nib_build *b, const nib_llama *m, nib_llama_half *attend,
                        nib_llama_half *mlp);
/* Llama's attention as a half. */
nib_value nib_llama_attention(nib_build *b, const nib_llama *m, int i, nib_value h);
/* Qwen3's norm of heads. */
nib_value nib_qwen3_norm_heads(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                               size_t heads);
void nib_llama_build(nib_build *b, const void *config, nib_task task);
extern const char *const nib_llama_targets[];
extern const char *const nib_llama_heads[]; /* other_heads of those that are classifiers too */

/* use_sliding_window, sliding_window and max_window_layers, as the Qwen models have them. */
void nib_qwen_read_window(nib_reader *r, nib_llama *m);

#endif
