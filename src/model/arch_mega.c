/* arch_mega.c - Mega: attention of one head over a moving average of the tokens, behind gates
 * (formats-encoder.md 3.12).  Ma et al. 2022, arXiv:2209.10655; in the numbers of transformers'
 * class, which left it in 4.58. */
#include <math.h>
#include <string.h>

#include "model/arch_bert.h"

typedef enum norm_kind { SCALE_NORM, LAYER_NORM, RMS_NORM } norm_kind;

typedef struct mega {
    nib_bert bert; /* sizes and the head's dropout */
    size_t shared; /* channels of queries and keys */
    size_t fed;    /* of the feed-forward part */
    nib_average_spec average;
    norm_kind norm;
    bool affine, first, fed_first; /* norms have weights; stand before the halves of a layer */
    bool softmax, feeds, dense, rotary;
    nib_weighing weighing;
    size_t numbers, zero; /* by distance: how many, and which is that of distance 0 */
    float dropout, fed_dropout; /* of outputs, inside the feed-forward part */
} mega;

static const float eps = 1e-5f; /* of every norm, whatever config.json has */

/* The place of a key's word among `words`, which ends with NULL. */
static size_t read_word(nib_reader *r, const char *key, const char *const *words)
{
    const json_t *j = nib_read_any(r, key);
    const char *word = j ? json_string_value(j) : words[0];
    size_t i = 0;

    while (words[i] && (!word || strcmp(words[i], word) != 0)) i++;
    if (words[i]) return i;
    nib_read_fail(r, NIB_E_UNSUPPORTED, "%s is '%s', known are %s, %s%s%s", key,
                  word ? word : "no text", words[0], words[1], words[2] ? ", " : "",
                  words[2] ? words[2] : "");
    return 0;
}

static void read_sizes(nib_reader *r, mega *m)
{
    nib_bert *bert = &m->bert;

    bert->prefix = "mega";
    bert->vocabulary = nib_read_size_or(r, "vocab_size", 30522);
    bert->width = nib_read_size_or(r, "hidden_size", 128);
    bert->layers = nib_read_layers_or(r, "num_hidden_layers", 4);
    bert->inner = nib_read_size_or(r, "intermediate_size", 256);
    bert->positions = nib_read_size_or(r, "max_positions", 2048);
    bert->types = nib_read_bool(r, "add_token_type_embeddings", false)
                      ? nib_read_size_or(r, "type_vocab_size", 2) : 0;
    nib_read_any(r, "type_vocab_size");
    bert->eps = eps;
    bert->activation = nib_read_activation(r, "activation", "silu");
    m->shared = nib_read_size_or(r, "shared_representation_size", 64);
    m->fed = nib_read_size_or(r, "nffn_hidden_size", 256);
    m->average.states = nib_read_size_or(r, "ema_projection_size", 16);
    m->average.truncation = nib_read_size_or_null(r, "truncation", 0, 0);
    m->average.both = nib_read_bool(r, "bidirectional", true);
    if (!r->status && (bert->width > 1 << 20 || bert->inner > 1 << 20 || m->shared > 1 << 20 ||
                       m->average.states > 1 << 10))
        nib_read_fail(r, NIB_E_FORMAT, "hidden_size %zu, intermediate_size %zu, "
                      "shared_representation_size %zu and ema_projection_size %zu are absurd sizes",
                      bert->width, bert->inner, m->shared, m->average.states);
}

static void read_attention(nib_reader *r, mega *m)
{
    static const char *const weighings[] = { "softmax", "laplace", "relu2", NULL };
    static const char *const biases[] = { "rotary", "simple", NULL };
    size_t weighing = read_word(r, "attention_activation", weighings);
    int64_t chunk = nib_read_int_or(r, "chunk_size", -1, 1 << 30, -1);

    m->softmax = weighing == 0;
    m->weighing = weighing == 2 ? NIB_WEIGH_RELU2 : NIB_WEIGH_LAPLACE;
    m->rotary = read_word(r, "relative_positional_bias", biases) == 0;
    m->numbers = 2 * m->bert.positions - 1;
    m->zero = (chunk < 0 ? m->bert.positions : (size_t)chunk) - 1;
    if (!r->status && m->rotary && m->shared % 2)
        nib_read_fail(r, NIB_E_FORMAT, "shared_representation_size is %zu, expected an even number",
                      m->shared);
    if (!r->status && !m->rotary && (chunk == 0 || m->zero >= m->bert.positions))
        nib_read_fail(r, NIB_E_FORMAT, "chunk_size is %" PRId64 ", expected 1 to max_positions %zu",
                      chunk, m->bert.positions);
    nib_read_must_be_off(r, "use_chunking", "attention in chunks is not known here");
}

static void read_mega(nib_reader *r, void *config)
{
    static const char *const norms[] = { "scalenorm", "layernorm", "rmsnorm", NULL };
    mega *m = config;

    read_sizes(r, m);
    read_attention(r, m);
    m->norm = (norm_kind)read_word(r, "normalization_type", norms);
    m->affine = nib_read_bool(r, "norm_affine", true);
    m->first = nib_read_bool(r, "normalize_before_mega", true);
    m->fed_first = nib_read_bool(r, "normalize_before_ffn", true);
    m->feeds = nib_read_bool(r, "use_normalized_ffn", true);
    m->dense = nib_read_bool(r, "add_lm_hidden_dense_layer", true);
    m->dropout = nib_read_dropout(r, "dropout_prob", 0.1, false);
    m->bert.dropout = nib_read_dropout(r, "hidden_dropout_prob", 0.1, false);
    m->bert.attention_dropout = nib_read_dropout(r, "attention_probs_dropout_prob", 0.1, false);
    m->fed_dropout = nib_read_dropout(r, "nffn_activation_dropout_prob", 0.1, false);
    m->bert.head_dropout = nib_read_dropout(r, "classifier_dropout", (double)m->bert.dropout, true);
    if (!r->status && m->norm == LAYER_NORM && !m->affine)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "norm_affine is false: layernorm is known with "
                      "weights alone");
    nib_read_must_be_off(r, "use_feature_dropout", "dropout of whole channels is not known here");
    nib_read_must_be_off(r, "is_decoder", "an encoder that is used as a decoder is not known");
    nib_read_must_be_off(r, "add_cross_attention", "cross attention is not known here");
    nib_read_any(r, "num_attention_heads"); /* it is one */
    nib_read_any(r, "ema_delta_alpha_range"); /* how weights began */
    nib_read_any(r, "ema_beta_range");
    nib_read_any(r, "ema_gamma_omega_range");
}

/* The reference's rmsnorm multiplies by its weights and divides by nothing. */
static nib_value norm(nib_build *b, const mega *m, nib_value x, const char *part, int i)
{
    if (m->norm == LAYER_NORM)
        return nib_apply_layer_norm(b, x, eps, "mega.layers.%d.%s.norm.norm", i, part);
    if (m->norm == RMS_NORM)
        return m->affine ? nib_apply_affine(b, x, 0, 0, "mega.layers.%d.%s.norm.norm", i, part) : x;
    x = nib_rms_heads(b, x, 1, eps, "mega.layers.%d.%s.norm", i, part);
    if (!m->affine) return x;
    return nib_scale_by(b, x, nib_bind_vector(b, 1, "mega.layers.%d.%s.norm.norm.scalar", i, part));
}

static nib_value embed(nib_build *b, const nib_bert *m)
{
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width,
                            "mega.embedding_layer.word_embeddings");

    nib_set_positions(b, m->positions);
    if (!m->types) return x;
    return nib_add(b, x, nib_embed(b, NIB_TYPES, m->types, m->width,
                                   "mega.embedding_layer.token_type_embeddings"));
}

/* One head over queries and keys made of the gates' first channels. */
static nib_value attend(nib_build *b, const mega *m, int i, nib_value shared, nib_value v)
{
    nib_attention_desc d = { .heads = 1, .kv_heads = 1, .head_dim = m->shared,
                             .v_dim = m->bert.inner, .full = true,
                             .scale = 1 / sqrtf((float)m->shared), .weighing = m->weighing,
                             .drop = { .p = m->bert.attention_dropout } };
    nib_value q = nib_apply_affine(b, shared, 2, 0, "mega.layers.%d.mega_layer.qk", i);
    nib_value k = nib_apply_affine(b, shared, 2, 1, "mega.layers.%d.mega_layer.qk", i);

    if (m->rotary) {
        d.turned = nib_bind_row(b, m->shared, "mega.layers.%d.mega_layer.rel_pos_bias.alpha", i);
        d.turned_key = nib_bind_row(b, m->shared, "mega.layers.%d.mega_layer.rel_pos_bias.b_param",
                                    i);
    } else {
        d.by_distance = nib_bind_vector(b, m->numbers,
                                        "mega.layers.%d.mega_layer.rel_pos_bias.rel_pos_bias", i);
        d.distance_zero = m->zero;
    }
    return m->softmax ? nib_attend(b, q, k, v, &d) : nib_weigh_keys(b, q, k, v, &d);
}

