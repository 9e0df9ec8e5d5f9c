/* arch_apertus.c - Apertus: llama's layer with norms of the heads of q and k, and xIELU, whose
 * numbers are learned layer by layer, in the place of the gate (formats.md 10.70).
 * arXiv:2509.14233, 2411.13010. */
#include "model/arch_llama.h"

static void read_apertus(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;
    const json_t *activation = nib_read_any(r, "hidden_act");

    if (activation && (!json_is_string(activation) ||
                       strcmp(json_string_value(activation), "xielu") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "hidden_act is %s%s%s, known is xielu",
                      json_is_string(activation) ? "'" : "not a text",
                      json_is_string(activation) ? json_string_value(activation) : "",
                      json_is_string(activation) ? "'" : "");
    keys.activation = NULL;
    keys.eps = 1e-5f;
    keys.no_null_head_dim = true;
    keys.theta = 12e6;
    keys.inner = 14336;
    keys.positions = 65536;
    keys.rope = "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
                "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}";
    nib_llama_read_keys(r, m, &keys);
    m->head_norm = nib_qwen3_norm_heads;
}

static nib_value mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, false, "model.layers.%d.mlp.up_proj", i);
    h = nib_apply_xielu(b, h, "model.layers.%d.mlp.act_fn", i);
    return nib_apply_linear(b, h, m->width, false, "model.layers.%d.mlp.down_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.attention_layernorm", i);
        x = nib_add(b, x, nib_llama_attention(b, m, i, h));
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.feedforward_layernorm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

#define LAYER "model.layers.%d."

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    { "attn_norm", LAYER "attention_layernorm", NIB_GGUF_AS_IS },
    { "attn_q_norm", LAYER "self_attn.q_norm", NIB_GGUF_AS_IS },
    { "attn_k_norm", LAYER "self_attn.k_norm", NIB_GGUF_AS_IS },
    { "ffn_norm", LAYER "feedforward_layernorm", NIB_GGUF_AS_IS },
    { "ffn_up", LAYER "mlp.up_proj", NIB_GGUF_AS_IS },
    { "ffn_down", LAYER "mlp.down_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_listed gguf_listed[] = {
    { "xielu.alpha_n", LAYER "mlp.act_fn.alpha_n", 1 },
    { "xielu.alpha_p", LAYER "mlp.act_fn.alpha_p", 1 },
    { "xielu.beta", LAYER "mlp.act_fn.beta", 0 }, { "xielu.eps", LAYER "mlp.act_fn.eps", 0 },
    { 0 },
};

/* Without divisors of the angles there is no scaling; the class has one where nothing is given. */
static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_llama_finish(c);
    if (!json_object_get(c->json, "rope_scaling"))
        nib_gguf_set(c, "rope_scaling", json_null());
}

static const nib_gguf_family gguf = {
    .architecture = "apertus", .model_type = "apertus", .class_name = "ApertusForCausalLM",
    .names = gguf_names, .keys = nib_gguf_llama_keys, .listed = gguf_listed,
    .finish = gguf_finish, .own_head = true,
};

static const char *const types[] = { "apertus", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_apertus = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_apertus, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets, .gguf = &gguf };
