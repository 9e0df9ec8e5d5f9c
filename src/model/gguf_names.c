/* gguf_names.c - the names and keys that llama and its kin have in GGUF. */
#include "model/gguf_family.h"

#define LLAMA(q, k)                                                                                \
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS), NIB_GGUF_LLAMA_ATTENTION(q, k), NIB_GGUF_LLAMA_MLP,       \
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },                            \
    { "attn_q_norm", "model.layers.%d.self_attn.q_norm", NIB_GGUF_AS_IS },                         \
    { "attn_k_norm", "model.layers.%d.self_attn.k_norm", NIB_GGUF_AS_IS },                         \
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS }

const nib_gguf_name nib_gguf_llama_names[] = { LLAMA(NIB_GGUF_Q_ROWS, NIB_GGUF_K_ROWS),
                                               { 0 } };
const nib_gguf_name nib_gguf_plain_names[] = { LLAMA(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS), { 0 } };

/* llama with experts. */
const nib_gguf_name nib_gguf_mixtral_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_Q_ROWS, NIB_GGUF_K_ROWS),
    NIB_GGUF_EXPERTS("block_sparse_moe", "w1", "w3", "w2"),
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};

const nib_gguf_key nib_gguf_llama_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { 0 },
};

void nib_gguf_llama_finish(nib_gguf_config *c)
{
    if (nib_gguf_has(c, "blk.0.attn_q.bias")) nib_gguf_set(c, "attention_bias", json_true());
    if (nib_gguf_has(c, "blk.0.ffn_up.bias")) nib_gguf_set(c, "mlp_bias", json_true());
}
