/* arch_gemma4.c - Gemma 4, its text part: Gemma 3's layer of four norms with wider heads where a
 * layer sees everything, keys and values that later layers share, a second embedding of which each
 * layer reads its own piece, and experts beside the dense part (formats.md 10.48). */
#include <math.h>

#include "model/arch_gemma4.h"
#include "model/experts.h"

typedef struct gemma4_layer {
    bool sliding;
    size_t head_dim, kv_heads, inner;
    int producer; /* the layer whose keys and values it reads; its own number: it makes them */
} gemma4_layer;

typedef struct gemma4 {
    size_t vocabulary, width, layers, heads, positions, window;
    size_t piece, piece_vocabulary; /* channels a layer reads of the second embedding; 0: none */
    bool tied, bias, values_are_keys;
    float eps, logit_cap;
    nib_activation activation;
    nib_rope rope, sliding_rope;
    gemma4_layer *layer; /* [layers] */
    bool experts;        /* beside the dense part of each layer: */
    nib_moe moe;         /* their sizes and activation, and how they are chosen */
} gemma4;

/* --- keys --- */

/* per_layer_config: {"5": {"head_dim": 512}}, which the library saves in the place of
 * global_head_dim and num_global_key_value_heads. */
static void read_layer_config(nib_reader *r, gemma4 *m, const json_t *object)
{
    const char *number, *key;
    json_t *entry, *value;

    json_object_foreach((json_t *)(uintptr_t)object, number, entry) {
        char *end;
        unsigned long i = strtoul(number, &end, 10);
        if (*end || !*number || i >= m->layers || !json_is_object(entry)) {
            nib_read_fail(r, NIB_E_FORMAT, "per_layer_config: '%s' is no layer of %zu with an "
                          "object", number, m->layers);
            return;
        }
        json_object_foreach(entry, key, value) {
            json_int_t n = json_integer_value(value);
            bool heads = strcmp(key, "num_key_value_heads") == 0;
            if (!heads && strcmp(key, "head_dim") != 0)
                nib_read_fail(r, NIB_E_UNSUPPORTED, "per_layer_config: '%s', known are head_dim "
                              "and num_key_value_heads", key);
            else if (!json_is_integer(value) || n < 1 || n > 1 << 24)
                nib_read_fail(r, NIB_E_FORMAT, "per_layer_config: %s of layer %lu is no size", key,
                              i);
            else if (heads) m->layer[i].kv_heads = (size_t)n;
            else m->layer[i].head_dim = (size_t)n;
        }
    }
}

/* Widths of heads and kinds of layers. */
static void read_layers(nib_reader *r, gemma4 *m)
{
    size_t inner = nib_read_size_or(r, "intermediate_size", 9216);
    size_t kv_heads = nib_read_size_or(r, "num_key_value_heads", 4);
    size_t head_dim = nib_read_size_or(r, "head_dim", 256);
    size_t wide = nib_read_size_or(r, "global_head_dim", 512);
    size_t few = nib_read_size_or_null(r, "num_global_key_value_heads", 0, 0);
    const json_t *own = nib_read_any(r, "per_layer_config");
    bool *sliding = nib_read_sliding_pattern(r, m->layers, 6);

    m->layer = nib_read_alloc(r, nib_max(m->layers, 1), sizeof *m->layer);
    for (size_t i = 0; m->layer && sliding && i < m->layers; i++) {
        bool slides = sliding[i] && i + 1 < m->layers; /* the last one never does */
        bool plain = slides || json_is_object(own);
        m->layer[i] = (gemma4_layer){ .sliding = slides, .head_dim = plain ? head_dim : wide,
                                      .kv_heads = plain || !few || !m->values_are_keys ? kv_heads
                                                                                       : few,
                                      .inner = inner, .producer = (int)i };
    }
    if (m->layer && json_is_object(own)) read_layer_config(r, m, own);
    for (size_t i = 0; !r->status && i < m->layers; i++)
        nib_read_check_heads(r, m->heads, m->layer[i].kv_heads, m->layer[i].head_dim);
}

