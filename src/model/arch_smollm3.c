/* arch_smollm3.c - SmolLM3: llama's layer, without rotation in every fourth (formats.md 10.36). */
#include "model/arch_llama.h"

typedef struct smollm3 {
    nib_llama m;
    bool *rotates; /* [layers] */
} smollm3;

/* no_rope_layers: 1 where a layer does rotate, in spite of the name. */
static void read_rotation(nib_reader *r, smollm3 *s)
{
    const json_t *list = nib_read_any(r, "no_rope_layers");
    size_t interval = nib_read_size_or(r, "no_rope_layer_interval", 4), layers = s->m.layers;

    s->rotates = nib_read_alloc(r, layers, sizeof *s->rotates);
    if (!s->rotates) return;
    if (list && !json_is_null(list) && json_array_size(list) != layers)
        nib_read_fail(r, NIB_E_FORMAT, "no_rope_layers has %zu entries, expected %zu",
                      json_array_size(list), layers);
    for (size_t i = 0; i < layers; i++) {
        const json_t *item = json_array_get(list, i);
        s->rotates[i] = item ? json_integer_value(item) != 0 : (i + 1) % interval != 0;
    }
}

static void read_smollm3(nib_reader *r, void *config)
{
    smollm3 *s = config;
    nib_llama *m = &s->m;
    nib_llama_keys keys = nib_llama_plain_keys;
    bool windowed = nib_read_bool(r, "use_sliding_window", false), *sliding;

    keys.theta = 2e6;
    keys.tied = true;
    keys.no_null_head_dim = true;
    keys.kv_heads = 4;
    keys.positions = 32768;
    nib_llama_read_keys(r, m, &keys);
    m->mlp_bias = nib_read_bool(r, "mlp_bias", false);
    read_rotation(r, s);
    m->window = nib_read_size_or_null(r, "sliding_window", 0, 0);
    sliding = nib_read_sliding_layers(r, m->layers);
    if (!windowed) m->window = 0;
    nib_read_check_window(r, m->window, sliding, m->layers);
    if (!sliding && m->window) {
        sliding = nib_read_alloc(r, m->layers, sizeof *sliding);
        for (size_t i = 0; sliding && i < m->layers; i++) sliding[i] = !s->rotates[i];
    }
    m->sliding = sliding;
}

static nib_value attend(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    const smollm3 *s = (const smollm3 *)m;
    return nib_llama_attend(b, m, i, s->rotates[i] ? &m->rope : NULL, h);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_llama_stack(b, config, attend);
}

static const char *const types[] = { "smollm3", NULL };
static const char *const targets[] = { NULL };

static const nib_gguf_family gguf = {
    .architecture = "smollm3", .model_type = "smollm3", .class_name = "SmolLM3ForCausalLM",
    .names = nib_gguf_llama_names, .keys = nib_gguf_llama_keys, .finish = nib_gguf_llama_finish,
};

const nib_arch nib_arch_smollm3 = { .model_types = types, .config_bytes = sizeof(smollm3),
                                    .read = read_smollm3, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets,
                                    .gguf = &gguf };
