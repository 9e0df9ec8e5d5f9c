/* arch_falcon_h1.c - Falcon-H1: each layer is Mamba-2 beside attention, both of the same normed
 * rows, with factors nearly everywhere (formats.md 10.52). */
#include <math.h>

#include "model/arch_llama.h"
#include "model/mamba.h"

typedef struct falcon_h1 {
    nib_llama m; /* first: its functions are given it */
    nib_mamba mamba;
    float embedding, logits, attention_in, attention_out, mamba_in, mamba_out, gate, down;
} falcon_h1;

/* --- keys --- */

static float check_factor(nib_reader *r, const char *key, double factor)
{
    if (!(factor > 0 && factor < 1e6))
        nib_read_fail(r, NIB_E_FORMAT, "%s is %g, expected above 0", key, factor);
    return (float)factor;
}

static float read_factor(nib_reader *r, const char *key)
{
    return check_factor(r, key, nib_read_float_or_null(r, key, 1, 1));
}

/* A list of `count`; absent or null: all 1. */
static void read_factors(nib_reader *r, const char *key, size_t count, float *out)
{
    const json_t *list = nib_read_any(r, key);
    bool given = list && !json_is_null(list);

    if (given && json_array_size(list) != count)
        nib_read_fail(r, NIB_E_FORMAT, "%s has %zu entries, expected a list of %zu factors", key,
                      json_array_size(list), count);
    for (size_t i = 0; i < count; i++)
        out[i] = given ? check_factor(r, key, json_number_value(json_array_get(list, i))) : 1;
}

static void read_mamba(nib_reader *r, falcon_h1 *s)
{
    nib_mamba *m = &s->mamba;
    size_t width = s->m.width, wide = width * nib_read_size_or(r, "mamba_expand", 2);
    bool before = nib_read_bool(r, "mamba_norm_before_gate", true);

    nib_mamba_read(r, m, width, nib_read_size_or_null(r, "mamba_d_ssm", 1024, wide));
    m->out_bias = nib_read_bool(r, "projectors_bias", false);
    m->bypassed = true;
    m->eps = s->m.eps;
    m->norm = before ? NIB_MAMBA_NORM_GATE : NIB_MAMBA_GATE_NORM;
    if (!nib_read_bool(r, "mamba_rms_norm", false)) m->norm = NIB_MAMBA_GATE;
    m->scaled = true;
    read_factors(r, "ssm_multipliers", NIB_COUNT(m->factors), m->factors);
}

static void read_falcon_h1(nib_reader *r, void *config)
{
    falcon_h1 *s = config;
    nib_llama_keys keys = nib_llama_plain_keys;
    float mlp[2];

    keys.eps = 1e-5f;
    keys.theta = 1e5;
    keys.kv_heads = 8;
    keys.inner = 14336;
    keys.positions = 8192;
    keys.no_null_head_dim = true;
    nib_llama_read_keys(r, &s->m, &keys);
    s->m.mlp_bias = nib_read_bool(r, "mlp_bias", false);
    s->embedding = check_factor(r, "embedding_multiplier",
                                nib_read_float_or(r, "embedding_multiplier", 1));
    s->logits = check_factor(r, "lm_head_multiplier",
                             nib_read_float_or(r, "lm_head_multiplier", 1));
    /* That of the keys is one of the scores. */
    s->m.scale = read_factor(r, "key_multiplier") / sqrtf((float)nib_max(s->m.head_dim, 1));
    s->attention_in = read_factor(r, "attention_in_multiplier");
    s->attention_out = read_factor(r, "attention_out_multiplier");
    s->mamba_in = read_factor(r, "ssm_in_multiplier");
    s->mamba_out = read_factor(r, "ssm_out_multiplier");
    read_factors(r, "mlp_multipliers", NIB_COUNT(mlp), mlp);
    s->gate = mlp[0];
    s->down = mlp[1];
    nib_read_any(r, "num_logits_to_keep"); /* of generation */
    read_mamba(r, s);
}

/* --- layers --- */

static nib_value mix(nib_build *b, const falcon_h1 *s, int i, nib_value h)
{
    nib_value x = nib_apply_mamba(b, &s->mamba, i, nib_scale(b, h, s->mamba_in));
    nib_value a = nib_llama_attend(b, &s->m, i, &s->m.rope, nib_scale(b, h, s->attention_in));

    return nib_add(b, nib_scale(b, x, s->mamba_out), nib_scale(b, a, s->attention_out));
}