/* The last `shared` layers read what the last layer before them of the same kind made. */
static void share_values(nib_reader *r, gemma4 *m)
{
    size_t shared = (size_t)nib_read_int_or(r, "num_kv_shared_layers", 0, 10000, 0);
    bool wide = nib_read_bool(r, "use_double_wide_mlp", false);

    if (r->status) return;
    for (size_t i = shared < m->layers ? m->layers - shared : 0; i < m->layers; i++) {
        gemma4_layer *l = &m->layer[i];
        size_t j = shared < m->layers ? m->layers - shared : 0;
        while (j > 0 && m->layer[j - 1].sliding != l->sliding) j--;
        if (j == 0) {
            nib_read_fail(r, NIB_E_FORMAT,
                          "num_kv_shared_layers is %zu: no layer before the last %zu makes keys "
                          "that layer %zu could read", shared, shared, i);
            return;
        }
        l->producer = (int)j - 1;
        if (wide) l->inner *= 2;
    }
}

/* One rope for each kind: its layers have heads of one width. */
static void read_ropes(nib_reader *r, gemma4 *m)
{
    size_t width[2] = { 0, 0 };

    for (size_t i = 0; !r->status && i < m->layers; i++) {
        const gemma4_layer *l = &m->layer[i], *p = &m->layer[l->producer];
        if (!width[l->sliding]) width[l->sliding] = l->head_dim;
        if (width[l->sliding] != l->head_dim || p->kv_heads != l->kv_heads)
            nib_read_fail(r, NIB_E_UNSUPPORTED,
                          "heads of %zu and %zu channels in layers of one kind",
                          width[l->sliding], l->head_dim);
    }
    if (r->status) return;
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 1e6, .scaled = true,
                                                .layer_type = "full_attention",
                                                .proportional = 0.25, .rot = width[0],
                                                .positions = m->positions });
    if (!width[1]) return; /* no layer slides */
    m->sliding_rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .scaled = true,
                                                        .layer_type = "sliding_attention",
                                                        .rot = width[1],
                                                        .positions = m->positions });
}

static void read_experts(nib_reader *r, gemma4 *m)
{
    nib_moe *moe = &m->moe;

    m->experts = nib_read_bool(r, "enable_moe_block", false);
    if (!m->experts) {
        nib_read_any(r, "num_experts");
        nib_read_any(r, "top_k_experts");
        nib_read_any(r, "moe_intermediate_size");
        return;
    }
    *moe = (nib_moe){ .m = { .width = m->width, .activation = m->activation },
                      .route = { .experts = nib_read_size(r, "num_experts"),
                                 .top = nib_read_size(r, "top_k_experts"), .normalize = true },
                      .inner = nib_read_size(r, "moe_intermediate_size") };
    if (!r->status && (moe->route.experts > 1 << 16 || moe->route.top > moe->route.experts))
        nib_read_fail(r, NIB_E_FORMAT, "top_k_experts is %zu of num_experts %zu, at most %d",
                      moe->route.top, moe->route.experts, 1 << 16);
}

static void read_gemma4(nib_reader *r, void *config)
{
    gemma4 *m = config;
    const json_t *seen = nib_read_any(r, "use_bidirectional_attention");

    m->vocabulary = nib_read_size_or(r, "vocab_size", 262144);
    m->width = nib_read_size_or(r, "hidden_size", 2304);
    m->layers = nib_read_layers_or(r, "num_hidden_layers", 30);
    m->heads = nib_read_size_or(r, "num_attention_heads", 8);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 131072);
    m->window = nib_read_size_or(r, "sliding_window", 512);
    m->eps = nib_read_eps(r, "rms_norm_eps", 1e-6f);
    m->activation = nib_read_activation(r, "hidden_activation", "gelu_pytorch_tanh");
    m->bias = nib_read_bool(r, "attention_bias", false);
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    m->values_are_keys = nib_read_bool(r, "attention_k_eq_v", false);
    m->logit_cap = (float)nib_read_float_or_null(r, "final_logit_softcapping", 0, 0);
    m->piece = (size_t)nib_read_int_or(r, "hidden_size_per_layer_input", 0, 1 << 20, 256);
    m->piece_vocabulary = nib_read_size_or(r, "vocab_size_per_layer_input", 262144);
    /* "vision" is of pictures alone */
    if (seen && !json_is_null(seen) &&
        !(json_is_string(seen) && strcmp(json_string_value(seen), "vision") == 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "use_bidirectional_attention: known are null and \"vision\"");
    read_experts(r, m);
    read_layers(r, m);
    share_values(r, m);
    read_ropes(r, m);
}

