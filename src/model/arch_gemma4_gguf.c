/* arch_gemma4_gguf.c - Gemma 4 in GGUF (formats-quant.md 7.3). */
#include "model/arch_gemma4.h"

#include <math.h>
#include <stdio.h>

#include "format/gguf_writer.h"
#include "graph/graph.h"

/* --- names --- */

#define LAYER "model.layers.%d."

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_MLP,
    { "attn_q_norm", LAYER "self_attn.q_norm", NIB_GGUF_AS_IS },
    { "attn_k_norm", LAYER "self_attn.k_norm", NIB_GGUF_AS_IS },
    { "attn_norm", LAYER "input_layernorm", NIB_GGUF_AS_IS },
    { "post_attention_norm", LAYER "post_attention_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", LAYER "pre_feedforward_layernorm", NIB_GGUF_AS_IS },
    { "post_ffw_norm", LAYER "post_feedforward_layernorm", NIB_GGUF_AS_IS },
    { "ffn_gate_inp", LAYER "router.proj", NIB_GGUF_AS_IS },
    { "pre_ffw_norm_2", LAYER "pre_feedforward_layernorm_2", NIB_GGUF_AS_IS },
    { "post_ffw_norm_1", LAYER "post_feedforward_layernorm_1", NIB_GGUF_AS_IS },
    { "post_ffw_norm_2", LAYER "post_feedforward_layernorm_2", NIB_GGUF_AS_IS },
    { "per_layer_token_embd", "model.embed_tokens_per_layer", NIB_GGUF_AS_IS },
    { "per_layer_model_proj", "model.per_layer_model_projection", NIB_GGUF_AS_IS },
    { "per_layer_proj_norm", "model.per_layer_projection_norm", NIB_GGUF_AS_IS },
    { "inp_gate", LAYER "per_layer_input_gate", NIB_GGUF_AS_IS },
    { "proj", LAYER "per_layer_projection", NIB_GGUF_AS_IS },
    { "post_norm", LAYER "post_per_layer_input_norm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_whole gguf_tensors[] = {
    { "layer_output_scale.weight", NULL, LAYER "layer_scalar", NIB_GGUF_AS_IS },
    { "ffn_gate_inp.scale", NULL, LAYER "router.scale", NIB_GGUF_AS_IS },
    { "ffn_down_exps.scale", NULL, LAYER "router.per_expert_scale", NIB_GGUF_AS_IS },
    { "ffn_gate_up_exps.weight", NULL, LAYER "experts.gate_up_proj", NIB_GGUF_AS_IS },
    { "ffn_down_exps.weight", NULL, LAYER "experts.down_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" }, { "attention.head_count", "num_attention_heads" },
    { "rope.freq_base", "rope_theta" }, { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { "attention.shared_kv_layers", "num_kv_shared_layers" },
    { "final_logit_softcapping", "final_logit_softcapping" },
    { "expert_count", "num_experts" }, { "expert_used_count", "top_k_experts" },
    { "expert_feed_forward_length", "moe_intermediate_size" },
    { 0 },
};

/* --- config.json --- */

/* Number `layer` of a key that has one for each, or one for all; 0: it has none. */
static double of_layer(const nib_gguf_value *v, uint64_t layer)
{
    double number = 0;

    return v && nib_gguf_number(v, v->kind == NIB_GGUF_ARRAY ? layer : 0, &number) ? number : 0;
}

static void set_number(nib_gguf_config *c, const char *key, double value)
{
    if (!(value >= 0 && value <= 0x1p31) || value != floor(value))
        nib_gguf_fail(c, NIB_E_FORMAT, "%s would be %g", key, value);
    else nib_gguf_set(c, key, json_integer((json_int_t)value));
}

/* What differs between the kinds of layers. */
static void gguf_set_layers(nib_gguf_config *c)
{
    const nib_gguf_value *slides = nib_gguf_key_value(c, "attention.sliding_window_pattern");
    const nib_gguf_value *heads = nib_gguf_key_value(c, "attention.head_count_kv");
    const nib_gguf_value *inner = nib_gguf_key_value(c, "feed_forward_length");
    double layers = nib_gguf_get(c, "block_count", 0), kv[2] = { 0, 0 };
    double makers = layers - nib_gguf_get(c, "attention.shared_kv_layers", 0);
    bool keys_alone = false;
    char name[100];

    if (!slides || slides->kind != NIB_GGUF_ARRAY || (double)slides->count != layers ||
        layers < 1 || layers > 10000 || of_layer(slides, slides->count - 1) != 0) {
        nib_gguf_fail(c, NIB_E_FORMAT, "attention.sliding_window_pattern has %" PRIu64 " entries, "
                      "expected one for each of %g layers, the last one false",
                      slides ? slides->count : 0, layers);
        return;
    }
    for (uint64_t i = 0; i < slides->count; i++) {
        bool slide = of_layer(slides, i) != 0;
        if (kv[slide] == 0) kv[slide] = of_layer(heads, i);
        if (kv[slide] != of_layer(heads, i))
            nib_gguf_fail(c, NIB_E_UNSUPPORTED, "attention.head_count_kv is %g in layer %" PRIu64
                          " and %g in another of its kind", of_layer(heads, i), i, kv[slide]);
        snprintf(name, sizeof name, "blk.%" PRIu64 ".attn_v.weight", i);
        keys_alone |= !slide && (double)i < makers && !nib_gguf_has(c, name);
    }
    set_number(c, "num_key_value_heads", kv[1] > 0 ? kv[1] : kv[0]);
    if (keys_alone) set_number(c, "num_global_key_value_heads", kv[0]);
    nib_gguf_set(c, "attention_k_eq_v", json_boolean(keys_alone));
    set_number(c, "intermediate_size", of_layer(inner, 0));
    nib_gguf_set(c, "use_double_wide_mlp",
                 json_boolean(of_layer(inner, slides->count - 1) > of_layer(inner, 0)));
    nib_gguf_set_sliding(c);
}

/* Which channels of a head are rotated where a layer sees everything: their divisor is 1, that of
 * the others so great that nothing turns. */
static double gguf_rotated(nib_gguf_config *c, double pairs)
{
    const nib_tensor *t = nib_tensors_find(c->tensors, "rope_freqs.weight");
    uint64_t live = 0;
    float by;

    if (!t || t->dtype != NIB_F32 || (double)t->elements != pairs || pairs < 1) {
        nib_gguf_fail(c, NIB_E_FORMAT, "rope_freqs.weight has %" PRIu64 " values, expected %g of "
                      "float32", t ? t->elements : 0, pairs);
        return 1;
    }
    for (uint64_t i = 0; i < t->elements; i++) {
        memcpy(&by, (const uint8_t *)t->data + 4 * i, sizeof by);
        if (by == 1 && live == i) live++;
        else if (!(by >= 1e29f))
            nib_gguf_fail(c, NIB_E_UNSUPPORTED, "rope_freqs.weight: value %" PRIu64 " is %g, known "
                          "are 1, and 1e30 behind them", i, (double)by);
    }
    return (double)live / pairs;
}

static void gguf_set_rope(nib_gguf_config *c, double wide, double narrow)
{
    double theta = nib_gguf_get(c, "rope.freq_base", 10000);
    double local = nib_gguf_get(c, "rope.freq_base_swa", theta);
    double partial = gguf_rotated(c, wide / 2);

    if (nib_gguf_get(c, "rope.dimension_count", wide) != wide ||
        nib_gguf_get(c, "rope.dimension_count_swa", narrow) != narrow)
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "rope.dimension_count is not attention.key_length");
    if (nib_gguf_key_value(c, "rope.scaling.type"))
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "rope.scaling.type is there, known is none");
    if (!isfinite(theta) || !isfinite(local))
        nib_gguf_fail(c, NIB_E_FORMAT, "rope.freq_base or rope.freq_base_swa is no finite number");
    if (c->status) return;
    json_object_del(c->json, "rope_theta");
    nib_gguf_set(c, "rope_parameters",
                 json_pack("{s:{s:s, s:f, s:f}, s:{s:s, s:f}}", "full_attention", "rope_type",
                           "proportional", "partial_rotary_factor", partial, "rope_theta", theta,
                           "sliding_attention", "rope_type", "default", "rope_theta", local));
}

static void gguf_finish(nib_gguf_config *c)
{
    const nib_tensor *pieces = nib_tensors_find(c->tensors, "per_layer_token_embd.weight");
    double wide = nib_gguf_get(c, "attention.key_length", 0);
    double narrow = nib_gguf_get(c, "attention.key_length_swa", wide);

    gguf_set_layers(c);
    set_number(c, "head_dim", narrow);
    set_number(c, "global_head_dim", wide);
    set_number(c, "hidden_size_per_layer_input",
               nib_gguf_get(c, "embedding_length_per_layer_input", 0));
    if (pieces) set_number(c, "vocab_size_per_layer_input", (double)pieces->shape[0]);
    nib_gguf_set(c, "enable_moe_block", json_boolean(nib_gguf_has(c, "blk.0.ffn_gate_inp.weight")));
    gguf_set_rope(c, wide, narrow);
}

/* --- the way out --- */

typedef struct kinds { const nib_attention_desc *all, *sliding; const nib_rope *rope; } kinds;

/* The first attention of each kind, and the rope of the sliding one; NULL: there is none. */
static kinds find_kinds(const nib_graph *g)
{
    const nib_rope *rope = NULL;
    kinds k = { 0 };

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->rope) rope = n->rope;
        if (!n->attention.heads) continue;
        if (!n->attention.window && !k.all) k.all = &n->attention;
        if (!n->attention.window || k.sliding) continue;
        k.sliding = &n->attention;
        k.rope = rope;
    }
    return k;
}

