/* arch_starcoder2.c - StarCoder2: layer norms, biases everywhere, a plain feed-forward part
 * (formats.md 10.41).  arXiv:2402.19173. */
#include "model/arch_llama.h"

static void read_starcoder2(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.eps_key = "norm_epsilon";
    keys.eps = 1e-5f;
    keys.activation = "gelu_pytorch_tanh";
    keys.tied = true;
    keys.kv_heads = 2;
    keys.no_null_kv_heads = true;
    keys.inner = 12288;
    keys.positions = 4096;
    nib_llama_read_keys(r, m, &keys);
    m->qkv_bias = m->o_bias = m->mlp_bias = nib_read_bool(r, "use_bias", true);
    m->window = nib_read_size_or_null(r, "sliding_window", 0, 0);
    m->sliding = nib_read_sliding_layers(r, m->layers);
    nib_read_check_window(r, m->window, m->sliding, m->layers);
    nib_read_any(r, "mlp_type"); /* in published files; the code has one type of each */
    nib_read_any(r, "norm_type");
}

static nib_value mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, m->mlp_bias, "model.layers.%d.mlp.c_fc", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, m->mlp_bias,
                            "model.layers.%d.mlp.c_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, nib_llama_attend(b, m, i, &m->rope, h));
        h = nib_apply_layer_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "starcoder2", NULL };
static const char *const targets[] = { NULL };

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { "ffn_up", "model.layers.%d.mlp.c_fc", NIB_GGUF_AS_IS },
    { "ffn_down", "model.layers.%d.mlp.c_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.layer_norm_epsilon", "norm_epsilon" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set(c, "use_bias", json_boolean(nib_gguf_has(c, "blk.0.attn_q.bias")));
}

static const nib_gguf_family gguf = {
    .architecture = "starcoder2", .model_type = "starcoder2",
    .class_name = "Starcoder2ForCausalLM", .names = gguf_names, .keys = gguf_keys,
    .finish = gguf_finish,
};

const nib_arch nib_arch_starcoder2 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                       .read = read_starcoder2, .prefix = "model.",
                                       .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                       .default_targets = targets,
                                       .gguf = &gguf };
