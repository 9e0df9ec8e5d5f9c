/* arch_llama.c - Llama 1 to 3, TinyLlama, SmolLM2, open_llama (formats.md 10.4).
 * Touvron et al. 2023, arXiv:2302.13971. */
#include "model/arch_llama.h"

#include <math.h>

const nib_llama_keys nib_llama_plain_keys = {
    .activation = "silu", .eps = 1e-6f, .theta = 10000, .partial = 1, .inner = 11008,
    .positions = 2048,
};

static size_t read_head_dim(nib_reader *r, const nib_llama *m, const nib_llama_keys *keys)
{
    const json_t *own = nib_read_any(r, "head_dim");

    if (keys->head_dim && !own) return keys->head_dim;
    return nib_read_own_head_dim(r, m->width, m->heads, !keys->no_null_head_dim);
}

void nib_llama_read_keys(nib_reader *r, nib_llama *m, const nib_llama_keys *keys)
{
    m->vocabulary = nib_read_size(r, "vocab_size");
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_hidden_layers");
    m->heads = nib_read_size(r, "num_attention_heads");
    m->kv_heads = keys->no_null_kv_heads
                      ? nib_read_size_or(r, "num_key_value_heads", keys->kv_heads)
                      : nib_read_size_or_null(r, "num_key_value_heads",
                                              keys->kv_heads ? keys->kv_heads : m->heads, m->heads);
    m->inner = nib_read_size_or(r, "intermediate_size", keys->inner);
    m->positions = nib_read_size_or(r, "max_position_embeddings", keys->positions);
    m->eps = nib_read_eps(r, keys->eps_key ? keys->eps_key : "rms_norm_eps", keys->eps);
    if (keys->activation) m->activation = nib_read_activation(r, "hidden_act", keys->activation);
    m->qkv_bias = m->o_bias = nib_read_bool(r, "attention_bias", keys->bias);
    m->tied = nib_read_bool(r, "tie_word_embeddings", keys->tied);
    if (!nib_read_bool(r, "is_causal", true))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "is_causal is false, known is true: each token attends "
                      "to those before it");
    nib_read_must_be_off(r, "rope_interleaved", "halves of a head are rotated together");
    nib_read_must_be_off(r, "use_mrope", "positions in several dimensions are not known");
    m->head_dim = read_head_dim(r, m, keys);
    nib_read_check_heads(r, m->heads, m->kv_heads, m->head_dim);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = keys->theta, .scaled = true,
                                                .rot = nib_read_rotated(r, m->head_dim, NULL,
                                                                        keys->partial),
                                                .head_dim = m->head_dim,
                                                .interleaved = keys->interleaved,
                                                .absent = keys->rope,
                                                .grows = keys->grows, .axes = keys->axes,
                                                .alpha = keys->alpha,
                                                .positions = m->positions });
}

static void read_keys(nib_reader *r, void *config)
{
    nib_llama *m = config;

    nib_llama_read_keys(r, m, &nib_llama_plain_keys);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
}

size_t nib_llama_window(const nib_llama *m, int i)
{
    return !m->sliding || m->sliding[i] ? m->window : 0;
}

nib_value nib_llama_attend(nib_build *b, const nib_llama *m, int i, const nib_rope *rope,
                           nib_value h)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->kv_heads,
                                     .head_dim = m->head_dim, .window = nib_llama_window(m, i),
                                     .scale = m->scale ? m->scale : 1 / sqrtf((float)m->head_dim) };
    size_t q_width = m->heads * m->head_dim, kv_width = m->kv_heads * m->head_dim;
    bool bias = m->qkv_bias;

    nib_value q = nib_apply_linear(b, h, q_width, bias, "model.layers.%d.self_attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, kv_width, bias, "model.layers.%d.self_attn.v_proj", i);
    if (m->head_norm && !m->norm_behind) {
        q = m->head_norm(b, m, i, 'q', q, m->heads);
        k = m->head_norm(b, m, i, 'k', k, m->kv_heads);
    }
    if (rope) {
        q = nib_rotate(b, q, m->heads, m->head_dim, m->q_rope.rot ? &m->q_rope : rope);
        k = nib_rotate(b, k, m->kv_heads, m->head_dim, rope);
    }
    if (m->head_norm && m->norm_behind) {
        q = m->head_norm(b, m, i, 'q', q, m->heads);
        k = m->head_norm(b, m, i, 'k', k, m->kv_heads);
    }
    nib_value a = nib_attend(b, q, k, v, &attention);
    return nib_apply_linear(b, a, m->width, m->o_bias, "model.layers.%d.self_attn.o_proj", i);
}

nib_value nib_llama_attention(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    return nib_llama_attend(b, m, i, &m->rope, h);
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
static nib_value layer(nib_build *b, const nib_llama *m, nib_llama_half *attention,
                       nib_llama_half *mlp, int i, nib_value x)
{
    nib_value h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
    x = nib_add(b, x, attention(b, m, i, h));
    h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
    return nib_add(b, x, mlp(b, m, i, h));
}

void nib_llama_layers(nib_build *b, const nib_llama *m, nib_llama_half *attention,
                      nib_llama_half *mlp, nib_value x)
{
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, attention, mlp, i, x);
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    if (b->labels) {
        nib_class_head(b, nib_to_one_row(b, x, NIB_READ_LAST), false, "score");
        return;
    }
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

void nib_llama_stack_of(nib_build *b, const nib_llama *m, nib_llama_half *attention,
                        nib_llama_half *mlp)
{
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    nib_set_positions(b, m->positions);
    nib_llama_layers(b, m, attention, mlp, x);
}

void nib_llama_stack(nib_build *b, const nib_llama *m, nib_llama_half *attention)
{
    nib_llama_stack_of(b, m, attention, nib_llama_mlp);
}

void nib_llama_build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack(b, config, nib_llama_attention);
}

const char *const nib_llama_targets[] = { "q_proj", "v_proj", NULL };
const char *const nib_llama_heads[] = { "lm_head.", "score.", NULL };
static const char *const types[] = { "llama", NULL };

/* Mixtral has the same name there. */
static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_llama_finish(c);
    if (nib_gguf_get(c, "expert_count", 0) == 0) return;
    nib_gguf_set(c, "model_type", json_string("mixtral"));
    nib_gguf_set(c, "architectures", json_pack("[s]", "MixtralForCausalLM"));
    nib_gguf_copy(c, nib_gguf_key_value(c, "expert_count"), "num_local_experts");
    nib_gguf_copy(c, nib_gguf_key_value(c, "expert_used_count"), "num_experts_per_tok");
}

static const nib_gguf_family gguf = {
    .architecture = "llama", .model_type = "llama", .class_name = "LlamaForCausalLM",
    .names = nib_gguf_llama_names, .keys = nib_gguf_llama_keys, .finish = gguf_finish,
    .variant = "blk.0.ffn_gate_exps.weight", .variant_names = nib_gguf_mixtral_names,
};

const nib_arch nib_arch_llama = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = read_keys, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM | 1 << NIB_TASK_SEQ_CLS |
                                           1 << NIB_TASK_FEATURE_EXTRACTION,
                                  .other_heads = nib_llama_heads,
                                  .build = nib_llama_build,
                                  .default_targets = nib_llama_targets,
                                  .gguf = &gguf };