/* --- the model --- */

/* Multiplies by the weight, and rounds once. */
static nib_value norm(nib_build *b, const gemma4 *m, nib_value x, size_t heads, const char *module,
                      int i)
{
    return nib_apply_rms_norm_form(b, x, heads, NIB_RMS_ROUND_LAST, m->eps, module, i);
}

typedef struct pair { nib_value k, v; } pair;

/* Keys are normed and rotated, values normed without a weight; where there is no projection of
 * values, they are made of the keys' before all that. */
static pair make_pair(nib_build *b, const gemma4 *m, int i, const nib_rope *rope, nib_value h)
{
    const gemma4_layer *l = &m->layer[i];
    size_t width = l->kv_heads * l->head_dim;
    bool own = l->sliding || !m->values_are_keys;

    nib_value k = nib_apply_linear(b, h, width, m->bias, "model.layers.%d.self_attn.k_proj", i), v;
    v = own ? nib_apply_linear(b, h, width, m->bias, "model.layers.%d.self_attn.v_proj", i) : k;
    k = norm(b, m, k, l->kv_heads, "model.layers.%d.self_attn.k_norm", i);
    k = nib_rotate(b, k, l->kv_heads, l->head_dim, rope);
    return (pair){ k, nib_rms_heads(b, v, l->kv_heads, m->eps, "model.layers.%d.self_attn.v_norm",
                                    i) };
}

static nib_value attend(nib_build *b, const gemma4 *m, int i, pair pairs[], nib_value h)
{
    const gemma4_layer *l = &m->layer[i];
    const nib_rope *rope = l->sliding ? &m->sliding_rope : &m->rope;
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = l->kv_heads,
                                     .head_dim = l->head_dim, .scale = 1,
                                     .window = l->sliding ? m->window : 0 };

    nib_value q = nib_apply_linear(b, h, m->heads * l->head_dim, m->bias,
                                   "model.layers.%d.self_attn.q_proj", i);
    q = norm(b, m, q, m->heads, "model.layers.%d.self_attn.q_norm", i);
    q = nib_rotate(b, q, m->heads, l->head_dim, rope);
    if (l->producer == i) pairs[l->sliding] = make_pair(b, m, i, rope, h);
    nib_value a = nib_attend(b, q, pairs[l->sliding].k, pairs[l->sliding].v, &attention);
    return nib_apply_linear(b, a, m->width, m->bias, "model.layers.%d.self_attn.o_proj", i);
}

static nib_value mlp(nib_build *b, const gemma4 *m, int i, nib_value h)
{
    size_t inner = m->layer[i].inner;
    nib_value gate = nib_apply_linear(b, h, inner, false, "model.layers.%d.mlp.gate_proj", i);
    nib_value up = nib_apply_linear(b, h, inner, false, "model.layers.%d.mlp.up_proj", i);
    return nib_apply_linear(b, nib_gate(b, gate, up, m->activation), m->width, false,
                            "model.layers.%d.mlp.down_proj", i);
}