/* With z = norm(x), e its average, u, g, a, y parts of a projection of e:
 * w = act(y + h(silu(a) attention(silu(g)))) and x + sigmoid(u) (w - x). */
static nib_value average_and_attend(nib_build *b, const mega *m, int i, nib_value x)
{
    const nib_bert *bert = &m->bert;
    size_t w = bert->width, all = m->shared + bert->inner + 2 * w;
    nib_value z = m->first ? norm(b, m, x, "mega_layer", i) : x;
    nib_value v = nib_apply_linear(b, z, bert->inner, true, "mega.layers.%d.mega_layer.v_proj", i);
    nib_value e = nib_average_around(b, z, &m->average, "mega.layers.%d.mega_layer.ema_gate", i);

    v = nib_dropout(b, nib_activate(b, v, bert->activation), bert->dropout);
    e = nib_dropout(b, nib_activate(b, e, NIB_ACT_SILU), m->dropout);
    e = nib_apply_linear(b, e, all, true, "mega.layers.%d.mega_layer.mx_proj", i);
    nib_value u = nib_columns_of(b, e, 0, w), shared = nib_columns_of(b, e, w, m->shared);
    nib_value gate = nib_columns_of(b, e, w + m->shared, bert->inner);
    nib_value y = nib_columns_of(b, e, w + m->shared + bert->inner, w);
    nib_value h = attend(b, m, i, nib_activate(b, shared, NIB_ACT_SILU), v);
    h = nib_apply_linear(b, nib_gate(b, gate, h, NIB_ACT_SILU), w, true,
                         "mega.layers.%d.mega_layer.h_proj", i);
    h = nib_dropout(b, nib_activate(b, nib_add(b, y, h), bert->activation), m->dropout);
    h = nib_gate(b, u, nib_add(b, h, nib_scale(b, x, -1)), NIB_ACT_SIGMOID);
    h = nib_add(b, x, h);
    return m->first ? h : norm(b, m, h, "mega_layer", i);
}

static nib_value feed(nib_build *b, const mega *m, int i, nib_value x)
{
    nib_value h = m->fed_first ? norm(b, m, x, "nffn", i) : x;

    h = nib_apply_linear(b, h, m->fed, true, "mega.layers.%d.nffn.fc1", i);
    h = nib_dropout(b, nib_activate(b, h, m->bert.activation), m->fed_dropout);
    h = nib_apply_linear(b, h, m->bert.width, true, "mega.layers.%d.nffn.fc2", i);
    h = nib_add(b, nib_dropout(b, h, m->dropout), x);
    return m->fed_first ? h : norm(b, m, h, "nffn", i);
}

static void predict_words(nib_build *b, const mega *m, nib_value x)
{
    x = nib_to_logit_rows(b, x);
    if (m->dense)
        x = nib_activate(b, nib_apply_linear(b, x, m->bert.width, true, "dense"), NIB_ACT_TANH);
    nib_set_head(b, x, (nib_head_spec){ .rows = m->bert.vocabulary, .bias = true,
                                        .tied_to = "mega.embedding_layer.word_embeddings" },
                 "mlm_head");
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const mega *m = config;
    nib_value x = embed(b, &m->bert);

    for (int i = 0; i < (int)m->bert.layers; i++) {
        nib_segment(b);
        x = average_and_attend(b, m, i, x);
        if (m->feeds) x = feed(b, m, i, x);
    }
    nib_segment(b);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, &m->bert, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, &m->bert, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else predict_words(b, m, x);
}

static const char *const heads[] = { "dense.", "mlm_head.", "classifier.", "qa_outputs.",
                                     "mega.pooler.", "pooler.", NULL };
static const char *const types[] = { "mega", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_mega = { .model_types = types, .config_bytes = sizeof(mega),
                                 .read = read_mega, .prefix = "mega.",
                                 .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                          1 << NIB_TASK_FEATURE_EXTRACTION |
                                          1 << NIB_TASK_MASKED_LM | 1 << NIB_TASK_QUESTION_ANS,
                                 .build = build, .default_targets = targets,
                                 .other_heads = heads };
