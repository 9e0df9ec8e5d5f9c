/* arch_olmo2.c - OLMo 2 and 3: norms after each half of a layer and none before; q and k are normed
 * over their whole width (formats.md 10.37).  arXiv:2501.00656. */
#include <math.h>

#include "model/arch_llama.h"

typedef struct olmo2 {
    nib_llama m;
    nib_rope sliding_rope; /* of layers with a window: never scaled */
} olmo2;

static void read_plain(nib_reader *r, nib_llama *m, double theta)
{
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.eps = 1e-5f;
    keys.no_null_head_dim = true;
    keys.theta = theta;
    nib_llama_read_keys(r, m, &keys);
}

static void read_olmo2(nib_reader *r, void *config)
{
    olmo2 *o = config;

    read_plain(r, &o->m, 10000);
    o->sliding_rope = o->m.rope;
}

static void read_olmo3(nib_reader *r, void *config)
{
    olmo2 *o = config;
    nib_llama *m = &o->m;

    read_plain(r, m, 10000);
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->sliding = nib_read_sliding_pattern(r, m->layers, 4);
    nib_read_check_window(r, m->window, m->sliding, m->layers);
    o->sliding_rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .rot = m->head_dim,
                                                        .layer_type = "sliding_attention",
                                                        .positions = m->positions });
}

/* Over the whole width, rounded once. */
static nib_value norm(nib_build *b, const nib_llama *m, nib_value x, const char *module, int i)
{
    return nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ROUND_LAST, m->eps, module, i);
}

static nib_value attend(nib_build *b, const olmo2 *o, int i, nib_value h)
{
    const nib_llama *m = &o->m;
    const nib_rope *rope = m->window && m->sliding[i] ? &o->sliding_rope : &m->rope;
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim, .window = nib_llama_window(m, i),
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;
    bool bias = m->qkv_bias;

    nib_value q = nib_apply_linear(b, h, q_width, bias, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.v_proj", i);
    q = norm(b, m, q, "model.layers.%d.self_attn.q_norm", i);
    k = norm(b, m, k, "model.layers.%d.self_attn.k_norm", i);
    q = nib_rotate(b, q, m->heads, m->head_dim, rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, rope);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, m->o_bias,
                            "model.layers.%d.self_attn.o_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const olmo2 *o = config;
    const nib_llama *m = &o->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = norm(b, m, attend(b, o, i, x), "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, h);
        h = nib_llama_mlp(b, m, i, x);
        x = nib_add(b, x, norm(b, m, h, "model.layers.%d.post_feedforward_layernorm", i));
    }
    nib_segment(b);
    x = nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ROUND_LAST, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "olmo2", NULL }, *const types3[] = { "olmo3", NULL };
static const char *const targets[] = { NULL };

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

/* OLMo 3 has the same name there; its windows make it another model. */
static void gguf_finish(nib_gguf_config *c)
{
    double window = nib_gguf_get(c, "attention.sliding_window", 0);

    if (window == 0) return;
    nib_gguf_set(c, "model_type", json_string("olmo3"));
    nib_gguf_set(c, "architectures", json_pack("[s]", "Olmo3ForCausalLM"));
    nib_gguf_copy(c, nib_gguf_key_value(c, "attention.sliding_window"), "sliding_window");
    nib_gguf_set_sliding(c);
}

static const nib_gguf_family gguf = {
    .architecture = "olmo2", .model_type = "olmo2", .class_name = "Olmo2ForCausalLM",
    .names = gguf_names, .keys = nib_gguf_llama_keys, .finish = gguf_finish,
};

static const nib_gguf_key gguf_keys3[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { 0 },
};
static const nib_gguf_family gguf3 = {
    .architecture = "olmo2", .model_type = "olmo3", .class_name = "Olmo3ForCausalLM",
    .names = gguf_names, .keys = gguf_keys3, .finish = gguf_finish,
};

const nib_arch nib_arch_olmo2 = { .model_types = types, .config_bytes = sizeof(olmo2),
                                  .read = read_olmo2, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                  .default_targets = targets,
                                  .gguf = &gguf };
const nib_arch nib_arch_olmo3 = { .model_types = types3, .config_bytes = sizeof(olmo2),
                                  .read = read_olmo3, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                  .default_targets = targets,
                                  .gguf = &gguf3 };
