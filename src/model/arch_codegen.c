/* arch_codegen.c - CodeGen: GPT-J with q, v and k of a quarter of the heads after each other in one
 * projection, as its training on four machines left them (formats.md 10.10).  arXiv:2203.13474. */
#include <math.h>

#include "model/arch.h"

enum { PARTITIONS = 4 };

typedef struct codegen {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions;
    bool tied;
    float eps;
    nib_activation activation;
    nib_rope rope;
} codegen;

static void read_codegen(nib_reader *r, void *config)
{
    codegen *m = config;
    size_t rotary;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50400);
    m->width = nib_read_size(r, "n_embd");
    m->layers = nib_read_layers(r, "n_layer");
    m->heads = nib_read_size(r, "n_head");
    m->inner = nib_read_size_or_null(r, "n_inner", 4 * m->width, 4 * m->width);
    m->positions = nib_read_size_or(r, "n_positions", 2048);
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->activation = nib_read_activation(r, "activation_function", "gelu_new");
    m->tied = nib_read_bool(r, "tie_word_embeddings", false);
    nib_read_any(r, "rotary"); /* in published files; both are always so */
    nib_read_any(r, "scale_attn_weights");
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    if (!r->status && m->heads % PARTITIONS)
        nib_read_fail(r, NIB_E_FORMAT, "n_head is %zu, expected a multiple of %d", m->heads,
                      PARTITIONS);
    rotary = nib_read_size_or(r, "rotary_dim", 64);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .fixed = true, .rot = rotary,
                                                .interleaved = true, .head_dim = m->head_dim,
                                                .positions = m->positions });
    nib_read_any(r, "n_ctx"); /* an older name of n_positions, beside it */
}

static nib_value attend(nib_build *b, const codegen *m, int i, nib_value h)
{
    size_t d = m->head_dim, n = m->heads, part = m->width / PARTITIONS;
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d,
                                     .scale = 1 / sqrtf((float)d) };
    nib_heads quarter = { .head_stride = d, .per_group = n / PARTITIONS, .group_stride = 3 * part };

    nib_value qvk = nib_apply_linear(b, h, 3 * m->width, false,
                                     "transformer.h.%d.attn.qkv_proj", i);
    nib_value q = nib_heads_of(b, qvk, n, d, 0, quarter);
    nib_value v = nib_heads_of(b, qvk, n, d, part, quarter);
    nib_value k = nib_heads_of(b, qvk, n, d, 2 * part, quarter);
    q = nib_rotate(b, q, n, d, &m->rope);
    k = nib_rotate(b, k, n, d, &m->rope);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), m->width, false,
                            "transformer.h.%d.attn.out_proj", i);
}

static nib_value mlp(nib_build *b, const codegen *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, true, "transformer.h.%d.mlp.fc_in", i);
    return nib_apply_linear(b, nib_activate(b, h, m->activation), m->width, true,
                            "transformer.h.%d.mlp.fc_out", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const codegen *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "transformer.wte");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        nib_value h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_1", i);
        nib_value a = attend(b, m, i, h);
        x = nib_add(b, x, nib_add(b, a, mlp(b, m, i, h)));
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary, .bias = true,
                                    .tied_to = m->tied ? "transformer.wte" : NULL }, "lm_head");
}

static const char *const types[] = { "codegen", NULL };
static const char *const targets[] = { "qkv_proj", NULL };

const nib_arch nib_arch_codegen = { .model_types = types, .config_bytes = sizeof(codegen),
                                    .read = read_codegen, .prefix = "transformer.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets };
