/* arch_lfm2.c - LFM2: layers of short convolutions between gates, some of attention with a norm for
 * each head of q and k (formats.md 10.49).  Liquid AI 2025. */
#include <math.h>

#include "model/arch_llama.h"
#include "model/reader_layers.h"

typedef struct lfm2 {
    nib_llama m;
    const uint8_t *kinds; /* [layers] 1: attention */
    size_t taps;
    bool conv_bias;
} lfm2;

/* The width that config.json gives, made two thirds and rounded up, unless that is turned off. */
static size_t read_inner(nib_reader *r)
{
    size_t inner = nib_read_size_or(r, nib_read_either(r, "block_ff_dim", "intermediate_size"),
                                    12288);
    size_t multiple = nib_read_size_or(r, "block_multiple_of", 256);
    double factor = nib_read_float_or_null(r, "block_ffn_dim_multiplier", 1, 0);

    if (!nib_read_bool(r, "block_auto_adjust_ff_dim", true) || r->status) return inner;
    inner = (size_t)(2 * (double)inner / 3);
    if (factor < 0 || factor > 64)
        nib_read_fail(r, NIB_E_FORMAT, "block_ffn_dim_multiplier is %g, expected 0 to 64", factor);
    if (factor > 0 && !r->status) inner = nib_round_up((size_t)(factor * (double)inner), multiple);
    return nib_max(inner, 1);
}

/* Of all layers, where neither list is there: attention. */
static const uint8_t *read_kinds(nib_reader *r, size_t layers)
{
    static const char *const known[] = { "conv", "full_attention", NULL };
    const json_t *list = nib_read_any(r, "full_attn_idxs");
    const uint8_t *listed = nib_read_layer_kinds(r, "layer_types", layers, known);
    uint8_t *kinds = listed ? NULL : nib_read_alloc(r, layers, sizeof *kinds);
    size_t j;
    json_t *item;

    if (!kinds) return listed;
    if (list && !json_is_null(list) && !json_is_array(list))
        nib_read_fail(r, NIB_E_FORMAT, "full_attn_idxs is not a list");
    memset(kinds, !list || json_is_null(list), layers);
    json_array_foreach(list, j, item) {
        json_int_t i = json_integer_value(item);
        if (json_is_integer(item) && i >= 0 && (size_t)i < layers) kinds[i] = 1;
        else nib_read_fail(r, NIB_E_FORMAT, "full_attn_idxs[%zu] is no layer of %zu", j, layers);
    }
    return kinds;
}

static void read_lfm2(nib_reader *r, void *config)
{
    static const char *const idle[] = { "block_dim", "block_mlp_init_scale", "block_norm_eps",
                                        "block_out_init_scale", "block_use_swiglu",
                                        "block_use_xavier_init", "conv_dim", "conv_dim_out",
                                        "conv_use_xavier_init", "num_heads", "use_pos_enc" };
    lfm2 *s = config;
    nib_llama *m = &s->m;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 65536);
    m->width = nib_read_size_or(r, "hidden_size", 2560);
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size_or(r, "num_attention_heads", 32);
    m->kv_heads = nib_read_size_or(r, "num_key_value_heads", 8);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 128000);
    m->eps = nib_read_eps(r, "norm_eps", 1e-5f);
    m->activation = NIB_ACT_SILU;
    m->inner = read_inner(r);
    m->tied = nib_read_bool(r, nib_read_either(r, "tie_embedding", "tie_word_embeddings"), true);
    nib_read_any(r, "tie_word_embeddings");
    nib_read_any(r, "intermediate_size");
    m->head_dim = nib_read_own_head_dim(r, m->width, m->heads, false);
    nib_read_check_heads(r, m->heads, m->kv_heads, m->head_dim);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 1e6, .scaled = true, .rot = m->head_dim,
                                                .theta_key = nib_read_either(r, "theta",
                                                                             "rope_theta"),
                                                .positions = m->positions });
    nib_read_any(r, "rope_theta");
    s->taps = nib_read_size_or(r, "conv_L_cache", 3);
    s->conv_bias = nib_read_bool(r, "conv_bias", false);
    s->kinds = read_kinds(r, m->layers);
    for (size_t i = 0; i < NIB_COUNT(idle); i++) nib_read_any(r, idle[i]); /* never read */
}

static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;

    nib_value q = nib_apply_linear(b, h, q_width, false, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, false, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, false, "model.layers.%d.self_attn.v_proj", i);
    q = nib_apply_rms_norm_heads(b, q, m->heads, m->eps, "model.layers.%d.self_attn.q_layernorm",
                                 i);
    k = nib_apply_rms_norm_heads(b, k, m->kv_heads, m->eps, "model.layers.%d.self_attn.k_layernorm",
                                 i);
    q = nib_rotate(b, q, m->heads, m->head_dim, &m->rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, &m->rope);
    nib_value a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, false, "model.layers.%d.self_attn.out_proj", i);
}

