/* arch_modernbert.c - ModernBERT: norms before each half of a layer, gated MLPs, rotation, and
 * layers that see a window between those that see all (formats-encoder.md 3.4).  Warner et al.
 * 2024, arXiv:2412.13663. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"

typedef struct modernbert {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions, every, window;
    bool norm_bias, attention_bias, mlp_bias, decoder_bias, classifier_bias, mean;
    float eps, embedding_dropout, attention_dropout, mlp_dropout, classifier_dropout;
    nib_activation activation, classifier_activation;
    nib_rope global, local;
    const bool *sliding; /* [layers] what layer_types says, or NULL */
} modernbert;

static void read_pooling(nib_reader *r, modernbert *m)
{
    const json_t *j = nib_read_any(r, "classifier_pooling");
    const char *name = j ? json_string_value(j) : "cls";

    m->mean = name && strcmp(name, "mean") == 0;
    if (!name || (!m->mean && strcmp(name, "cls") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "classifier_pooling is '%s', known are cls and mean",
                      name ? name : "no text");
}

static void read_ropes(nib_reader *r, modernbert *m)
{
    double global = nib_read_float_or(r, "global_rope_theta", 160000);
    double local = nib_read_float_or_null(r, "local_rope_theta", 10000, global);

    m->global = nib_read_rope(r, (nib_rope_spec){ .theta = global, .theta_key = "global_rope_theta",
                                                  .layer_type = "full_attention",
                                                  .rot = m->head_dim, .positions = m->positions });
    m->local = nib_read_rope(r, (nib_rope_spec){ .theta = local, .theta_key = "no rope_theta",
                                                 .layer_type = "sliding_attention",
                                                 .rot = m->head_dim, .positions = m->positions });
}

static void read_modernbert(nib_reader *r, void *config)
{
    modernbert *m = config;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50368);
    m->width = nib_read_size_or(r, "hidden_size", 768);
    m->inner = nib_read_size_or(r, "intermediate_size", 1152);
    m->layers = nib_read_has(r, "num_hidden_layers") ? nib_read_layers(r, "num_hidden_layers") : 22;
    m->heads = nib_read_size_or(r, "num_attention_heads", 12);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 8192);
    m->every = nib_read_size_or(r, "global_attn_every_n_layers", 3);
    m->window = nib_read_size_or(r, "local_attention", 128) / 2 + 1; /* as near as that is seen */
    m->eps = nib_read_eps(r, "norm_eps", 1e-5f);
    m->embedding_dropout = nib_read_dropout(r, "embedding_dropout", 0, false);
    m->attention_dropout = nib_read_dropout(r, "attention_dropout", 0, false);
    m->mlp_dropout = nib_read_dropout(r, "mlp_dropout", 0, false);
    m->classifier_dropout = nib_read_dropout(r, "classifier_dropout", 0, false);
    m->norm_bias = nib_read_bool(r, "norm_bias", false);
    m->attention_bias = nib_read_bool(r, "attention_bias", false);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
    m->decoder_bias = nib_read_bool(r, "decoder_bias", true);
    m->classifier_bias = nib_read_bool(r, "classifier_bias", false);
    m->activation = nib_read_activation(r, "hidden_activation", "gelu");
    m->classifier_activation = nib_read_activation(r, "classifier_activation", "gelu");
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    read_pooling(r, m);
    m->sliding = nib_read_sliding_layers(r, m->layers);
    if (!r->status) read_ropes(r, m);
    if (!nib_read_bool(r, "tie_word_embeddings", true))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "tie_word_embeddings is false: words are only "
                      "predicted with the embedding's table");
    nib_read_any(r, "sparse_prediction"); /* which rows get logits: the same loss */
    nib_read_any(r, "sparse_pred_ignore_index");
    nib_read_any(r, "initializer_cutoff_factor");
    nib_read_any(r, "deterministic_flash_attn");
    nib_read_any(r, "repad_logits_with_grad");
    nib_read_any(r, "reference_compile");
    nib_read_any(r, "cls_token_id");
    nib_read_any(r, "position_embedding_type"); /* the class writes it and does not read it */
    nib_read_any(r, "layer_norm_eps");
}

static nib_value norm_of(nib_build *b, const modernbert *m, nib_value x, const char *name)
{
    return m->norm_bias ? nib_apply_layer_norm(b, x, m->eps, "%s", name)
                        : nib_apply_layer_norm_plain(b, x, m->eps, "%s", name);
}

static nib_value norm(nib_build *b, const modernbert *m, nib_value x, const char *part, int i)
{
    char name[100];

    snprintf(name, sizeof name, "model.layers.%d.%s", i, part);
    return norm_of(b, m, x, name);
}

static nib_value attend(nib_build *b, const modernbert *m, int i, nib_value h)
{
    bool global = m->sliding ? !m->sliding[i] : (size_t)i % m->every == 0;
    size_t n = m->heads, d = m->head_dim, w = m->width;
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d, .full = true,
                                     .window = global ? 0 : m->window,
                                     .scale = 1 / sqrtf((float)d),
                                     .drop = { .p = m->attention_dropout } };

    nib_value qkv = nib_apply_linear(b, h, 3 * w, m->attention_bias, "model.layers.%d.attn.Wqkv",
                                     i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, nib_plain_heads(n, d));
    nib_value k = nib_heads_of(b, qkv, n, d, w, nib_plain_heads(n, d));
    nib_value v = nib_heads_of(b, qkv, n, d, 2 * w, nib_plain_heads(n, d));
    q = nib_rotate(b, q, n, d, global ? &m->global : &m->local);
    k = nib_rotate(b, k, n, d, global ? &m->global : &m->local);
    h = nib_apply_linear(b, nib_attend(b, q, k, v, &attention), w, m->attention_bias,
                         "model.layers.%d.attn.Wo", i);
    return nib_dropout(b, h, m->attention_dropout);
}

/* h = x + attention(norm(x)), without that norm in the first layer;  y = h + mlp(norm(h)). */
static nib_value layer(nib_build *b, const modernbert *m, int i, nib_value x)
{
    nib_value h = i ? norm(b, m, x, "attn_norm", i) : x;
    x = nib_add(b, x, attend(b, m, i, h));
    h = norm(b, m, x, "mlp_norm", i);
    nib_value both = nib_apply_linear(b, h, 2 * m->inner, m->mlp_bias, "model.layers.%d.mlp.Wi", i);
    h = nib_gate(b, nib_columns_of(b, both, 0, m->inner),
                 nib_columns_of(b, both, m->inner, m->inner), m->activation);
    h = nib_dropout(b, h, m->mlp_dropout);
    h = nib_apply_linear(b, h, m->width, m->mlp_bias, "model.layers.%d.mlp.Wo", i);
    return nib_add(b, x, h);
}

/* What stands before every head. */
static nib_value before_head(nib_build *b, const modernbert *m, nib_value x)
{
    x = nib_apply_linear(b, x, m->width, m->classifier_bias, "head.dense");
    return norm_of(b, m, nib_activate(b, x, m->classifier_activation), "head.norm");
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const modernbert *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embeddings.tok_embeddings");

    nib_set_positions(b, m->positions);
    x = nib_dropout(b, norm_of(b, m, x, "model.embeddings.norm"), m->embedding_dropout);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    x = norm_of(b, m, x, "model.final_norm");
    if (task == NIB_TASK_SEQ_CLS) {
        x = m->mean ? nib_pool_rows(b, x, NIB_POOL_MEAN) : nib_to_one_row(b, x, NIB_READ_FIRST);
        x = nib_dropout(b, before_head(b, m, x), m->classifier_dropout);
        nib_class_head(b, x, true, "classifier");
    } else if (task == NIB_TASK_TOKEN_CLS || task == NIB_TASK_QUESTION_ANS) {
        x = before_head(b, m, nib_to_logit_rows(b, x));
        nib_class_head(b, nib_dropout(b, x, m->classifier_dropout), true, "classifier");
    } else if (task == NIB_TASK_FEATURE_EXTRACTION) {
        nib_give_rows(b, x);
    } else {
        x = before_head(b, m, nib_to_logit_rows(b, x));
        nib_set_head(b, x, (nib_head_spec){ .rows = m->vocabulary, .bias = m->decoder_bias,
                                            .tied_to = "model.embeddings.tok_embeddings" },
                     "decoder");
    }
}

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "model.embeddings.tok_embeddings", NIB_GGUF_AS_IS },
    { "token_embd_norm", "model.embeddings.norm", NIB_GGUF_AS_IS },
    { "output_norm", "model.final_norm", NIB_GGUF_AS_IS },
    { "attn_norm", "model.layers.%d.attn_norm", NIB_GGUF_AS_IS },
    { "attn_qkv", "model.layers.%d.attn.Wqkv", NIB_GGUF_AS_IS },
    { "attn_output", "model.layers.%d.attn.Wo", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.mlp_norm", NIB_GGUF_AS_IS },
    { "ffn_up", "model.layers.%d.mlp.Wi", NIB_GGUF_AS_IS },
    { "ffn_down", "model.layers.%d.mlp.Wo", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" }, { "feed_forward_length", "intermediate_size" },
    { "attention.head_count", "num_attention_heads" },
    { "attention.layer_norm_epsilon", "norm_eps" },
    { "attention.sliding_window", "local_attention" },
    { "attention.sliding_window_pattern", "global_attn_every_n_layers" },
    { "rope.freq_base", "global_rope_theta" }, { "rope.freq_base_swa", "local_rope_theta" },
    { "hidden_activation", "hidden_activation" },
    { 0 },
};

/* llama.cpp knows no head for words. */
static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set(c, "tie_word_embeddings", json_true());
    nib_gguf_set_bias(c, "norm_bias", "output_norm.bias");
    nib_gguf_set_bias(c, "attention_bias", "blk.0.attn_qkv.bias");
    nib_gguf_set_bias(c, "mlp_bias", "blk.0.ffn_up.bias");
}

/* Its layers that see all are the first, and one of so many from there on. */
static const char *gguf_unsaid(const nib_graph *g)
{
    size_t every = nib_gguf_global_every(g), layer = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].attention.heads) continue;
        if (!g->nodes[i].attention.window != (layer++ % every == 0))
            return "sees all in the first layer and then in one of so many";
    }
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].linear && g->nodes[i].linear->bias)
            return "has no biases";
    return NULL;
}

static const nib_gguf_family gguf = {
    .architecture = "modern-bert", .model_type = "modernbert", .class_name = "ModernBertModel",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish, .unsaid = gguf_unsaid,
    .full = true,
};

static const char *const heads[] = { "head.", "decoder.", "classifier.", NULL };
static const char *const types[] = { "modernbert", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_modernbert = { .model_types = types, .config_bytes = sizeof(modernbert),
                                       .read = read_modernbert, .prefix = "model.",
                                       .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                                1 << NIB_TASK_FEATURE_EXTRACTION |
                                                1 << NIB_TASK_MASKED_LM |
                                                1 << NIB_TASK_QUESTION_ANS,
                                       .build = build, .other_heads = heads,
                                       .default_targets = targets, .gguf = &gguf };