static nib_value feed_forward(nib_build *b, const falcon_h1 *s, int i, nib_value h)
{
    const nib_llama *m = &s->m;
    bool bias = m->mlp_bias;

    nib_value gate = nib_apply_linear(b, h, m->inner, bias,
                                      "model.layers.%d.feed_forward.gate_proj", i);
    nib_value up = nib_apply_linear(b, h, m->inner, bias,
                                    "model.layers.%d.feed_forward.up_proj", i);
    h = nib_gate(b, nib_scale(b, gate, s->gate), up, m->activation);
    h = nib_apply_linear(b, h, m->width, bias, "model.layers.%d.feed_forward.down_proj", i);
    return nib_scale(b, h, s->down);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const falcon_h1 *s = config;
    const nib_llama *m = &s->m;
    nib_value x = nib_embed(b, NIB_IDS, m->vocabulary, m->width, "model.embed_tokens"), h;

    (void)task;
    nib_set_positions(b, m->positions);
    x = nib_scale(b, x, s->embedding);
    for (int i = 0; i < (int)m->layers; i++) {
        nib_segment(b);
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.input_layernorm", i);
        x = nib_add(b, x, mix(b, s, i, h));
        h = nib_apply_rms_norm(b, x, m->eps, "model.layers.%d.pre_ff_layernorm", i);
        x = nib_add(b, x, feed_forward(b, s, i, h));
    }
    nib_segment(b);
    x = nib_apply_rms_norm(b, x, m->eps, "model.final_layernorm");
    nib_set_logits(b, s->logits, 0);
    nib_head(b, x, (nib_head_spec){ .rows = m->vocabulary,
                                    .tied_to = m->tied ? "model.embed_tokens" : NULL }, "lm_head");
}

/* --- GGUF --- */

#define LAYER "model.layers.%d."

