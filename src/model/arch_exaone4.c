/* arch_exaone4.c - EXAONE 4: norms after each half of a layer and none before, as OLMo 2, norms of
 * the heads of q and k, and where some layers have a window only these rotate (formats.md 10.66).
 * arXiv:2507.11407. */
#include "model/arch_llama.h"

static void read_exaone4(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;
    size_t period = nib_read_size_or_null(r, "sliding_window_pattern", 4, 0);

    keys.kv_heads = 32;
    keys.no_null_kv_heads = true;
    keys.eps = 1e-5f;
    keys.inner = 16384;
    nib_llama_read_keys(r, m, &keys);
    m->head_norm = nib_qwen3_norm_heads;
    m->qkv_bias = m->o_bias = false;
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->sliding = nib_read_sliding_layers(r, m->layers);
    if (!m->sliding && m->window && !period)
        nib_read_fail(r, NIB_E_FORMAT,
                      "sliding_window is %zu, but neither layer_types nor a "
                      "sliding_window_pattern says in which layers", m->window);
    if (!m->sliding && m->window && period)
        m->sliding = nib_read_sliding_pattern(r, m->layers, period);
    if (m->sliding) nib_read_check_window(r, m->window, m->sliding, m->layers);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const nib_llama *m = config;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    for (int i = 0; i < (int)m->layers; i++) {
        const nib_rope *rope = m->window && !nib_llama_window(m, i) ? NULL : &m->rope;
        nib_segment(b);
        h = nib_llama_attend(b, m, i, rope, x);
        x = nib_add(b, x, nib_apply_rms_norm(b, h, m->eps,
                                             "model.layers.%d.post_attention_layernorm", i));
        h = nib_llama_mlp(b, m, i, x);
        x = nib_add(b, x, nib_apply_rms_norm(b, h, m->eps,
                                             "model.layers.%d.post_feedforward_layernorm", i));
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.norm");
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

static const char *const types[] = { "exaone4", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_exaone4 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_exaone4, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets };
