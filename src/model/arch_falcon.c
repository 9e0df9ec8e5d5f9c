/* arch_falcon.c - Falcon: the 7B form (multi-query, parallel), the new decoder architecture
 * (grouped heads, one or two norms) and the RW form (ALiBi, one after the other);
 * formats.md 10.13.  Almazrouei et al. 2023, arXiv:2311.16867. */
#include <math.h>

#include "base/dtype.h"
#include "model/alibi.h"
#include "model/arch.h"

typedef struct falcon {
    size_t vocabulary, width, layers, heads, kv_heads, head_dim, inner, positions;
    bool tied;
    float eps;
    nib_activation activation;
    nib_rope rope;
    bool grouped;        /* new_decoder_architecture */
    bool multi_query, parallel, bias, alibi;
    size_t norms;        /* in a parallel layer: 2 are ln_attn and ln_mlp */
    const float *slopes; /* [heads] with alibi */
} falcon;

/* Rounded to bfloat16, as the reference does. */
static const float *make_slopes(nib_reader *r, size_t heads)
{
    float *slopes = nib_alibi_slopes(r, heads, 1);

    for (size_t i = 0; slopes && i < heads; i++) slopes[i] = nib_round_bf16(slopes[i]);
    return slopes;
}

/* The published 40B calls itself RefinedWeb; its code has the new architecture without a key. */
static bool is_grouped(nib_reader *r)
{
    const char *type = json_string_value(nib_read_any(r, "model_type"));
    bool published = type && strcmp(type, "RefinedWeb") == 0 && nib_read_has(r, "n_head_kv");

    return nib_read_bool(r, "new_decoder_architecture", published);
}

static void read_falcon(nib_reader *r, void *config)
{
    falcon *m = config;
    size_t kv_heads;

    m->vocabulary = nib_read_size(r, "vocab_size");
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, nib_read_either(r, "num_hidden_layers", "n_layer"));
    m->heads = nib_read_size(r, nib_read_either(r, "num_attention_heads", "n_head"));
    kv_heads = nib_read_size_or_null(r, nib_read_either(r, "num_kv_heads", "n_head_kv"), m->heads,
                                     m->heads);
    m->inner = nib_read_size_or_null(r, "ffn_hidden_size", 4 * m->width, 4 * m->width);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->activation = nib_read_activation(r, "activation", "gelu");
    m->grouped = is_grouped(r);
    m->multi_query = nib_read_bool(r, "multi_query", true);
    m->parallel = nib_read_bool(r, "parallel_attn", true);
    if (m->grouped && !m->parallel)
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "parallel_attn is off, which new_decoder_architecture cannot be");
    m->bias = nib_read_bool(r, "bias", false);
    m->alibi = nib_read_bool(r, "alibi", false);
    m->norms = nib_read_size_or_null(r, "num_ln_in_parallel_attn", 2, 2);
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    nib_read_must_be_off(r, "apply_residual_connection_post_layernorm",
                         "the residual is added before the norm here");
    if (m->norms > 2)
        nib_read_fail(r, NIB_E_FORMAT, "num_ln_in_parallel_attn is %zu, expected 1 or 2", m->norms);
    if (!m->grouped) m->norms = 1;
    m->kv_heads = m->grouped ? kv_heads : m->multi_query ? 1 : m->heads;
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->kv_heads, m->head_dim);
    if (m->alibi) m->slopes = make_slopes(r, m->heads);
    /* with alibi too: the keys are there, and without effect */
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .scaled = true,
                                                .rot = m->head_dim, .positions = m->positions });
}

/* The heads of q, k and v inside the fused projection:
 *   grouped      for each key/value head: its query heads, then k, then v
 *   multi-query  all query heads, then the one k, then the one v
 *   neither      for each head: q, k, v */
static nib_value attend(nib_build *b, const falcon *m, int i, nib_value h)
{
    size_t d = m->head_dim, n = m->heads, g = m->kv_heads, per = n / g;
    nib_attention_desc attention = { .heads = n, .kv_heads = g, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d), .alibi_slopes = m->slopes };
    size_t group = m->multi_query && !m->grouped ? 0 : (per + 2) * d;
    nib_heads many = { .head_stride = d, .per_group = per, .group_stride = group };
    nib_heads one = { .head_stride = d, .per_group = 1, .group_stride = group };

    nib_value qkv = nib_apply_linear(b, h, (n + 2 * g) * d, m->bias,
                                     "transformer.h.%d.self_attention.query_key_value", i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, many);
    nib_value k = nib_heads_of(b, qkv, g, d, per * d, one);
    nib_value v = nib_heads_of(b, qkv, g, d, (per + 1) * d, one);
    if (!m->alibi) {
        q = nib_rotate(b, q, n, d, &m->rope);
        k = nib_rotate(b, k, g, d, &m->rope);
    }
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, m->bias,
                            "transformer.h.%d.self_attention.dense", i);
}

