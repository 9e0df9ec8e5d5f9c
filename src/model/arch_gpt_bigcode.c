/* arch_gpt_bigcode.c - SantaCoder and StarCoder: GPT-2 with true linears and, usually, one key and
 * value head (formats.md 10.16).  arXiv:2305.06161. */
#include <math.h>

#include "model/arch_gpt2.h"

typedef struct bigcode {
    nib_gpt2 m;
    bool scaled, multi_query;
} bigcode;

static void read_bigcode(nib_reader *r, void *config)
{
    bigcode *own = config;
    nib_gpt2 *m = &own->m;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50257);
    m->width = nib_read_size(r, "n_embd");
    m->layers = nib_read_layers(r, "n_layer");
    m->heads = nib_read_size(r, "n_head");
    m->inner = nib_read_size_or_null(r, "n_inner", 4 * m->width, 4 * m->width);
    m->positions = nib_read_size_or(r, "n_positions", 1024);
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->activation = nib_read_activation(r, "activation_function", "gelu_pytorch_tanh");
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    own->scaled = nib_read_bool(r, "scale_attn_weights", true);
    own->multi_query = nib_read_bool(r, "multi_query", true);
    nib_read_any(r, "attention_softmax_in_fp32"); /* scores are always summed in float */
    nib_read_any(r, "scale_attention_softmax_in_fp32");
    nib_read_any(r, "inference_runner"); /* how the original was served */
    nib_read_any(r, "pre_allocate_kv_cache");
    nib_read_any(r, "max_batch_size");
    nib_read_any(r, "max_sequence_length");
    nib_read_any(r, "pad_key_length");
    nib_read_any(r, "validate_runner_input");
    nib_read_any(r, "num_key_value_heads"); /* written beside multi_query, which decides */
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
}

/* Multi-query: all query heads, then the one k, then the one v; else q, k, v head by head. */
static nib_value attend(nib_build *b, const nib_gpt2 *m, int i, nib_value h)
{
    const bigcode *own = (const bigcode *)m;
    size_t d = m->head_dim, n = m->heads, g = own->multi_query ? 1 : n;
    nib_attention_desc attention = { .heads = n, .kv_heads = g, .head_dim = d,
                                     .scale = own->scaled ? 1 / sqrtf((float)d) : 1 };
    nib_heads many = own->multi_query ? nib_plain_heads(n, d)
                                    : (nib_heads){ .head_stride = 3 * d, .per_group = n };
    nib_heads one = own->multi_query ? nib_plain_heads(1, d) : many;
    size_t first = own->multi_query ? m->width : d;

    nib_value qkv = nib_apply_linear(b, h, (n + 2 * g) * d, true,
                                     "transformer.h.%d.attn.c_attn", i);
    nib_value q = nib_heads_of(b, qkv, n, d, 0, many);
    nib_value k = nib_heads_of(b, qkv, g, d, first, one);
    nib_value v = nib_heads_of(b, qkv, g, d, first + d, one);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, true,
                            "transformer.h.%d.attn.c_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_gpt2_stack(b, config, attend, nib_gpt2_linear_mlp);
}

static const char *const types[] = { "gpt_bigcode", NULL };
static const char *const targets[] = { "c_attn", NULL };

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "transformer.wte", NIB_GGUF_AS_IS },
    { "position_embd", "transformer.wpe", NIB_GGUF_AS_IS },
    { "output_norm", "transformer.ln_f", NIB_GGUF_AS_IS },
    { "output", "lm_head", NIB_GGUF_AS_IS },
    { "attn_norm", "transformer.h.%d.ln_1", NIB_GGUF_AS_IS },
    { "attn_qkv", "transformer.h.%d.attn.c_attn", NIB_GGUF_AS_IS },
    { "attn_output", "transformer.h.%d.attn.c_proj", NIB_GGUF_AS_IS },
    { "ffn_norm", "transformer.h.%d.ln_2", NIB_GGUF_AS_IS },
    { "ffn_up", "transformer.h.%d.mlp.c_fc", NIB_GGUF_AS_IS },
    { "ffn_down", "transformer.h.%d.mlp.c_proj", NIB_GGUF_AS_IS },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    nib_gguf_set(c, "multi_query", json_true());
    nib_gguf_set_inner(c, "n_inner");
}

static const nib_gguf_family gguf = {
    .architecture = "starcoder", .model_type = "gpt_bigcode",
    .class_name = "GPTBigCodeForCausalLM", .names = gguf_names, .keys = nib_gpt2_gguf_keys,
    .finish = gguf_finish,
};

const nib_arch nib_arch_gpt_bigcode = { .model_types = types, .config_bytes = sizeof(bigcode),
                                        .read = read_bigcode, .prefix = "transformer.",
                                        .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                        .default_targets = targets,
                                        .gguf = &gguf };
