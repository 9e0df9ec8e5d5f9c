/* arch_gemma2.c - Gemma 2: norms before and after each half of a layer, capped scores and logits, a
 * window in every other layer (formats.md 10.32).  arXiv:2408.00118. */
#include "model/arch_gemma.h"

#include <math.h>

void nib_gemma_read(nib_reader *r, nib_gemma *m, size_t vocabulary, size_t positions)
{
    m->vocabulary = nib_read_size_or(r, "vocab_size", vocabulary);
    m->width = nib_read_size_or(r, "hidden_size", 2304);
    m->layers = nib_read_layers_or(r, "num_hidden_layers", 26);
    m->heads = nib_read_size_or(r, "num_attention_heads", 8);
    m->kv_heads = nib_read_size_or(r, "num_key_value_heads", 4);
    m->head_dim = nib_read_size_or(r, "head_dim", 256);
    m->inner = nib_read_size_or(r, "intermediate_size", 9216);
    m->positions = nib_read_size_or(r, "max_position_embeddings", positions);
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->eps = nib_read_eps(r, "rms_norm_eps", 1e-6f);
    m->scale = (float)(1 / sqrt(nib_read_float_or(r, "query_pre_attn_scalar", 256)));
    m->activation = nib_read_activation(r, "hidden_activation", "gelu_pytorch_tanh");
    m->bias = nib_read_bool(r, "attention_bias", false);
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    nib_read_must_be_off(r, "use_bidirectional_attention", "only causal attention is known");
    nib_read_check_heads(r, m->heads, m->kv_heads, m->head_dim);
    if (!(m->scale > 0 && isfinite(m->scale)))
        nib_read_fail(r, NIB_E_FORMAT,
                      "query_pre_attn_scalar gives a scale of %g, expected above 0",
                      (double)m->scale);
}

static float read_cap(nib_reader *r, const char *key, double fallback)
{
    double cap = nib_read_float_or_null(r, key, fallback, 0);

    if (!(cap >= 0 && cap < 1e6)) nib_read_fail(r, NIB_E_FORMAT, "%s is %g", key, cap);
    return (float)cap;
}

static void read_gemma2(nib_reader *r, void *config)
{
    nib_gemma *m = config;

    nib_gemma_read(r, m, 256000, 8192);
    m->sliding = nib_read_sliding_pattern(r, m->layers, 2);
    nib_read_check_window(r, m->window, m->sliding, m->layers);
    m->cap = read_cap(r, "attn_logit_softcapping", 50);
    m->logit_cap = read_cap(r, "final_logit_softcapping", 30);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .scaled = true, .rot = m->head_dim,
                                                .positions = m->positions });
    m->sliding_rope = m->rope;
}

/* Multiplies by 1 + weight, and rounds once. */
static nib_value norm(nib_build *b, const nib_gemma *m, nib_value x, size_t heads,
                      const char *module, int i)
{
    return nib_apply_rms_norm_form(b, x, heads, NIB_RMS_ONE_PLUS, m->eps, module, i);
}

static nib_value attend(nib_build *b, const nib_gemma *m, int i, nib_value h)
{
    const nib_rope *rope = m->sliding[i] ? &m->sliding_rope : &m->rope;
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim, .scale = m->scale, .cap = m->cap,
                                     .window = m->sliding[i] ? m->window : 0 };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;

    nib_value q = nib_apply_linear(b, h, q_width, m->bias, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, m->bias, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, m->bias, "model.layers.%d.self_attn.v_proj", i);
    if (m->head_norms) {
        q = norm(b, m, q, m->heads, "model.layers.%d.self_attn.q_norm", i);
        k = norm(b, m, k, m->kv_heads, "model.layers.%d.self_attn.k_norm", i);
    }
    q = nib_rotate(b, q, m->heads, m->head_dim, rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, rope);
    nib_value a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, m->bias, "model.layers.%d.self_attn.o_proj", i);
}

static nib_value mlp(nib_build *b, const nib_gemma *m, int i, nib_value h)
{
    nib_value gate = nib_apply_linear(b, h, m->inner, false, "model.layers.%d.mlp.gate_proj", i);
    nib_value up = nib_apply_linear(b, h, m->inner, false, "model.layers.%d.mlp.up_proj", i);
    return nib_apply_linear(b, nib_gate(b, gate, up, m->activation), m->width, false,
                            "model.layers.%d.mlp.down_proj", i);
}

/* x += norm(attention(norm(x)));  x += norm(mlp(norm(x))). */
static nib_value layer(nib_build *b, const nib_gemma *m, int i, nib_value x)
{
    nib_value h = norm(b, m, x, 1, "model.layers.%d.input_layernorm", i);
    h = norm(b, m, attend(b, m, i, h), 1, "model.layers.%d.post_attention_layernorm", i);
    x = nib_add(b, x, h);
    h = norm(b, m, x, 1, "model.layers.%d.pre_feedforward_layernorm", i);
    h = norm(b, m, mlp(b, m, i, h), 1, "model.layers.%d.post_feedforward_layernorm", i);
    return nib_add(b, x, h);
}

void nib_gemma_build(nib_build *b, const void *config, nib_task task)
{
    const nib_gemma *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");
    float scale = nib_rounded_factor(b, sqrtf((float)m->width));

    (void)task;
    nib_set_positions(b, m->positions);
    if (m->scaled_embedding) nib_set_noise_scale(b, 1 / scale);
    x = nib_scale(b, x, scale);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    x = nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ONE_PLUS, m->eps, "model.norm");
    nib_set_logits(b, 1, m->logit_cap);
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "gemma2", NULL };
static const char *const targets[] = { "q_proj", "v_proj", NULL };

const nib_gguf_name nib_gemma_gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_ONE_PLUS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_MLP,
    { "attn_q_norm", "model.layers.%d.self_attn.q_norm", NIB_GGUF_ONE_PLUS },
    { "attn_k_norm", "model.layers.%d.self_attn.k_norm", NIB_GGUF_ONE_PLUS },
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_ONE_PLUS },
    { "post_attention_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_ONE_PLUS },
    { "ffn_norm", "model.layers.%d.pre_feedforward_layernorm", NIB_GGUF_ONE_PLUS },
    { "post_ffw_norm", "model.layers.%d.post_feedforward_layernorm", NIB_GGUF_ONE_PLUS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { "attn_logit_softcapping", "attn_logit_softcapping" },
    { "final_logit_softcapping", "final_logit_softcapping" },
    { 0 },
};

void nib_gemma_gguf_scale(nib_gguf_config *c, size_t largest)
{
    double by_heads = nib_gguf_get(c, "embedding_length", 0) /
                      nib_gguf_get(c, "attention.head_count", 1);
    double own = nib_gguf_get(c, "attention.key_length", by_heads);
    bool large = nib_gguf_get(c, "block_count", 0) == (double)largest;

    if (large) own = by_heads;
    nib_gguf_set(c, "query_pre_attn_scalar",
                 own >= 1 && own <= 65536 && own == floor(own) ? json_integer((int)own)
                                                               : json_real(own));
}

static void gguf_finish(nib_gguf_config *c)
{
    nib_gemma_gguf_scale(c, 46);
    nib_gguf_set_sliding(c);
}

static const nib_gguf_family gguf = {
    .architecture = "gemma2", .model_type = "gemma2", .class_name = "Gemma2ForCausalLM",
    .names = nib_gemma_gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_gemma2 = { .model_types = types, .config_bytes = sizeof(nib_gemma),
                                   .read = read_gemma2, .prefix = "model.",
                                   .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_gemma_build,
                                   .default_targets = targets,
                                   .gguf = &gguf };
