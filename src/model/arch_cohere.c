/* arch_cohere.c - Command-R, Aya and Command-R7B: one norm a layer for attention and feed-forward,
 * which are added together; neighbouring channels are rotated; scaled logits (formats.md 10.39). */
#include "model/arch_llama.h"

typedef struct cohere {
    nib_llama m;
    float logit_scale;
    bool rotates_sliding_only; /* cohere2: layers that see everything have no rotation */
} cohere;

static void read_common(nib_reader *r, cohere *c)
{
    nib_llama_keys keys = nib_llama_plain_keys;
    double scale = nib_read_float_or(r, "logit_scale", 0.0625);

    keys.eps_key = "layer_norm_eps";
    keys.eps = 1e-5f;
    keys.tied = true;
    keys.no_null_head_dim = true;
    keys.interleaved = true;
    keys.inner = 22528;
    keys.positions = 8192;
    nib_llama_read_keys(r, &c->m, &keys);
    if (!(scale > 0 && scale < 1e6))
        nib_read_fail(r, NIB_E_FORMAT, "logit_scale is %g, expected above 0", scale);
    c->logit_scale = (float)scale;
}

static nib_value norm_heads(nib_build *b, const nib_llama *m, int i, char of, nib_value x,
                            size_t heads)
{
    return nib_apply_layer_norm_heads(b, x, heads, NIB_NORM_ROWS, false, m->eps,
                                      "model.layers.%d.self_attn.%c_norm", i, of);
}

static void read_cohere(nib_reader *r, void *config)
{
    read_common(r, config);
    if (nib_read_bool(r, "use_qk_norm", false)) ((cohere *)config)->m.head_norm = norm_heads;
}

static void read_cohere2(nib_reader *r, void *config)
{
    cohere *c = config;
    nib_llama *m = &c->m;
    size_t period = nib_read_size_or(r, "sliding_window_pattern", 4);

    read_common(r, c);
    nib_read_any(r, "_sliding_window_pattern"); /* the same, as the library saves it again */
    nib_read_any(r, "order_of_interleaved_layers");
    nib_read_any(r, "position_embedding_type");
    nib_read_any(r, "rotary_pct");
    c->rotates_sliding_only = true;
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->sliding = nib_read_sliding_pattern(r, m->layers, period);
    nib_read_check_window(r, m->window, m->sliding, m->layers);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const cohere *c = config;
    const nib_llama *m = &c->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        const nib_rope *rope = c->rotates_sliding_only && !m->sliding[i] ? NULL : &m->rope;
        nib_segment(b);
        nib_value h = nib_apply_layer_norm_plain(b, x, m->eps,
                                                 "model.layers.%d.input_layernorm", i);
        nib_value a = nib_llama_attend(b, m, i, rope, h);
        x = nib_add(b, x, nib_add(b, a, nib_llama_mlp(b, m, i, h)));
    }
    nib_segment(b);
    x = nib_apply_layer_norm_plain(b, x, m->eps, "model.norm");
    nib_set_logits(b, c->logit_scale, 0);
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "cohere", NULL }, *const types2[] = { "cohere2", NULL };
static const char *const targets[] = { NULL };

static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.layer_norm_epsilon", "layer_norm_eps" },
    { "logit_scale", "logit_scale" },
    { "attention.sliding_window", "sliding_window" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    if (nib_gguf_has(c, "blk.0.attn_q_norm.weight")) nib_gguf_set(c, "use_qk_norm", json_true());
}

static const nib_gguf_family gguf = {
    .architecture = "command-r", .model_type = "cohere", .class_name = "CohereForCausalLM",
    .names = nib_gguf_plain_names, .keys = gguf_keys, .finish = gguf_finish,
};
static const nib_gguf_family gguf2 = {
    .architecture = "cohere2", .model_type = "cohere2", .class_name = "Cohere2ForCausalLM",
    .names = nib_gguf_plain_names, .keys = gguf_keys, .finish = nib_gguf_set_sliding,
};

const nib_arch nib_arch_cohere = { .model_types = types, .config_bytes = sizeof(cohere),
                                   .read = read_cohere, .prefix = "model.",
                                   .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                   .default_targets = targets,
                                   .gguf = &gguf };


const nib_arch nib_arch_cohere2 = { .model_types = types2, .config_bytes = sizeof(cohere),
                                    .read = read_cohere2, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets,
                                    .gguf = &gguf2 };