static const nib_gguf_name gguf_names[] = {
    { "token_embd", "model.embed_tokens", NIB_GGUF_AS_IS },
    { "output_norm", "model.final_layernorm", NIB_GGUF_AS_IS },
    { "output", "lm_head", NIB_GGUF_AS_IS },
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_AS_IS, NIB_GGUF_AS_IS),
    { "attn_norm", LAYER "input_layernorm", NIB_GGUF_AS_IS },
    { "ffn_gate", LAYER "feed_forward.gate_proj", NIB_GGUF_AS_IS },
    { "ffn_up", LAYER "feed_forward.up_proj", NIB_GGUF_AS_IS },
    { "ffn_down", LAYER "feed_forward.down_proj", NIB_GGUF_AS_IS },
    { "ssm_in", LAYER "mamba.in_proj", NIB_GGUF_AS_IS },
    { "ssm_conv1d", LAYER "mamba.conv1d", NIB_GGUF_CONV },
    { "ssm_norm", LAYER "mamba.norm", NIB_GGUF_FLAT },
    { "ssm_out", LAYER "mamba.out_proj", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_whole gguf_tensors[] = {
    { "ffn_norm", NULL, LAYER "pre_ff_layernorm.weight", NIB_GGUF_AS_IS },
    { "ssm_a", NULL, LAYER "mamba.A_log", NIB_GGUF_DECAY },
    { "ssm_d", NULL, LAYER "mamba.D", NIB_GGUF_FLAT },
    { "ssm_dt.bias", NULL, LAYER "mamba.dt_bias", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GGUF_LLAMA_KEYS,
    { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "ssm.conv_kernel", "mamba_d_conv" }, { "ssm.state_size", "mamba_d_state" },
    { "ssm.group_count", "mamba_n_groups" }, { "ssm.time_step_rank", "mamba_n_heads" },
    { 0 },
};

/* Of a key that is a number, or entry i of a list; 1 where it is absent. */
static float factor_of(const json_t *config, const char *key, size_t i)
{
    const json_t *v = json_object_get(config, key);

    if (json_is_array(v)) v = json_array_get(v, i);
    return json_is_number(v) ? (float)json_number_value(v) : 1;
}

static const nib_scan_desc *scan_of(const nib_graph *g)
{
    size_t i = 0;

    while (!g->nodes[i].scan.heads) i++; /* every layer has one */
    return &g->nodes[i].scan;
}

/* In the order in which the converter multiplies. */
static void gguf_fold(const json_t *config, const nib_graph *g, const char *tensor,
                      nib_gguf_fold *out)
{
    static const struct { const char *tensor, *key; size_t entry; } whole[] = {
        { "token_embd.weight", "embedding_multiplier", 0 },
        { "output.weight", "lm_head_multiplier", 0 },
        { "attn_q.weight", "attention_in_multiplier", 0 },
        { "attn_k.weight", "key_multiplier", 0 },
        { "attn_v.weight", "attention_in_multiplier", 0 },
        { "attn_output.weight", "attention_out_multiplier", 0 },
        { "ssm_in.weight", "ssm_in_multiplier", 0 },
        { "ssm_out.weight", "ssm_out_multiplier", 0 },
        { "ffn_gate.weight", "mlp_multipliers", 0 }, { "ffn_down.weight", "mlp_multipliers", 1 },
    };
    const nib_scan_desc *s = scan_of(g);
    size_t inner = s->heads * s->columns, group = s->key_heads * s->rows;
    const size_t ends[5] = { inner, 2 * inner, 2 * inner + group, 2 * inner + 2 * group, SIZE_MAX };

    for (size_t i = 0; i < NIB_COUNT(whole); i++)
        if (strcmp(tensor, whole[i].tensor) == 0)
            out->all = factor_of(config, whole[i].key, whole[i].entry);
    if (strcmp(tensor, "attn_k.weight") == 0) {
        out->parts = 1;
        out->part[0].end = SIZE_MAX;
        out->part[0].by = factor_of(config, "attention_in_multiplier", 0);
    }
    if (strcmp(tensor, "ssm_in.weight") != 0) return;
    out->parts = NIB_COUNT(ends);
    for (size_t i = 0; i < NIB_COUNT(ends); i++) {
        out->part[i].end = ends[i];
        out->part[i].by = factor_of(config, "ssm_multipliers", i);
    }
}

static const char *const gguf_folded[] = {
    "embedding_multiplier", "lm_head_multiplier", "key_multiplier", "attention_in_multiplier",
    "attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier", "mlp_multipliers",
    "ssm_multipliers", NULL,
};

static void gguf_finish(nib_gguf_config *c)
{
    double inner = nib_gguf_get(c, "ssm.inner_size", 0);
    double heads = nib_gguf_get(c, "ssm.time_step_rank", 1);

    if (!(inner >= 1 && inner <= 0x1p31 && heads >= 1 && fmod(inner, heads) == 0)) {
        nib_gguf_fail(c, NIB_E_FORMAT, "ssm.inner_size is %g, expected a multiple of "
                      "ssm.time_step_rank, %g", inner, heads);
        return;
    }
    nib_gguf_set(c, "mamba_d_ssm", json_integer((json_int_t)inner));
    nib_gguf_set(c, "mamba_d_head", json_integer((json_int_t)(inner / heads)));
    nib_gguf_set_bias(c, "mamba_conv_bias", "blk.0.ssm_conv1d.bias");
    nib_gguf_set(c, "mamba_norm_before_gate", json_false());
    nib_gguf_set_bias(c, "mamba_rms_norm", "blk.0.ssm_norm.weight");
}

static const char *gguf_unsaid(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_linear *l = g->nodes[i].linear;
        if (l && l->bias && l != g->head) return "is written without biases of linears";
    }
    return NULL;
}

/* A head that is the embedding has another factor. */
static const nib_gguf_family gguf = {
    .architecture = "falcon-h1", .model_type = "falcon_h1", .class_name = "FalconH1ForCausalLM",
    .names = gguf_names, .tensors = gguf_tensors, .keys = gguf_keys, .finish = gguf_finish,
    .fold = gguf_fold, .folded = gguf_folded, .own_head = true, .unsaid = gguf_unsaid,
};

static const char *const types[] = { "falcon_h1", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none */

const nib_arch nib_arch_falcon_h1 = { .model_types = types, .config_bytes = sizeof(falcon_h1),
                                      .read = read_falcon_h1, .prefix = "model.",
                                      .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                      .default_targets = targets, .gguf = &gguf };
