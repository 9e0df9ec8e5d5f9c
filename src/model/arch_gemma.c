/* arch_gemma.c - Gemma: llama's layer with (1 + w) norms and a scaled embedding (formats.md 10.7).
 * arXiv:2403.08295. */
#include <math.h>

#include "model/arch_llama.h"

static void read_gemma(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;
    const json_t *activation = nib_read_any(r, "hidden_activation");

    keys.head_dim = 256;
    keys.inner = 24576;
    keys.positions = 8192;
    keys.tied = true;
    keys.no_null_head_dim = true;
    keys.kv_heads = 16;
    keys.no_null_kv_heads = true;
    keys.activation = "gelu_pytorch_tanh";
    nib_llama_read_keys(r, m, &keys);
    /* The older key says "gelu" in published files and is not followed by the reference. */
    m->activation = activation && !json_is_null(activation)
                        ? nib_read_activation(r, "hidden_activation", "gelu_pytorch_tanh")
                        : NIB_ACT_GELU_TANH;
    nib_read_must_be_off(r, "use_bidirectional_attention", "only causal attention is known");
}

static nib_value norm(nib_build *b, const nib_llama *m, nib_value x, const char *module, int i)
{
    return nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ONE_PLUS, m->eps, module, i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    x = nib_scale(b, x, nib_rounded_factor(b, sqrtf((float)m->width)));
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = norm(b, m, x, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, nib_llama_attend(b, m, i, &m->rope, h));
        h = norm(b, m, x, "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, nib_llama_mlp(b, m, i, h));
    }
    nib_segment(b);
    x = nib_apply_rms_norm_form(b, x, 1, NIB_RMS_ONE_PLUS, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "gemma", NULL };

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_ONE_PLUS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_MLP,
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_ONE_PLUS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_ONE_PLUS },
    { 0 },
};
static const nib_gguf_family gguf = {
    .architecture = "gemma", .model_type = "gemma", .class_name = "GemmaForCausalLM",
    .names = gguf_names, .keys = nib_gguf_llama_keys,
};

const nib_arch nib_arch_gemma = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = read_gemma, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                  .default_targets = nib_llama_targets,
                                  .gguf = &gguf };
