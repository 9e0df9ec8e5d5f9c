/* arch_modernbert_decoder.c - ModernBERT's decoders (Ettin): gated feed-forward parts on layer
 * norms, without biases, two ropes, a window in two layers of three, and a head with a linear and
 * a norm before the words (formats.md 10.57).  arXiv:2507.11412. */
#include <math.h>

#include "model/arch.h"

typedef struct modern {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions, window;
    bool tied, norm_bias, attention_bias, mlp_bias, head_bias, words_bias;
    float eps;
    nib_activation activation, head_activation;
    nib_rope rope, sliding_rope;
    bool *sliding; /* [layers] */
} modern;

/* local_attention counts both sides; sliding_window is what a decoder sees of it. */
static size_t read_window(nib_reader *r)
{
    size_t window = nib_read_size_or(r, "sliding_window", 64);

    if (!nib_read_has(r, "local_attention")) return window;
    return nib_max(nib_read_size(r, "local_attention") / 2, 1);
}

static void read_ropes(nib_reader *r, modern *m)
{
    nib_rope_spec spec = { .theta = 160000, .theta_key = "global_rope_theta", .scaled = true,
                           .layer_type = "full_attention", .rot = m->head_dim,
                           .positions = m->positions };

    m->rope = nib_read_rope(r, spec);
    spec.theta = 10000;
    spec.theta_key = "local_rope_theta";
    spec.layer_type = "sliding_attention";
    m->sliding_rope = nib_read_rope(r, spec);
}

static void read_modern(nib_reader *r, void *config)
{
    modern *m = config;
    size_t period = nib_read_size_or(r, "global_attn_every_n_layers", 3);

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50368);
    m->width = nib_read_size_or(r, "hidden_size", 768);
    m->layers = nib_read_layers_or(r, "num_hidden_layers", 22);
    m->heads = nib_read_size_or(r, "num_attention_heads", 12);
    m->inner = nib_read_size_or(r, "intermediate_size", 1152);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 8192);
    m->window = read_window(r);
    m->eps = nib_read_eps(r, "norm_eps", 1e-5f);
    m->activation = nib_read_activation(r, "hidden_activation", "gelu");
    m->head_activation = nib_read_activation(r, "classifier_activation", "gelu");
    m->norm_bias = nib_read_bool(r, "norm_bias", false);
    m->attention_bias = nib_read_bool(r, "attention_bias", false);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
    m->head_bias = nib_read_bool(r, "classifier_bias", false);
    m->words_bias = nib_read_bool(r, "decoder_bias", true);
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    nib_read_any(r, "initializer_cutoff_factor"); /* training from scratch only */
    nib_read_any(r, "mlp_dropout");
    nib_read_any(r, "classifier_dropout");
    nib_read_any(r, "cls_token_id");
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    m->sliding = nib_read_sliding_layers(r, m->layers);
    if (m->sliding || r->status) {
        read_ropes(r, m);
        return;
    }
    m->sliding = nib_read_alloc(r, nib_max(m->layers, 1), sizeof *m->sliding);
    for (size_t i = 0; m->sliding && i < m->layers; i++) m->sliding[i] = i % period != 0;
    read_ropes(r, m);
}

static nib_value norm(nib_build *b, const modern *m, nib_value x, const char *module, int i)
{
    return m->norm_bias ? nib_apply_layer_norm(b, x, m->eps, module, i)
                        : nib_apply_layer_norm_plain(b, x, m->eps, module, i);
}

static nib_value attend(nib_build *b, const modern *m, int i, nib_value h)
{
    const nib_rope *rope = m->sliding[i] ? &m->sliding_rope : &m->rope;
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads,
                                     .head_dim = m->head_dim,
                                     .window = m->sliding[i] ? m->window : 0,
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    bool bias = m->attention_bias;

    nib_value q = nib_apply_linear(b, h, m->width, bias, "model.layers.%d.attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, m->width, bias, "model.layers.%d.attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, m->width, bias, "model.layers.%d.attn.v_proj", i);
    q = nib_rotate(b, q, m->heads, m->head_dim, rope);
    k = nib_rotate(b, k, m->heads, m->head_dim, rope);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, bias,
                            "model.layers.%d.attn.Wo", i);
}

static nib_value mlp(nib_build *b, const modern *m, int i, nib_value h)
{
    nib_value both = nib_apply_linear(b, h, 2 * m->inner, m->mlp_bias, "model.layers.%d.mlp.Wi",
                                      i);
    nib_value first = nib_columns_of(b, both, 0, m->inner);
    nib_value second = nib_columns_of(b, both, m->inner, m->inner);
    return nib_apply_linear(b, nib_gate(b, first, second, m->activation), m->width, m->mlp_bias,
                            "model.layers.%d.mlp.Wo", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const modern *m = config;
    static const char table[] = "model.embeddings.tok_embeddings";
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, table), h;

    (void)task;
    nib_set_positions(b, m->positions);
    x = norm(b, m, x, "model.embeddings.norm", 0);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = i ? norm(b, m, x, "model.layers.%d.attn_norm", i) : x; /* the first has none */
        x = nib_add(b, x, attend(b, m, i, h));
        h = norm(b, m, x, "model.layers.%d.mlp_norm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_to_logit_rows(b, norm(b, m, x, "model.final_norm", 0));
    x = nib_apply_linear(b, x, m->width, m->head_bias, "lm_head.dense");
    x = norm(b, m, nib_activate(b, x, m->head_activation), "lm_head.norm", 0);
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary, .bias = m->words_bias,
                                    .tied_to = m->tied ? table : NULL }, "decoder");
}

static const char *const types[] = { "modernbert-decoder", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_modernbert_decoder = { .model_types = types,
                                               .config_bytes = sizeof(modern),
                                               .read = read_modern, .prefix = "model.",
                                               .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                               .default_targets = targets };
