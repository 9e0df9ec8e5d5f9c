/* arch_granite.c - Granite 3: llama with four factors: of the embedding, of the scores, of what a
 * layer adds to the stream, and of the logits (formats.md 10.38). */
#include <math.h>

#include "model/arch_granite.h"

static float read_factor(nib_reader *r, const char *key)
{
    double factor = nib_read_float_or(r, key, 1);

    if (!(factor > 0 && factor < 1e6))
        nib_read_fail(r, NIB_E_FORMAT, "%s is %g, expected above 0", key, factor);
    return (float)factor;
}

void nib_granite_read(nib_reader *r, void *config)
{
    nib_granite *g = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.no_null_head_dim = true;
    nib_llama_read_keys(r, &g->moe.m, &keys);
    g->moe.m.mlp_bias = nib_read_bool(r, "mlp_bias", false);
    g->embedding = read_factor(r, "embedding_multiplier");
    g->residual = read_factor(r, "residual_multiplier");
    g->logits = read_factor(r, "logits_scaling");
    g->moe.m.scale = read_factor(r, "attention_multiplier");
}

void nib_granite_stack(nib_build *b, const nib_granite *g, nib_llama_half *mix,
                       nib_llama_half *mlp)
{
    const nib_llama *m = &g->moe.m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    nib_set_positions(b, m->positions);
    x = nib_scale(b, x, g->embedding);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, nib_scale(b, mix(b, m, i, h), g->residual));
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.post_attention_layernorm", i);
        x = nib_add(b, x, nib_scale(b, mlp(b, m, i, h), g->residual));
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_set_logits(b, 1 / g->logits, 0);
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_granite_stack(b, config, nib_llama_attention, nib_llama_mlp);
}

static const char *const types[] = { "granite", NULL };
static const char *const targets[] = { NULL };

static const nib_gguf_key gguf_keys[] = { NIB_GRANITE_GGUF_KEYS, { 0 } };

/* Without its key llama.cpp scales scores by the width of a head. */
void nib_granite_gguf_finish(nib_gguf_config *c)
{
    double head = nib_gguf_get(c, "embedding_length", 1) /
                  nib_gguf_get(c, "attention.head_count", 1);

    nib_gguf_llama_finish(c);
    if (nib_gguf_get(c, "attention.scale", 0) == 0)
        nib_gguf_set(c, "attention_multiplier", json_real(1 / sqrt(head)));
}

static const nib_gguf_family gguf = {
    .architecture = "granite", .model_type = "granite", .class_name = "GraniteForCausalLM",
    .names = nib_gguf_llama_names, .keys = gguf_keys, .finish = nib_granite_gguf_finish,
};

const nib_arch nib_arch_granite = { .model_types = types, .config_bytes = sizeof(nib_granite),
                                    .read = nib_granite_read, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets,
                                    .gguf = &gguf };
