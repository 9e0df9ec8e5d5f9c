/* arch_mistral.c - Mistral: llama's layer with a sliding window (formats.md 10.5); Ministral 3:
 * with queries that grow with the position (10.43).  Jiang et al. 2023, arXiv:2310.06825. */
#include "model/arch_llama.h"

static void read_mistral(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.kv_heads = 8;
    nib_llama_read_keys(r, m, &keys);
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->qkv_bias = m->o_bias = m->mlp_bias = false;
}

/* The scale of the queries stands among the keys of the rope, whose growth it is here. */
static void read_ministral3(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;
    const json_t *parameters = nib_read_any(r, "rope_parameters");

    if (!json_is_object(parameters) || !json_object_get(parameters, "llama_4_scaling_beta"))
        nib_read_fail(r, NIB_E_FORMAT,
                      "rope_parameters is missing or has no llama_4_scaling_beta (0: none)");
    keys.head_dim = 128;
    keys.eps = 1e-5f;
    keys.inner = 14336;
    keys.positions = 262144;
    keys.theta = 1e6;
    keys.grows = true;
    nib_llama_read_keys(r, m, &keys);
    m->window = nib_read_size_or_null(r, "sliding_window", 0, 0);
    m->qkv_bias = m->o_bias = false;
    m->q_rope = m->rope;
    m->rope.growth_every = 0;
    if (m->q_rope.growth_every && m->rope.rot != m->head_dim)
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "llama_4_scaling_beta with %zu of %zu channels rotated is not known",
                      m->rope.rot, m->head_dim);
}

/* Mistral's with a window in the layers that layer_types names; without it in all. */
static void read_ministral(nib_reader *r, void *config)
{
    nib_llama *m = config;
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.kv_heads = 8;
    keys.inner = 14336;
    keys.positions = 131072;
    keys.no_null_head_dim = true;
    if (!nib_read_has(r, "head_dim")) /* the class has no default that works */
        nib_read_fail(r, NIB_E_FORMAT, "head_dim is missing");
    nib_llama_read_keys(r, m, &keys);
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->sliding = nib_read_sliding_layers(r, m->layers);
    if (m->sliding) nib_read_check_window(r, m->window, m->sliding, m->layers);
    m->qkv_bias = m->o_bias = m->mlp_bias = false;
}

/* llama there, and llama when it is read back: a window of all layers is lost. */
static const nib_gguf_family gguf = {
    .architecture = "llama", .model_type = "mistral", .class_name = "MistralForCausalLM",
    .names = nib_gguf_llama_names, .keys = nib_gguf_llama_keys,
};

static const nib_gguf_key gguf_keys3[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { 0 },
};

/* In rope_parameters. */
static const nib_gguf_key gguf_rope3[] = {
    { "attention.temperature_scale", "llama_4_scaling_beta" },
    { "rope.scaling.yarn_log_multiplier", "mscale_all_dim" },
};

/* The whole rope is in that one object.  Of the two mscales the file has one, and llama.cpp takes 1
 * for the other. */
static void gguf_finish3(nib_gguf_config *c)
{
    json_t *config = c->json, *rope = json_incref(json_object_get(config, "rope_scaling"));
    double theta = json_number_value(json_object_get(config, "rope_theta"));

    if (!rope) rope = json_pack("{s:s}", "rope_type", "default");
    if (!rope) {
        nib_gguf_fail(c, NIB_E_NOMEM, "out of memory");
        return;
    }
    json_object_del(config, "rope_scaling");
    json_object_del(config, "rope_theta");
    json_object_del(rope, "attention_factor"); /* llama.cpp takes no notice of it */
    if (nib_gguf_get(c, "rope.scaling.attn_factor", 1) != 1)
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "rope.scaling.attn_factor is not 1, beside mscales");
    c->json = rope; /* keys of the object inside */
    nib_gguf_set(c, "llama_4_scaling_beta", json_integer(0));
    nib_gguf_set(c, "rope_theta", json_real(theta));
    /* of the growth with the position, whatever the scaling is */
    nib_gguf_copy(c, nib_gguf_key_value(c, "rope.scaling.original_context_length"),
                  "original_max_position_embeddings");
    for (size_t i = 0; i < NIB_COUNT(gguf_rope3); i++)
        nib_gguf_copy(c, nib_gguf_key_value(c, gguf_rope3[i].gguf), gguf_rope3[i].config);
    if (json_object_get(rope, "mscale_all_dim")) nib_gguf_set(c, "mscale", json_integer(1));
    c->json = config;
    nib_gguf_set(c, "rope_parameters", rope);
}

static void gguf_put3(const nib_gguf_put *p)
{
    const json_t *rope = json_object_get(p->config, "rope_parameters");
    const json_t *mscale = json_object_get(rope, "mscale");

    for (size_t i = 0; i < NIB_COUNT(gguf_rope3); i++) {
        const json_t *v = json_object_get(rope, gguf_rope3[i].config);
        if (json_is_number(v))
            nib_gguf_put_own(p, gguf_rope3[i].gguf, NIB_GGUF_F32, json_number_value(v));
    }
    if (json_is_number(json_object_get(rope, "attention_factor")) ||
        (json_is_number(mscale) && json_number_value(mscale) != 1))
        *p->unsaid = "knows neither attention_factor nor an mscale other than 1";
}

static const char *gguf_unsaid3(const nib_graph *g)
{
    const nib_attention_desc *a = nib_gguf_attention(g);

    for (size_t i = 0; a && i < g->node_count; i++)
        if (g->nodes[i].rope && g->nodes[i].rope->rot != a->head_dim)
            return "rotates all channels of a head";
    return NULL;
}

static const nib_gguf_family gguf3 = {
    .architecture = "mistral3", .model_type = "ministral3", .class_name = "Ministral3ForCausalLM",
    .names = nib_gguf_llama_names, .keys = gguf_keys3, .finish = gguf_finish3, .put = gguf_put3,
    .unsaid = gguf_unsaid3, .mscales = true,
};

static const char *const types[] = { "mistral", NULL }, *const types3[] = { "ministral3", NULL };
static const char *const types1[] = { "ministral", NULL };
static const char *const no_targets[] = { NULL };

const nib_arch nib_arch_mistral = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_mistral, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM | 1 << NIB_TASK_SEQ_CLS |
                                             1 << NIB_TASK_FEATURE_EXTRACTION,
                                    .other_heads = nib_llama_heads,
                                    .build = nib_llama_build,
                                    .default_targets = nib_llama_targets, .gguf = &gguf };
const nib_arch nib_arch_ministral = { .model_types = types1, .config_bytes = sizeof(nib_llama),
                                      .read = read_ministral, .prefix = "model.",
                                      .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                      .default_targets = no_targets };
const nib_arch nib_arch_ministral3 = { .model_types = types3, .config_bytes = sizeof(nib_llama),
                                       .read = read_ministral3, .prefix = "model.",
                                       .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                       .default_targets = no_targets, .gguf = &gguf3 };
