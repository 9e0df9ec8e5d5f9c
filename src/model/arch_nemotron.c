/* arch_nemotron.c - Nemotron 3 and 4, Minitron: llama's layer with layer norms that multiply by
 * 1 + weight, half of each head rotated, and squared ReLU without a gate (formats.md 10.69).
 * arXiv:2402.16819. */
#include "model/arch_llama.h"

static void read_nemotron(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    if (nib_read_has(r, "rope_scaling") && !json_is_null(nib_read_any(r, "rope_scaling")))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "rope_scaling is set: transformers 4 ignores it in this class and 5 obeys "
                      "it; take it out, or give rope_parameters, which 5 alone reads");
    keys.eps_key = "norm_eps";
    keys.eps = 1e-5f;
    keys.activation = "relu2";
    keys.partial = 0.5;
    keys.inner = 24576;
    keys.positions = 4096;
    nib_llama_read_keys(r, m, &keys);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
}

static nib_value mlp(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    h = nib_apply_linear(b, h, m->inner, m->mlp_bias, "model.layers.%d.mlp.up_proj", i);
    h = nib_activate(b, h, m->activation);
    return nib_apply_linear(b, h, m->width, m->mlp_bias, "model.layers.%d.mlp.down_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_layer_norm_one_plus(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, nib_llama_attention(b, m, i, h));
        h = nib_apply_layer_norm_one_plus(b, x, m->eps,
                                          "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_layer_norm_one_plus(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "nemotron", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_nemotron = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                     .read = read_nemotron, .prefix = "model.",
                                     .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                     .default_targets = targets };
