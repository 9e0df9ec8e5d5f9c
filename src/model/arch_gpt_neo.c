/* arch_gpt_neo.c - GPT-Neo: learned positions, scores that are not scaled, a window in some layers
 * (formats.md 10.11).  Black et al. 2021, doi:10.5281/zenodo.5297715. */
#include "model/arch_gpt2.h"

typedef struct neo {
    nib_gpt2 m;
    size_t window;
    bool *local; /* [layers] */
} neo;

static void set_local(nib_reader *r, neo *m, size_t i, const json_t *type)
{
    const char *name = json_string_value(type);

    m->local[i] = name && strcmp(name, "local") == 0;
    if (!name || (!m->local[i] && strcmp(name, "global") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "attention of layer %zu is '%s', known are global, local",
                      i, name ? name : "not a text");
}

/* Lists of kinds, each with how often it is repeated; absent, the class's own: global and local,
 * 12 times. */
static void read_types(nib_reader *r, neo *m)
{
    const json_t *types = nib_read_any(r, "attention_types");
    size_t named = types ? 0 : 24;

    for (size_t i = 0; !types && i < m->m.layers; i++) m->local[i] = i % 2;
    for (size_t k = 0; k < json_array_size(types) && !r->status; k++) {
        const json_t *kinds = json_array_get(json_array_get(types, k), 0);
        json_int_t times = json_integer_value(json_array_get(json_array_get(types, k), 1));
        for (json_int_t t = 0; t < times && json_array_size(kinds) && named <= m->m.layers; t++)
            for (size_t j = 0; j < json_array_size(kinds) && named <= m->m.layers; j++, named++)
                if (named < m->m.layers) set_local(r, m, named, json_array_get(kinds, j));
    }
    if (named != m->m.layers)
        nib_read_fail(r, NIB_E_FORMAT, "attention_types names %s%zu layers, expected %zu",
                      named > m->m.layers && types ? "more than " : "",
                      named > m->m.layers && types ? m->m.layers : named, m->m.layers);
}

/* attention_types, and attention_layers over it. */
static void read_pattern(nib_reader *r, neo *m)
{
    const json_t *layers = nib_read_any(r, "attention_layers");

    m->local = nib_read_alloc(r, m->m.layers, sizeof *m->local);
    if (m->local) read_types(r, m);
    if (!layers || r->status) return;
    if (json_array_size(layers) != m->m.layers)
        nib_read_fail(r, NIB_E_FORMAT, "attention_layers has %zu entries, expected a list of %zu",
                      json_array_size(layers), m->m.layers);
    for (size_t i = 0; i < m->m.layers && !r->status; i++)
        set_local(r, m, i, json_array_get(layers, i));
}

static void read_neo(nib_reader *r, void *config)
{
    neo *own = config;
    nib_gpt2 *m = &own->m;

    m->vocabulary = nib_read_size_or(r, "vocab_size", 50257);
    m->width = nib_read_size(r, "hidden_size");
    m->layers = nib_read_layers(r, "num_layers");
    m->heads = nib_read_size(r, "num_heads");
    m->inner = nib_read_size_or_null(r, "intermediate_size", 4 * m->width, 4 * m->width);
    m->positions = nib_read_size_or(r, "max_position_embeddings", 2048);
    own->window = nib_read_size_or(r, "window_size", 256);
    m->eps = nib_read_eps(r, "layer_norm_epsilon", 1e-5f);
    m->activation = nib_read_activation(r, "activation_function", "gelu_new");
    m->tied = nib_read_bool(r, "tie_word_embeddings", true);
    m->head_dim = nib_read_head_dim(r, m->width, m->heads);
    nib_read_check_heads(r, m->heads, m->heads, m->head_dim);
    read_pattern(r, own);
    nib_read_any(r, "classifier_dropout");
}

static nib_value attend(nib_build *b, const nib_gpt2 *m, int i, nib_value h)
{
    const neo *own = (const neo *)m;
    nib_attention_desc attention = { .heads = m->heads, .kv_heads = m->heads,
                                     .head_dim = m->head_dim, .scale = 1,
                                     .window = own->local[i] ? own->window : 0 };
    size_t w = m->width;

    nib_value q = nib_apply_linear(b, h, w, false, "transformer.h.%d.attn.attention.q_proj", i);
    nib_value k = nib_apply_linear(b, h, w, false, "transformer.h.%d.attn.attention.k_proj", i);
    nib_value v = nib_apply_linear(b, h, w, false, "transformer.h.%d.attn.attention.v_proj", i);
    return nib_apply_linear(b, nib_attend(b, q, k, v, &attention), w, true,
                            "transformer.h.%d.attn.attention.out_proj", i);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_gpt2_stack(b, config, attend, nib_gpt2_linear_mlp);
}

static const char *const types[] = { "gpt_neo", NULL };
static const char *const targets[] = { "q_proj", "v_proj", NULL };

const nib_arch nib_arch_gpt_neo = { .model_types = types, .config_bytes = sizeof(neo),
                                    .read = read_neo, .prefix = "transformer.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                    .default_targets = targets };
