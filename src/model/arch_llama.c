/* arch_llama.c - Llama 1 to 3, TinyLlama, SmolLM2, open_llama (formats.md 10.4).
 * Touvron et al. 2023, arXiv:2302.13971. */
#include "model/arch_llama.h"

#include <math.h>

void nib_llama_read(nib_reader *r, void *config)
{
    nib_llama *m = config;

    m->vocabulary = nib_read_size(r, "vocab_size");
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->kv_heads = nib_read_size_or_null(r, "num_key_value_heads", m->heads, m->heads);
    m->inner = nib_read_size_or(r, "intermediate_size", 11008);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    m->eps = nib_read_eps(r, "rms_norm_eps", 1e-6f);
    m->activation = nib_read_activation(r, "hidden_act", "silu");
    m->qkv_bias = m->o_bias = nib_read_bool(r, "attention_bias", false);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
    m->tied = nib_read_bool(r, "tie_word_embeddings", false);
    m->head_dim = m->default_head_dim && !nib_read_has(r, "head_dim")
                      ? m->default_head_dim : nib_read_own_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->kv_heads, m->head_dim);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .scaled = true, .rot = m->head_dim,
                                                .positions = m->positions });
}

size_t nib_llama_window(const nib_llama *m, int i)
{
    return !m->sliding || m->sliding[i] ? m->window : 0;
}

static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim, .window = nib_llama_window(m, i),
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;
    bool bias = m->qkv_bias;

    nib_value q = nib_apply_linear(b, h, q_width, bias, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.v_proj", i);
    q = nib_rotate(b, q, m->heads, m->head_dim, &m->rope);
    k = nib_rotate(b, k, m->kv_heads, m->head_dim, &m->rope);
    nib_value a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, m->o_bias, "model.layers.%d.self_attn.o_proj", i);
}

nib_value nib_llama_mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    bool bias = m->mlp_bias;

    nib_value gate = nib_apply_linear(b, h, m->inner, bias, "model.layers.%d.mlp.gate_proj", i);
    nib_value up = nib_apply_linear(b, h, m->inner, bias, "model.layers.%d.mlp.up_proj", i);
    h = nib_gate(b, gate, up, m->activation);
    return nib_apply_linear(b, h, m->width, bias, "model.layers.%d.mlp.down_proj", i);
}

/* h = x + attention(norm(x));  y = h + mlp(norm(h)). */
static nib_value layer(nib_build *b, const nib_llama *m, nib_llama_attention *attention, int i,
                       nib_value x)
{
    nib_value h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
    x = nib_add(b, x, attention(b, m, i, h));
    h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
    return nib_add(b, x, nib_llama_mlp(b, m, i, h));
}

void nib_llama_stack(nib_build *b, const nib_llama *m, nib_llama_attention *attention)
{
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, attention, i, x);
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

void nib_llama_build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack(b, config, attend);
}

const char *const nib_llama_targets[] = { "q_proj", "v_proj", NULL };
static const char *const types[] = { "llama", NULL };

const nib_arch nib_arch_llama = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = nib_llama_read, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                  .default_targets = nib_llama_targets };
