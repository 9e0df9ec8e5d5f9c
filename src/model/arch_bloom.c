/* arch_bloom.c - BLOOM: ALiBi instead of positions, a norm behind the embedding, q, k and v head by
 * head in one projection (formats.md 10.15).  arXiv:2211.05100. */
#include <math.h>

#include "model/alibi.h"
#include "model/arch.h"

typedef struct bloom {
    size_t vocabulary, width, layers, heads, head_dim;
    bool tied, residual_after_norm;
    float eps;
    const float *slopes; /* [heads], for scores that are not scaled yet */
} bloom;

static void read_bloom(nib_reader *r, void *config)
{
    bloom *m = config;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 250880);
    m->width = nib_read_size(r, nib_read_either(r, "hidden_size", "n_embed"));
    m->layers = nib_read_layers(r, nib_read_either(r, "n_layer", "num_hidden_layers"));
    m->heads = nib_read_size(r, nib_read_either(r, "n_head", "num_attention_heads"));
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->residual_after_norm =
        nib_read_bool(r, "apply_residual_connection_post_layernorm", false);
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    /* Added to scaled scores; the attention scales what it adds. */
    m->slopes = nib_alibi_slopes(r, m->heads, 1 / sqrt((double)m->head_dim));
    nib_read_any(r, "slow_but_exact"); /* how the original was split over machines */
    nib_read_any(r, "skip_bias_add");
    nib_read_any(r, "skip_bias_add_qkv");
    nib_read_any(r, "attention_softmax_in_fp32");
    nib_read_any(r, "bias_dropout_fusion");
    nib_read_any(r, "masked_softmax_fusion");
    nib_read_any(r, "offset_alibi"); /* in published files, read by nobody */
    nib_read_any(r, "seq_length");
    nib_read_any(r, "n_inner");
    nib_read_any(r, "unk_token_id");
}

static nib_value attend(nib_build *b, const bloom *m, int i, nib_value h)
{
    size_t d = m->head_dim, n = m->heads;
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d), .alibi_slopes = m->slopes,
                                     .alibi_exact = true };
    nib_heads each = { .head_stride = 3 * d, .per_group = n };

    nib_value qkv = nib_apply_linear(b, h, 3 * m->width, true,
                                     "transformer.h.%d.self_attention.query_key_value", i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, each);
    nib_value k = nib_heads_of(b, qkv, n, d, d, each);
    nib_value v = nib_heads_of(b, qkv, n, d, 2 * d, each);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, true,
                            "transformer.h.%d.self_attention.dense", i);
}

static nib_value mlp(nib_build *b, const bloom *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, 4 * m->width, true, "transformer.h.%d.mlp.dense_h_to_4h", i);
    return nib_apply_linear(b, nib_activate(b, h, NIB_ACT_GELU_TANH), m->width, true,
                            "transformer.h.%d.mlp.dense_4h_to_h", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const bloom *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "transformer.word_embeddings"), h;

    (void)task;
    nib_set_positions(b, 2048); /* it was trained on so many; ALiBi has no limit */
    x = nib_apply_layer_norm(b, x, m->eps, "transformer.word_embeddings_layernorm");
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.input_layernorm", i);
        x = nib_add(b, m->residual_after_norm ? h : x, attend(b, m, i, h));
        h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.post_attention_layernorm", i);
        x = nib_add(b, m->residual_after_norm ? h : x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
    nib_head(b, x,
             (nib_head_spec){ .rows = m->vocabulary,
                              .tied_to = m->tied ? "transformer.word_embeddings" : NULL },
             "lm_head");
}

static const char *const types[] = { "bloom", NULL };
static const char *const targets[] = { "query_key_value", NULL };

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "transformer.word_embeddings", NIB_GGUF_AS_IS },
    { "token_embd_norm", "transformer.word_embeddings_layernorm", NIB_GGUF_AS_IS },
    { "output_norm", "transformer.ln_f", NIB_GGUF_AS_IS },
    { "output", "lm_head", NIB_GGUF_AS_IS },
    { "attn_norm", "transformer.h.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "attn_qkv", "transformer.h.%d.self_attention.query_key_value", NIB_GGUF_HEADS },
    { "attn_output", "transformer.h.%d.self_attention.dense", NIB_GGUF_AS_IS },
    { "ffn_norm", "transformer.h.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { "ffn_up", "transformer.h.%d.mlp.dense_h_to_4h", NIB_GGUF_AS_IS },
    { "ffn_down", "transformer.h.%d.mlp.dense_4h_to_h", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    { "context_length", "seq_length" }, { "embedding_length", "hidden_size" },
    { "block_count", "n_layer" }, { "attention.head_count", "n_head" },
    { "attention.layer_norm_epsilon", "layer_norm_epsilon" },
    { 0 },
};
static const nib_gguf_family gguf = {
    .architecture = "bloom", .model_type = "bloom", .class_name = "BloomForCausalLM",
    .names = gguf_names, .keys = gguf_keys,
};

const nib_arch nib_arch_bloom = { .model_types = types, .config_bytes = sizeof(bloom),
                                  .read = read_bloom, .prefix = "transformer.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                  .default_targets = targets,
                                  .gguf = &gguf };