/* out(C * conv(B * u)), with B, C and u of one projection. */
static nib_value convolve(nib_build *b, const lfm2 *s, int i, nib_value h)
{
    size_t width = s->m.width;
    nib_conv_spec conv = { .taps = s->taps, .channels = width, .bias = s->conv_bias };

    nib_value y = nib_apply_linear(b, h, 3 * width, s->conv_bias, "model.layers.%d.conv.in_proj",
                                   i);
    nib_value before = nib_columns_of(b, y, 0, width), behind = nib_columns_of(b, y, width, width);
    nib_value u = nib_gate(b, before, nib_columns_of(b, y, 2 * width, width), NIB_ACT_NONE);
    u = nib_convolve(b, u, &conv, "model.layers.%d.conv.conv", i);
    u = nib_gate(b, behind, u, NIB_ACT_NONE);
    return nib_apply_linear(b, u, width, s->conv_bias, "model.layers.%d.conv.out_proj", i);
}

static nib_value feed_forward(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_value gate = nib_apply_linear(b, h, m->inner, false, "model.layers.%d.feed_forward.w1", i);
    nib_value up = nib_apply_linear(b, h, m->inner, false, "model.layers.%d.feed_forward.w3", i);
    h = nib_gate(b, gate, up, m->activation);
    return nib_apply_linear(b, h, m->width, false, "model.layers.%d.feed_forward.w2", i);
}

static nib_value layer(nib_build *b, const lfm2 *s, int i, nib_value x)
{
    const nib_llama *m = &s->m;

    nib_value h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.operator_norm", i);
    x = nib_add(b, x, s->kinds[i] ? attend(b, m, i, h) : convolve(b, s, i, h));
    h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.ffn_norm", i);
    return nib_add(b, x, feed_forward(b, m, i, h));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const lfm2 *s = config;
    const nib_llama *m = &s->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, s, i, x);
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.embedding_norm"); /* the last, not the first */
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "model.embed_tokens", NIB_GGUF_AS_IS },
    { "token_embd_norm", "model.embedding_norm", NIB_GGUF_AS_IS },
    { "output", "lm_head", NIB_GGUF_AS_IS },
    { "attn_q", "model.layers.%d.self_attn.q_proj", NIB_GGUF_AS_IS },
    { "attn_k", "model.layers.%d.self_attn.k_proj", NIB_GGUF_AS_IS },
    { "attn_v", "model.layers.%d.self_attn.v_proj", NIB_GGUF_AS_IS },
    { "attn_output", "model.layers.%d.self_attn.out_proj", NIB_GGUF_AS_IS },
    { "attn_q_norm", "model.layers.%d.self_attn.q_layernorm", NIB_GGUF_AS_IS },
    { "attn_k_norm", "model.layers.%d.self_attn.k_layernorm", NIB_GGUF_AS_IS },
    { "shortconv.in_proj", "model.layers.%d.conv.in_proj", NIB_GGUF_AS_IS },
    { "shortconv.conv", "model.layers.%d.conv.conv", NIB_GGUF_CONV },
    { "shortconv.out_proj", "model.layers.%d.conv.out_proj", NIB_GGUF_AS_IS },
    { "attn_norm", "model.layers.%d.operator_norm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.ffn_norm", NIB_GGUF_AS_IS },
    { "ffn_gate", "model.layers.%d.feed_forward.w1", NIB_GGUF_AS_IS },
    { "ffn_up", "model.layers.%d.feed_forward.w3", NIB_GGUF_AS_IS },
    { "ffn_down", "model.layers.%d.feed_forward.w2", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" },
    { "attention.head_count", "num_attention_heads" },
    { "attention.layer_norm_rms_epsilon", "norm_eps" },
    { "rope.freq_base", "rope_theta" },
    { "shortconv.l_cache", "conv_L_cache" },
    { 0 },
};

/* Layers of convolutions have no heads for keys. */
static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_mixed(c, "full_attention", "conv");
    nib_gguf_set_inner(c, "intermediate_size");
    nib_gguf_set(c, "block_auto_adjust_ff_dim", json_false());
    nib_gguf_set_bias(c, "conv_bias", "blk.0.shortconv.in_proj.bias");
}

static const nib_gguf_family gguf = {
    .architecture = "lfm2", .model_type = "lfm2", .class_name = "Lfm2ForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

static const char *const types[] = { "lfm2", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none */

const nib_arch nib_arch_lfm2 = { .model_types = types, .config_bytes = sizeof(lfm2),
                                 .read = read_lfm2, .prefix = "model.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets, .gguf = &gguf };