/* The dense part's h beside experts, which are chosen by the stream itself. */
static nib_value add_experts(nib_build *b, const gemma4 *m, int i, nib_value x, nib_value h)
{
    nib_route_desc route = m->moe.route;
    nib_value z = nib_apply_rms_norm_scale(b, x, m->eps, "model.layers.%d.router", i), y;

    z = nib_scale(b, z, 1 / sqrtf((float)m->width));
    z = nib_apply_router(b, z, route.experts, "model.layers.%d.router.proj", i);
    route.gains = nib_bind_vector(b, route.experts, "model.layers.%d.router.per_expert_scale", i);
    y = norm(b, m, x, 1, "model.layers.%d.pre_feedforward_layernorm_2", i);
    y = nib_apply_stacked_experts(b, &m->moe, nib_route(b, z, &route), i, y,
                                  "model.layers.%d.experts", nib_expert_stacks);
    h = norm(b, m, h, 1, "model.layers.%d.post_feedforward_layernorm_1", i);
    return nib_add(b, h, norm(b, m, y, 1, "model.layers.%d.post_feedforward_layernorm_2", i));
}

/* What layer i reads of its own of the second embedding, behind a gate. */
static nib_value add_piece(nib_build *b, const gemma4 *m, int i, nib_value pieces, nib_value x)
{
    nib_value own = nib_columns_of(b, pieces, (size_t)i * m->piece, m->piece);
    nib_value h = nib_apply_linear(b, x, m->piece, false, "model.layers.%d.per_layer_input_gate",
                                   i);
    h = nib_apply_linear(b, nib_gate(b, h, own, m->activation), m->width, false,
                         "model.layers.%d.per_layer_projection", i);
    return nib_add(b, x, norm(b, m, h, 1, "model.layers.%d.post_per_layer_input_norm", i));
}

static nib_value layer(nib_build *b, const gemma4 *m, int i, pair pairs[], nib_value pieces,
                       nib_value x)
{
    nib_value h = norm(b, m, x, 1, "model.layers.%d.input_layernorm", i);
    h = norm(b, m, attend(b, m, i, pairs, h), 1, "model.layers.%d.post_attention_layernorm", i);
    x = nib_add(b, x, h);
    h = norm(b, m, x, 1, "model.layers.%d.pre_feedforward_layernorm", i);
    h = mlp(b, m, i, h);
    if (m->experts) h = add_experts(b, m, i, x, h);
    h = norm(b, m, h, 1, "model.layers.%d.post_feedforward_layernorm", i);
    x = nib_add(b, x, h);
    if (m->piece) x = add_piece(b, m, i, pieces, x);
    return nib_scale_by(b, x, nib_bind_vector(b, 1, "model.layers.%d.layer_scalar", i));
}

/* [layers * piece] channels: of the word, and of its embedding projected. */
static nib_value embed_pieces(nib_build *b, const gemma4 *m, nib_value x)
{
    size_t width = m->layers * m->piece;
    nib_value word = nib_embed(b, NIB_IDS, m->piece_vocabulary, width,
                               "model.embed_tokens_per_layer");
    nib_value made = nib_apply_linear(b, x, width, false, "model.per_layer_model_projection");

    word = nib_scale(b, word, nib_rounded_factor(b, sqrtf((float)m->piece)));
    made = nib_scale(b, made, 1 / sqrtf((float)m->width));
    made = nib_apply_rms_norm_form(b, made, m->layers, NIB_RMS_ROUND_LAST, m->eps,
                                   "model.per_layer_projection_norm");
    return nib_scale(b, nib_add(b, made, word), sqrtf(0.5f));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const gemma4 *m = config;
    float scale = nib_rounded_factor(b, sqrtf((float)m->width));
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), pieces;
    pair pairs[2] = { { { NIB_NONE }, { NIB_NONE } }, { { NIB_NONE }, { NIB_NONE } } };

    (void)task;
    nib_set_positions(b, m->positions);
    nib_set_noise_scale(b, 1 / scale); /* the library's embedding multiplies by it itself */
    pieces = x = nib_scale(b, x, scale);
    if (m->piece) pieces = embed_pieces(b, m, x);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, pairs, pieces, x);
    }
    nib_segment(b);
    x = nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ROUND_LAST, m->eps, "model.norm");
    nib_set_logits(b, 1, m->logit_cap);
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "gemma4_text", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_gemma4 = { .model_types = types, .config_bytes = sizeof(gemma4),
                                   .read = read_gemma4, .prefix = "model.",
                                   .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                   .default_targets = targets, .gguf = &nib_gemma4_gguf };
