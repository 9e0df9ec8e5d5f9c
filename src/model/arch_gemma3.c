/* arch_gemma3.c - Gemma 3, its text part: Gemma 2's layer with norms of the heads of q and k
 * instead of capped scores, and a rope of its own for layers with a window (formats.md 10.33).
 * arXiv:2503.19786. */
#include "model/arch_gemma.h"

static void read_gemma3(nib_reader *r, void *config)
{
    nib_gemma *m = config;
    nib_rope_spec spec = { .theta = 1e6, .scaled = true, .layer_type = "full_attention" };

    nib_gemma_read(r, m, 262208, 131072);
    m->sliding = nib_read_sliding_pattern(r, m->layers,
                                          nib_read_size_or(r, "sliding_window_pattern", 6));
    nib_read_check_window(r, m->window, m->sliding, m->layers);
    nib_read_any(r, "_sliding_window_pattern"); /* the same, as the library saves it again */
    nib_read_any(r, "attn_logit_softcapping");  /* read by the reference, and never used */
    m->logit_cap = (float)nib_read_float_or_null(r, "final_logit_softcapping", 0, 0);
    if (r->config->wrapper) m->logit_cap = 0; /* the class with pictures does not know the key */
    m->head_norms = true;
    m->scaled_embedding = true;
    spec.rot = m->head_dim;
    spec.positions = m->positions;
    m->rope = nib_read_rope(r, spec);
    spec.theta = 10000;
    spec.theta_key = "rope_local_base_freq";
    spec.scaled = false;
    spec.layer_type = "sliding_attention";
    m->sliding_rope = nib_read_rope(r, spec);
}

static const char *const types[] = { "gemma3_text", NULL };
static const char *const targets[] = { "q_proj", "v_proj", NULL };

static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "attention.sliding_window", "sliding_window" },
    { "rope.freq_base_swa", "rope_local_base_freq" },
    { "final_logit_softcapping", "final_logit_softcapping" },
    { 0 },
};

static void gguf_finish(nib_gguf_config *c)
{
    if (nib_gguf_get(c, "attention.sliding_window", 0) == 0)
        nib_gguf_set(c, "sliding_window", json_null()); /* and not the default of the family */
    nib_gemma_gguf_scale(c, 62);
    nib_gguf_set_sliding(c);
}

static const nib_gguf_family gguf = {
    .architecture = "gemma3", .model_type = "gemma3_text", .class_name = "Gemma3ForCausalLM",
    .names = nib_gemma_gguf_names, .keys = gguf_keys, .finish = gguf_finish,
};

const nib_arch nib_arch_gemma3 = { .model_types = types, .config_bytes = sizeof(nib_gemma),
                                   .read = read_gemma3, .prefix = "model.",
                                   .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_gemma_build,
                                   .default_targets = targets,
                                   .gguf = &gguf };