static nib_value mlp(nib_build *b, const falcon *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, m->bias, "transformer.h.%d.mlp.dense_h_to_4h", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, m->bias,
                            "transformer.h.%d.mlp.dense_4h_to_h", i);
}

static nib_value layer(nib_build *b, const falcon *m, int i, nib_value x)
{
    const char *first = m->norms == 2 ? "transformer.h.%d.ln_attn"
                                      : "transformer.h.%d.input_layernorm";
    nib_value h = nib_apply_layer_norm(b, x, m->eps, first, i);
    if (!m->parallel) {
        x = nib_add(b, x, attend(b, m, i, h));
        h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.post_attention_layernorm", i);
        return nib_add(b, x, mlp(b, m, i, h));
    }
    nib_value g = h;
    if (m->norms == 2) g = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_mlp", i);
    nib_value a = attend(b, m, i, h);
    return nib_add(b, x, nib_add(b, a, mlp(b, m, i, g)));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const falcon *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "transformer.word_embeddings");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
    nib_head(b, x,
             (nib_head_spec){ .rows = m->vocabulary,
                              .tied_to = m->tied ? "transformer.word_embeddings" : NULL },
             "lm_head");
}

static const char *const types[] = { "falcon", "RefinedWeb", "RefinedWebModel", NULL };
static const char *const targets[] = { "query_key_value", NULL };

#define GGUF_NAMES                                                                                 \
    { "token_embd", "transformer.word_embeddings", NIB_GGUF_AS_IS },                               \
    { "output_norm", "transformer.ln_f", NIB_GGUF_AS_IS },                                         \
    { "output", "lm_head", NIB_GGUF_AS_IS },                                                       \
    { "attn_qkv", "transformer.h.%d.self_attention.query_key_value", NIB_GGUF_GROUPS },            \
    { "attn_output", "transformer.h.%d.self_attention.dense", NIB_GGUF_AS_IS },                    \
    { "ffn_up", "transformer.h.%d.mlp.dense_h_to_4h", NIB_GGUF_AS_IS },                            \
    { "ffn_down", "transformer.h.%d.mlp.dense_4h_to_h", NIB_GGUF_AS_IS }
static const nib_gguf_name gguf_names[] = {
    GGUF_NAMES,
    { "attn_norm", "transformer.h.%d.input_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_name gguf_names_of_two[] = {
    GGUF_NAMES,
    { "attn_norm", "transformer.h.%d.ln_mlp", NIB_GGUF_AS_IS },
    { "attn_norm_2", "transformer.h.%d.ln_attn", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" },
    { "attention.head_count", "num_attention_heads" },
    { "attention.head_count_kv", "num_kv_heads" },
    { "attention.layer_norm_epsilon", "layer_norm_epsilon" },
    { "rope.freq_base", "rope_theta" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    bool two = nib_gguf_has(c, "blk.0.attn_norm_2.weight");

    nib_gguf_set_inner(c, "ffn_hidden_size");
    nib_gguf_set(c, "new_decoder_architecture",
                 json_boolean(two || nib_gguf_get(c, "attention.head_count_kv", 1) != 1));
    nib_gguf_set(c, "num_ln_in_parallel_attn", json_integer(two ? 2 : 1));
    nib_gguf_set(c, "multi_query", json_true());
    nib_gguf_set(c, "parallel_attn", json_true());
    nib_gguf_set(c, "bias", json_boolean(nib_gguf_has(c, "blk.0.attn_qkv.bias")));
    nib_gguf_set(c, "alibi", json_false());
}

static const nib_gguf_family gguf = {
    .architecture = "falcon", .model_type = "falcon", .class_name = "FalconForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish,
    .variant = "blk.0.attn_norm_2.weight", .variant_names = gguf_names_of_two,
};

const nib_arch nib_arch_falcon = { .model_types = types, .config_bytes = sizeof(falcon),
                                   .read = read_falcon, .prefix = "transformer.",
                                   .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                   .default_targets = targets,
                                   .gguf = &gguf };
