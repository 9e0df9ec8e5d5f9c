/* arch_open_llama.c - the class of that name (s-JoL/Open-Llama): llama's layer, a layer norm behind
 * the embedding, and the embedding as head (formats.md 10.56).  openlm-research's open_llama
 * is a llama. */
#include "model/arch_llama.h"

typedef struct open_llama {
    nib_llama m;
    bool stable; /* the embedding is normed */
} open_llama;

static const float EMBEDDING_EPS = 1e-5f; /* no key has it */

static void read_open_llama(nib_reader *r, void *config)
{
    open_llama *o = config;
    nib_llama *m = &o->m;

    nib_llama_read_keys(r, m, &nib_llama_plain_keys);
    m->tied |= nib_read_bool(r, "shared_input_output_embedding", true);
    o->stable = nib_read_bool(r, "use_stable_embedding", true);
    nib_read_any(r, "use_memorry_efficient_attention"); /* so spelled; another way to the same */
    nib_read_any(r, "use_memory_efficient_attention");
    nib_read_any(r, "hidden_dropout_prob"); /* training from scratch only */
    nib_read_any(r, "attention_dropout_prob");
    m->qkv_bias = m->o_bias = false;
    if (!r->status && (m->kv_heads != m->heads || m->head_dim * m->heads != m->width))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "%zu key/value heads of %zu channels, this class has %zu heads of %zu",
                      m->kv_heads, m->head_dim, m->heads, m->width / m->heads);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const open_llama *o = config;
    const nib_llama *m = &o->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens");

    (void)task;
    nib_set_positions(b, m->positions);
    if (o->stable) x = nib_apply_layer_norm(b, x, EMBEDDING_EPS, "model.embed_layer_norm");
    nib_llama_layers(b, m, nib_llama_attention, nib_llama_mlp, x);
}

static const char *const types[] = { "open-llama", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_open_llama = { .model_types = types, .config_bytes = sizeof(open_llama),
                                       .read = read_open_llama, .prefix = "model.",
                                       .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                       .default_targets = targets };
