/* arch_gpt2.c - GPT-2: learned positions, one projection for q, k and v, weights stored as
 * [in, out] (formats.md 10.8).  Radford et al. 2019. */
#include <math.h>

#include "model/arch_gpt2.h"

typedef struct gpt2 {
    nib_gpt2 m;
    bool scaled, scaled_by_layer;
} gpt2;

static void read_gpt2(nib_reader *r, void *config)
{
    gpt2 *own = config;
    nib_gpt2 *m = &own->m;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50257);
    m->width = nib_read_size_or(r, "n_embd", 768);
    m->layers = nib_read_has(r, "n_layer") ? nib_read_layers(r, "n_layer") : 12;
    m->heads = nib_read_size_or(r, "n_head", 12);
    m->inner = nib_read_size_or_null(r, "n_inner", 4 * m->width, 4 * m->width);
    m->positions = nib_read_size_or(r, "n_positions", 1024);
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->activation = nib_read_activation(r, "activation_function", "gelu_new");
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    own->scaled = nib_read_bool(r, "scale_attn_weights", true);
    own->scaled_by_layer = nib_read_bool(r, "scale_attn_by_inverse_layer_idx", false);
    nib_read_any(r, "reorder_and_upcast_attn"); /* scores are always summed in float */
    nib_read_any(r, "n_ctx");                   /* an older name of n_positions, beside it */
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
}

static nib_value attend(nib_build *b, const nib_gpt2 *m, int i, nib_value h)
{
    const gpt2 *own = (const gpt2 *)m;
    size_t d = m->head_dim, n = m->heads;
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d, .scale = 1 };

    if (own->scaled) attention.scale /= sqrtf((float)d);
    if (own->scaled_by_layer) attention.scale /= (float)(i + 1);
    nib_value qkv = nib_apply_conv1d(b, h, 3 * m->width, "transformer.h.%d.attn.c_attn", i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, nib_plain_heads(n, d));
    nib_value k = nib_heads_of(b, qkv, n, d, m->width, nib_plain_heads(n, d));
    nib_value v = nib_heads_of(b, qkv, n, d, 2 * m->width, nib_plain_heads(n, d));
    return nib_apply_conv1d(b, nib_attend(b, q, k, v, &attention), m->width,
                            "transformer.h.%d.attn.c_proj", i);
}

static nib_value mlp(nib_build *b, const nib_gpt2 *m, int i, nib_value h)
{
    h = nib_apply_conv1d(b, h, m->inner, "transformer.h.%d.mlp.c_fc", i);
    return nib_apply_conv1d(b, nib_activate(b, h, m->activation), m->width,
                            "transformer.h.%d.mlp.c_proj", i);
}

nib_value nib_gpt2_linear_mlp(nib_build *b, const nib_gpt2 *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, true, "transformer.h.%d.mlp.c_fc", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, true,
                            "transformer.h.%d.mlp.c_proj", i);
}

void nib_gpt2_stack(nib_build *b, const nib_gpt2 *m, nib_gpt2_half *attention,
                    nib_gpt2_half *forward)
{
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "transformer.wte"), h;

    nib_set_positions(b, m->positions);
    x = nib_add(b, x, nib_embed(b, NIB_POSITIONS, m->positions, m->width, "transformer.wpe"));
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_1", i);
        x = nib_add(b, x, attention(b, m, i, h));
        h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_2", i);
        x = nib_add(b, x, forward(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "transformer.wte" : NULL }, "lm_head");
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_gpt2_stack(b, config, attend, mlp);
}

static const char *const types[] = { "gpt2", NULL };
static const char *const targets[] = { "c_attn", NULL };

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "transformer.wte", NIB_GGUF_AS_IS },
    { "position_embd", "transformer.wpe", NIB_GGUF_AS_IS },
    { "output_norm", "transformer.ln_f", NIB_GGUF_AS_IS },
    { "output", "lm_head", NIB_GGUF_AS_IS },
    { "attn_norm", "transformer.h.%d.ln_1", NIB_GGUF_AS_IS },
    { "attn_qkv", "transformer.h.%d.attn.c_attn", NIB_GGUF_STRAIGHT },
    { "attn_output", "transformer.h.%d.attn.c_proj", NIB_GGUF_STRAIGHT },
    { "ffn_norm", "transformer.h.%d.ln_2", NIB_GGUF_AS_IS },
    { "ffn_up", "transformer.h.%d.mlp.c_fc", NIB_GGUF_STRAIGHT },
    { "ffn_down", "transformer.h.%d.mlp.c_proj", NIB_GGUF_STRAIGHT },
    { 0 },
};
const nib_gguf_key nib_gpt2_gguf_keys[] = {
    { "context_length", "n_positions" }, { "embedding_length", "n_embd" },
    { "block_count", "n_layer" }, { "attention.head_count", "n_head" },
    { "attention.layer_norm_epsilon", "layer_norm_epsilon" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c) { nib_gguf_set_inner(c, "n_inner"); }

static const nib_gguf_family gguf = {
    .architecture = "gpt2", .model_type = "gpt2", .class_name = "GPT2LMHeadModel",
    .names = gguf_names, .keys = nib_gpt2_gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_gpt2 = { .model_types = types, .config_bytes = sizeof(gpt2),
                                 .read = read_gpt2, .prefix = "transformer.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets,
                                 .gguf = &gguf };
