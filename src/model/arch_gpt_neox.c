/* arch_gpt_neox.c - GPT-NeoX and Pythia: q, k and v head by head in one projection, attention and
 * feed-forward on two norms of one stream (formats.md 10.12).  arXiv:2204.06745. */
#include <math.h>

#include "model/arch.h"

typedef struct neox {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions;
    bool tied, parallel, bias;
    float eps;
    nib_activation activation;
    nib_rope rope;
} neox;

/* rotary_pct and rotary_emb_base; the names that newer versions write beside them are overruled by
 * these and their defaults (4.57.6), but for what stands in rope_parameters. */
static nib_rope read_rope(nib_reader *r, const neox *m)
{
    size_t rot = nib_read_rotated(r, m->head_dim, "rotary_pct", 0.25);

    nib_read_any(r, "rope_theta");
    return nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .theta_key = "rotary_emb_base",
                                             .scaled = true, .rot = rot,
                                             .head_dim = m->head_dim, .positions = m->positions });
}

static void read_neox(nib_reader *r, void *config)
{
    neox *m = config;

    m->vocabulary = nib_read_size(r, "vocab_size");
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->inner = nib_read_size_or(r, "intermediate_size", 24576);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    m->eps = nib_read_eps(r, "layer_norm_eps", 1e-5f);
    m->activation = nib_read_activation(r, "hidden_act", "gelu");
    m->parallel = nib_read_bool(r, "use_parallel_residual", true);
    m->bias = nib_read_bool(r, "attention_bias", true);
    m->tied = nib_read_bool(r, "tie_word_embeddings", false);
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    m->rope = read_rope(r, m);
    nib_read_any(r, "classifier_dropout");
}

static nib_value attend(nib_build *b, const neox *m, int i, nib_value h)
{
    size_t d = m->head_dim, n = m->heads;
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d) };
    nib_heads each = { .head_stride = 3 * d, .per_group = n };

    nib_value qkv = nib_apply_linear(b, h, 3 * m->width, m->bias,
                                     "gpt_neox.layers.%d.attention.query_key_value", i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, each);
    nib_value k = nib_heads_of(b, qkv, n, d, d, each);
    nib_value v = nib_heads_of(b, qkv, n, d, 2 * d, each);
    q = nib_rotate(b, q, n, d, &m->rope);
    k = nib_rotate(b, k, n, d, &m->rope);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, m->bias,
                            "gpt_neox.layers.%d.attention.dense", i);
}

static nib_value mlp(nib_build *b, const neox *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, true, "gpt_neox.layers.%d.mlp.dense_h_to_4h", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, true,
                            "gpt_neox.layers.%d.mlp.dense_4h_to_h", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const neox *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "gpt_neox.embed_in"), h, a;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, m->eps, "gpt_neox.layers.%d.input_layernorm", i);
        a = attend(b, m, i, h);
        if (!m->parallel) x = nib_add(b, x, a);
        h = nib_apply_layer_norm(b, x, m->eps, "gpt_neox.layers.%d.post_attention_layernorm", i);
        h = mlp(b, m, i, h);
        x = nib_add(b, x, m->parallel ? nib_add(b, a, h) : h);
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "gpt_neox.final_layer_norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "gpt_neox.embed_in" : NULL }, "embed_out");
}

static const char *const types[] = { "gpt_neox", NULL };
static const char *const targets[] = { "query_key_value", NULL };

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "gpt_neox.embed_in", NIB_GGUF_AS_IS },
    { "output_norm", "gpt_neox.final_layer_norm", NIB_GGUF_AS_IS },
    { "output", "embed_out", NIB_GGUF_AS_IS },
    { "attn_norm", "gpt_neox.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "attn_qkv", "gpt_neox.layers.%d.attention.query_key_value", NIB_GGUF_HEADS },
    { "attn_output", "gpt_neox.layers.%d.attention.dense", NIB_GGUF_AS_IS },
    { "ffn_norm", "gpt_neox.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { "ffn_up", "gpt_neox.layers.%d.mlp.dense_h_to_4h", NIB_GGUF_AS_IS },
    { "ffn_down", "gpt_neox.layers.%d.mlp.dense_4h_to_h", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" }, { "feed_forward_length", "intermediate_size" },
    { "attention.head_count", "num_attention_heads" },
    { "attention.layer_norm_epsilon", "layer_norm_eps" },
    { "rope.freq_base", "rotary_emb_base" },
    { "use_parallel_residual", "use_parallel_residual" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_partial(c, "rotary_pct");
    nib_gguf_set(c, "attention_bias", json_boolean(nib_gguf_has(c, "blk.0.attn_qkv.bias")));
}

static const nib_gguf_family gguf = {
    .architecture = "gptneox", .model_type = "gpt_neox", .class_name = "GPTNeoXForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_gpt_neox = { .model_types = types, .config_bytes = sizeof(neox),
                                     .read = read_neox, .prefix = "gpt_neox.",
                                     .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                     .default_targets = targets,
                                     .gguf = &gguf };
