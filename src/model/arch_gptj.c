/* arch_gptj.c - GPT-J: attention and MLP read the same norm and are added to the stream
 * together; interleaved rotation of the first channels (formats.md 10.9). */
#include <math.h>

#include "model/arch.h"

typedef struct gptj {
    size_t vocabulary, width, layers, heads, head_dim, inner, positions;
    bool tied;
    float eps;
    nib_activation activation;
    nib_rope rope;
} gptj;

static void read_gptj(nib_reader *r, void *config)
{
    gptj *m = config;
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
    rotary = nib_read_size_or(r, "rotary_dim", 64);
    m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .fixed = true, .rot = rotary,
                                                .interleaved = true, .head_dim = m->head_dim,
                                                .positions = m->positions });
}

static nib_value layer(nib_build *b, const gptj *m, int i, nib_value x)
{
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads,
                                     .head_dim = m->head_dim,
                                     .scale = 1 / sqrtf((float)m->head_dim) };
    nib_value h = nib_apply_layer_norm(b, x, m->eps, "transformer.h.%d.ln_1", i);
    nib_value q = nib_apply_linear(b, h, m->width, false, "transformer.h.%d.attn.q_proj", i);
    nib_value k = nib_apply_linear(b, h, m->width, false, "transformer.h.%d.attn.k_proj", i);
    nib_value v = nib_apply_linear(b, h, m->width, false, "transformer.h.%d.attn.v_proj", i);
    q = nib_rotate(b, q, m->heads, m->head_dim, &m->rope);
    k = nib_rotate(b, k, m->heads, m->head_dim, &m->rope);
    nib_value a = nib_attend(b, q, k, v, &attention);
    a = nib_apply_linear(b, a, m->width, false, "transformer.h.%d.attn.out_proj", i);
    nib_value f = nib_apply_linear(b, h, m->inner, true, "transformer.h.%d.mlp.fc_in", i);
    f = nib_activate(b, f, m->activation);
    f = nib_apply_linear(b, f, m->width, true, "transformer.h.%d.mlp.fc_out", i);
    return nib_add(b, x, nib_add(b, a, f));
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const gptj *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "transformer.wte");

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->eps, "transformer.ln_f");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary, .bias = true,
                                    .tied_to = m->tied ? "transformer.wte" : NULL }, "lm_head");
}

static const char *const types[] = { "gptj", NULL };
static const char *const targets[] = { "q_proj", "v_proj", NULL };

const nib_arch nib_arch_gptj = { .model_types = types, .config_bytes = sizeof(gptj),
                                 .read = read_gptj, .prefix = "transformer.",
                                 .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                 .default_targets = targets };
