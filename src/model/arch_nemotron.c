/* arch_nemotron.c - Nemotron 3 and 4, Minitron: llama's layer with layer norms that multiply by
 * 1 + weight, half of each head rotated, and squared ReLU without a gate (formats.md 10.69).
 * arXiv:2402.16819. */
#include "model/arch_llama.h"

static void read_nemotron(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    if (nib_read_has(r, "rope_scaling") && !json_is_null(nib_read_any(r, "rope_scaling")))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "rope_scaling is set: transformers 4 ignores it in this class and 5 obeys "
                      "it; take it out, or give rope_parameters, which 5 alone reads");
    keys.eps_key = "norm_eps";
    keys.eps = 1e-5f;
    keys.activation = "relu2";
    keys.partial = 0.5;
    keys.inner = 24576;
    keys.positions = 4096;
    nib_llama_read_keys(r, m, &keys);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
}

static nib_value mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, m->mlp_bias, "model.layers.%d.mlp.up_proj", i);
    h = nib_activate(b, h, m->activation);
    return nib_apply_linear(b, h, m->width, m->mlp_bias, "model.layers.%d.mlp.down_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm_one_plus(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, nib_llama_attention(b, m, i, h));
        h = nib_apply_layer_norm_one_plus(b, x, m->eps,
                                          "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm_one_plus(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

#define LAYER "model.layers.%d."

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_ONE_PLUS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    { "attn_norm", LAYER "input_layernorm", NIB_GGUF_ONE_PLUS },
    { "ffn_norm", LAYER "post_attention_layernorm", NIB_GGUF_ONE_PLUS },
    { "ffn_up", LAYER "mlp.up_proj", NIB_GGUF_AS_IS },
    { "ffn_down", LAYER "mlp.down_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "norm_eps" }, /* the converter writes both */
    { "attention.layer_norm_epsilon", "norm_eps" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_llama_finish(c);
    nib_gguf_set_partial(c, "partial_rotary_factor");
}

static const char *gguf_unsaid(const nib_graph *g)
{
    const nib_attention_desc *a = nib_gguf_attention(g);
    size_t width = 0;

    for (size_t i = 0; i < g->node_count && !width; i++)
        if (g->nodes[i].norm) width = g->nodes[i].norm->width;
    return a && a->heads * a->head_dim != width ? "has heads as wide together as the model" : NULL;
}

static const nib_gguf_family gguf = {
    .architecture = "nemotron", .model_type = "nemotron", .class_name = "NemotronForCausalLM",
    .names = gguf_names, .keys = gguf_keys, .finish = gguf_finish, .own_head = true,
    .unsaid = gguf_unsaid,
};

static const char *const types[] = { "nemotron", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_nemotron = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                     .read = read_nemotron, .prefix = "model.",
                                     .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                     .default_targets = targets, .gguf = &gguf };
