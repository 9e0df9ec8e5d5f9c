/* arch_qwen2.c - Qwen2 and Qwen2.5: llama's layer with biases on q, k and v, and a window
 * that only some layers use, if at all (formats.md 10.6).  arXiv:2407.10671. */
#include "model/arch_llama.h"

void nib_qwen_read_window(nib_reader *r, nib_llama *m)
{
    bool windowed = nib_read_bool(r, "use_sliding_window", false);
    const json_t *given = nib_read_any(r, "sliding_window");
    /* transformers 5 saves a qwen2_moe without windows with a window of 0 */
    bool zero = !windowed && json_is_integer(given) && json_integer_value(given) == 0;
    size_t window = zero ? 0 : nib_read_size_or_null(r, "sliding_window", 4096, 0);
    int64_t first = nib_read_int_or(r, "max_window_layers", 0, 1 << 20, 28);
    bool *sliding = nib_read_sliding_layers(r, m->layers);

    nib_read_check_window(r, windowed ? window : 0, sliding, m->layers);
    if (!windowed || !window || r->status) return;
    m->window = window;
    if (!sliding) {
        sliding = nib_read_alloc(r, m->layers, sizeof *sliding);
        for (size_t i = 0; sliding && i < m->layers; i++) sliding[i] = (int64_t)i >= first;
    }
    m->sliding = sliding;
}

static void read_qwen2(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.no_null_head_dim = true;
    keys.kv_heads = 32;
    nib_llama_read_keys(r, m, &keys);
    m->qkv_bias = true;
    m->o_bias = m->mlp_bias = false;
    nib_qwen_read_window(r, m);
}

static const char *const types[] = { "qwen2", NULL };

static const nib_gguf_family gguf = {
    .architecture = "qwen2", .model_type = "qwen2", .class_name = "Qwen2ForCausalLM",
    .names = nib_gguf_plain_names, .keys = nib_gguf_llama_keys,
};

const nib_arch nib_arch_qwen2 = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                  .read = read_qwen2, .prefix = "model.",
                                  .tasks = 1 << NIB_TASK_CAUSAL_LM | 1 << NIB_TASK_SEQ_CLS |
                                           1 << NIB_TASK_FEATURE_EXTRACTION,
                                  .other_heads = nib_llama_heads,
                                  .build = nib_llama_build,
                                  .default_targets = nib_llama_targets,
                                  .gguf = &gguf };