static const nib_embedding *find_pieces(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_embedding *e = g->nodes[i].embedding;
        if (e && nib_ends_with(e->name, "embed_tokens_per_layer")) return e;
    }
    return NULL;
}

/* Of a kind that no layer is of llama.cpp asks for the sizes all the same. */
static void gguf_put(const nib_gguf_put *p)
{
    const nib_embedding *pieces = find_pieces(p->graph);
    const json_t *own = json_object_get(p->config, "head_dim"), *rope, *theta;
    size_t layers = (size_t)p->graph->segments - 2;
    kinds k = find_kinds(p->graph);
    double wide = (double)k.all->head_dim; /* the last layer sees everything */
    double narrow = k.sliding ? (double)k.sliding->head_dim
                    : json_is_integer(own) ? json_number_value(own) : wide;

    nib_gguf_put_own(p, "attention.key_length", NIB_GGUF_U32, wide);
    nib_gguf_put_own(p, "attention.value_length", NIB_GGUF_U32, wide);
    nib_gguf_put_own(p, "attention.key_length_swa", NIB_GGUF_U32, narrow);
    nib_gguf_put_own(p, "attention.value_length_swa", NIB_GGUF_U32, narrow);
    nib_gguf_put_own(p, "rope.dimension_count_swa", NIB_GGUF_U32, narrow);
    nib_gguf_put_own(p, "embedding_length_per_layer_input", NIB_GGUF_U32,
                     pieces ? (double)(pieces->weight->in / layers) : 0);
    rope = json_object_get(json_object_get(p->config, "rope_parameters"), "sliding_attention");
    theta = json_object_get(rope, "rope_theta");
    if (k.rope) nib_gguf_put_own(p, "rope.freq_base_swa", NIB_GGUF_F32, k.rope->theta);
    else if (json_is_number(theta))
        nib_gguf_put_own(p, "rope.freq_base_swa", NIB_GGUF_F32, json_number_value(theta));
    if (!json_is_integer(json_object_get(p->config, "num_kv_shared_layers")))
        nib_gguf_put_own(p, "attention.shared_kv_layers", NIB_GGUF_U32, 0);
    if (!k.sliding && !json_is_integer(json_object_get(p->config, "sliding_window")))
        nib_gguf_put_own(p, "attention.sliding_window", NIB_GGUF_U32, 512);
}

/* llama.cpp gives a layer that makes no keys those of the last one that does, or, where it slides,
 * of the one before that. */
static const char *unsaid_sharing(const nib_graph *g)
{
    static const char asked[] = "takes shared keys and values from the last two layers that make "
                                "some, of which the first one slides and the second does not";
    size_t makers = 0, window[2] = { 0, 0 };

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (!n->attention.heads) continue;
        if (n->shares_state) return makers < 2 || !window[0] || window[1] ? asked : NULL;
        window[0] = window[1];
        window[1] = n->attention.window;
        makers++;
    }
    return makers < 2 ? "has two layers or more that make keys and values" : NULL;
}

static const char *gguf_unsaid(const nib_graph *g)
{
    const nib_embedding *pieces = find_pieces(g), *words = NULL;

    for (size_t i = 0; i < g->node_count && !words; i++) words = g->nodes[i].embedding;
    if (pieces && words && pieces->weight->out != words->weight->out)
        return "has as many rows in both tables of words (vocab_size_per_layer_input)";
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_linear *l = g->nodes[i].linear;
        if (l && l->bias) return "has no biases (attention_bias)";
        if (g->nodes[i].rope && g->nodes[i].rope->attention_factor != 1)
            return "has no scaled ropes";
    }
    return unsaid_sharing(g);
}

/* Of experts llama.cpp multiplies what the matrix gives by per_expert_scale, and what an adapter
 * gives not. */
static const char *const gguf_unadapted[] = { "per_layer_model_proj.weight",
                                              "ffn_down_exps.weight", NULL };

const nib_gguf_family nib_gemma4_gguf = {
    .architecture = "gemma4", .model_type = "gemma4_text", .class_name = "Gemma4ForCausalLM",
    .names = gguf_names, .tensors = gguf_tensors, .keys = gguf_keys, .finish = gguf_finish,
    .put = gguf_put, .unadapted = gguf_unadapted, .by_kind = true, .merged = "gemma4",
    .unsaid = gguf_unsaid,
};
