/* arch_stablelm.c - StableLM 3B and 2: llama's layer with layer norms and a quarter of each head
 * rotated; in parallel if the config says so (formats.md 10.40). */
#include "model/arch_llama.h"

typedef struct stablelm {
    nib_llama m;
    bool parallel;
} stablelm;

static nib_value norm_heads(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                            size_t heads)
{
    return nib_apply_layer_norm_heads(b, x, heads, NIB_NORM_APART, false, m->eps,
                                      "model.layers.%d.self_attn.%c_layernorm", i, of);
}

static void read_stablelm(nib_reader *r, void *config)
{
    stablelm *s = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.eps_key = "layer_norm_eps";
    keys.eps = 1e-5f;
    keys.kv_heads = 32;
    keys.no_null_kv_heads = true;
    keys.partial = 0.25;
    keys.inner = 6912;
    keys.positions = 4096;
    nib_llama_read_keys(r, &s->m, &keys);
    s->m.qkv_bias = nib_read_bool(r, "use_qkv_bias", false);
    s->m.o_bias = false;
    s->parallel = nib_read_bool(r, "use_parallel_residual", false);
    if (nib_read_bool(r, "qk_layernorm", false)) s->m.head_norm = norm_heads;
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const stablelm *s = config;
    const nib_llama *m = &s->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h, a;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        a = nib_llama_attend(b, m, i, &m->rope, h);
        if (s->parallel) {
            x = nib_add(b, x, nib_add(b, a, nib_llama_mlp(b, m, i, h)));
            continue;
        }
        x = nib_add(b, x, a);
        h = nib_apply_layer_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, nib_llama_mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "stablelm", NULL };

static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.layer_norm_epsilon", "layer_norm_eps" },
    { "use_parallel_residual", "use_parallel_residual" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set_partial(c, "partial_rotary_factor");
    nib_gguf_set(c, "use_qkv_bias", json_boolean(nib_gguf_has(c, "blk.0.attn_q.bias")));
    nib_gguf_set(c, "qk_layernorm", json_boolean(nib_gguf_has(c, "blk.0.attn_q_norm.weight")));
}

static const nib_gguf_family gguf = {
    .architecture = "stablelm", .model_type = "stablelm", .class_name = "StableLmForCausalLM",
    .names = nib_gguf_plain_names, .keys = gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_stablelm = { .model_types = types, .config_bytes = sizeof(stablelm),
                                     .read = read_stablelm, .prefix = "model.",
                                     .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                     .default_targets = nib_llama_targets,
                                     .gguf = &gguf };
