/* arch_exaone4.c - EXAONE 4: norms after each half of a layer and none before, as OLMo 2, norms of
 * the heads of q and k, and where some layers have a window only these rotate (formats.md 10.66).
 * arXiv:2507.11407. */
#include "model/arch_llama.h"

static void read_exaone4(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;
    size_t period = nib_read_size_or_null(r, "sliding_window_pattern", 4, 0);

    keys.kv_heads = 32;
    keys.no_null_kv_heads = true;
    keys.eps = 1e-5f;
    keys.inner = 16384;
    nib_llama_read_keys(r, m, &keys);
    m->head_norm = nib_qwen3_norm_heads;
    m->qkv_bias = m->o_bias = false;
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->sliding = nib_read_sliding_layers(r, m->layers);
    if (!m->sliding && m->window && !period)
        nib_read_fail(r, NIB_E_FORMAT,
                      "sliding_window is %zu, but neither layer_types nor a "
                      "sliding_window_pattern says in which layers", m->window);
    if (!m->sliding && m->window && period)
        m->sliding = nib_read_sliding_pattern(r, m->layers, period);
    if (m->sliding) nib_read_check_window(r, m->window, m->sliding, m->layers);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        const nib_rope *rope = m->window && !nib_llama_window(m, i) ? NULL : &m->rope;
        nib_segment(b);
        h = nib_llama_attend(b, m, i, rope, x);
        x = nib_add(b, x, nib_apply_rms_norm(b, h, m->eps,
                                             "model.layers.%d.post_attention_layernorm", i));
        h = nib_llama_mlp(b, m, i, x);
        x = nib_add(b, x, nib_apply_rms_norm(b, h, m->eps,
                                             "model.layers.%d.post_feedforward_layernorm", i));
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_MLP,
    { "attn_q_norm", "model.layers.%d.self_attn.q_norm", NIB_GGUF_AS_IS },
    { "attn_k_norm", "model.layers.%d.self_attn.k_norm", NIB_GGUF_AS_IS },
    { "post_attention_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { "post_ffw_norm", "model.layers.%d.post_feedforward_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    double layers = nib_gguf_get(c, "block_count", 0);
    json_t *types;

    if (nib_gguf_get(c, "attention.sliding_window", 0) != 0) {
        nib_gguf_set_sliding(c);
        return;
    }
    types = json_array(); /* transformers makes none itself without a window */
    for (double i = 0; i < layers && i < 10000; i++)
        json_array_append_new(types, json_string("full_attention"));
    nib_gguf_set(c, "layer_types", types);
    nib_gguf_set(c, "sliding_window", json_null());
}

/* The published 32B has them in three of four of its 64 layers. */
static const char *gguf_unsaid(const nib_graph *g)
{
    size_t layer = 0;
    bool sliding = false, pattern = true;

    for (size_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].attention.heads) continue;
        sliding |= g->nodes[i].attention.window != 0;
        pattern &= (g->nodes[i].attention.window != 0) == (++layer % 4 != 0);
    }
    if (sliding && (layer != 64 || !pattern)) return "slides in three of four of 64 layers alone";
    return layer == 64 && !sliding ? "slides in three of four of 64 layers" : NULL;
}

static const nib_gguf_family gguf = {
    .architecture = "exaone4", .model_type = "exaone4", .class_name = "Exaone4ForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish, .unsaid = gguf_unsaid,
};

static const char *const types[] = { "exaone4", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_exaone4 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_exaone4, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets, .gguf = &gguf };
