/* arch_glm.c - GLM-4 as transformers has it: llama's layer with gate and up in one projection and
 * half of each head rotated, neighbouring channels together; glm4 has two more norms a layer
 * (formats.md 10.42).  arXiv:2406.12793. */
#include "model/arch_llama.h"

typedef struct glm {
    nib_llama m;
    bool sandwich; /* glm4: what is added to the stream is normed */
} glm;

static void read_glm(nib_reader *r, void *config)
{
    glm *g = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.head_dim = 128;
    keys.partial = 0.5;
    keys.interleaved = true;
    keys.eps = 1.5625e-7f;
    keys.no_null_head_dim = true;
    keys.kv_heads = 2;
    keys.no_null_kv_heads = true;
    keys.inner = 13696;
    keys.positions = 131072;
    keys.bias = true;
    nib_llama_read_keys(r, &g->m, &keys);
    g->m.o_bias = false;
}

static void read_glm4(nib_reader *r, void *config)
{
    glm *g = config;

    read_glm(r, config);
    g->sandwich = true;
}

static nib_value mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_value both = nib_apply_linear(b, h, 2 * m->inner, false,
                                      "model.layers.%d.mlp.gate_up_proj", i);
    nib_value gate = nib_columns_of(b, both, 0, m->inner);
    nib_value up = nib_columns_of(b, both, m->inner, m->inner);
    return nib_apply_linear(b, nib_gate(b, gate, up, m->activation), m->width, false,
                            "model.layers.%d.mlp.down_proj", i);
}

static nib_value layer(nib_build *b, const glm *g, int i, nib_value x)
{
    const nib_llama *m = &g->m;
    nib_value h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);

    h = nib_llama_attend(b, m, i, &m->rope, h);
    if (g->sandwich)
        h = nib_apply_rms_norm(b, h, m->eps, "model.layers.%d.post_self_attn_layernorm", i);
    x = nib_add(b, x, h);
    h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
    h = mlp(b, m, i, h);
    if (g->sandwich)
        h = nib_apply_rms_norm(b, h, m->eps, "model.layers.%d.post_mlp_layernorm", i);
    return nib_add(b, x, h);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const glm *g = config;
    const nib_llama *m = &g->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, g, i, x);
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

#define GGUF_NAMES                                                                                 \
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),                                                           \
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),                                      \
    { "ffn_up", "model.layers.%d.mlp.gate_up_proj", NIB_GGUF_AS_IS },                              \
    { "ffn_down", "model.layers.%d.mlp.down_proj", NIB_GGUF_AS_IS },                               \
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },                            \
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS }

static const nib_gguf_name gguf_names[] = { GGUF_NAMES, { 0 } };
static const nib_gguf_name gguf_names4[] = {
    GGUF_NAMES,
    { "post_attention_norm", "model.layers.%d.post_self_attn_layernorm", NIB_GGUF_AS_IS },
    { "post_ffw_norm", "model.layers.%d.post_mlp_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_partial(c, "partial_rotary_factor");
    nib_gguf_set_bias(c, "attention_bias", "blk.0.attn_q.bias");
    if (c->status) return;
    if (!nib_gguf_key_value(c, "attention.key_length")) /* 128 is the class's default */
        nib_gguf_set(c, "head_dim", json_integer((json_int_t)(
                                        nib_gguf_get(c, "embedding_length", 0) /
                                        nib_gguf_get(c, "attention.head_count", 1))));
}

static const nib_gguf_family gguf = {
    .architecture = "chatglm", .model_type = "glm", .class_name = "GlmForCausalLM",
    .names = gguf_names, .keys = nib_gguf_llama_keys, .finish = gguf_finish,
};
static const nib_gguf_family gguf4 = {
    .architecture = "glm4", .model_type = "glm4", .class_name = "Glm4ForCausalLM",
    .names = gguf_names4, .keys = nib_gguf_llama_keys, .finish = gguf_finish,
};

static const char *const types[] = { "glm", NULL }, *const types4[] = { "glm4", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_glm = { .model_types = types, .config_bytes = sizeof(glm), .read = read_glm,
                                .prefix = "model.", .tasks = 1 << NIB_TASK_CAUSAL_LM,
                                .build = build, .default_targets = targets, .gguf = &gguf };
const nib_arch nib_arch_glm4 = { .model_types = types4, .config_bytes = sizeof(glm),
                                 .read = read_glm4, .prefix = "model.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets, .gguf = &gguf4 };
