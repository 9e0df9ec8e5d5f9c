/* arch_granitemoehybrid.c - Granite 4: granite's factors around layers of Mamba-2, some of
 * attention with a rotation or without; behind each a shared MLP and, unless there are none,
 * experts (formats.md 10.50). */
#include <math.h>
#include <stdio.h>

#include "model/arch_granite.h"
#include "model/mamba.h"
#include "model/reader_layers.h"

typedef struct hybrid {
    nib_granite g;        /* first: its functions are given it */
    const uint8_t *kinds; /* [layers] odd: attention; NULL: none is */
    nib_mamba mamba;
    bool rotated, dense;
} hybrid;

static void read_kinds(nib_reader *r, hybrid *s)
{
    static const char *const known[] = { "mamba", "attention", "linear_attention",
                                         "full_attention", NULL };
    const char *key = nib_read_either(r, "layers_block_type", "layer_types");

    s->kinds = nib_read_layer_kinds(r, key, s->g.moe.m.layers, known);
    nib_read_any(r, "layer_types"); /* written beside the other by the class */
}

static void read_positions(nib_reader *r, hybrid *s)
{
    const json_t *positions = nib_read_any(r, "position_embedding_type");
    const char *type = json_string_value(positions);

    s->rotated = type && strcmp(type, "rope") == 0;
    if (positions && !json_is_null(positions) && !s->rotated && !(type && !strcmp(type, "nope")))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "position_embedding_type is '%s', known are rope, nope and null",
                      type ? type : "not a text");
}

static void read_experts(nib_reader *r, hybrid *s)
{
    nib_moe *m = &s->g.moe;
    const json_t *count = nib_read_any(r, "num_local_experts");

    m->inner = m->m.inner;
    m->shared = nib_read_size_or(r, "shared_intermediate_size", 1024);
    s->dense = json_is_integer(count) && json_integer_value(count) == 0;
    if (s->dense) {
        nib_read_any(r, "num_experts_per_tok");
        nib_read_any(r, "router_aux_loss_coef");
        nib_read_bool(r, "output_router_logits", false); /* there are no routers */
        return;
    }
    nib_read_route(r, &m->route, 8, 2);
    m->route.scores = NIB_ROUTE_CHOSEN;
}

static void read_hybrid(nib_reader *r, void *config)
{
    hybrid *s = config;
    const nib_llama *m = &s->g.moe.m;

    nib_granite_read(r, &s->g);
    read_kinds(r, s);
    read_positions(r, s);
    read_experts(r, s);
    nib_mamba_read(r, &s->mamba, m->width, m->width * nib_read_size_or(r, "mamba_expand", 2));
    s->mamba.eps = m->eps;
    if (s->mamba.scan.key_heads > 1)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "mamba_n_groups is %zu, known is 1: the versions of "
                      "transformers norm groups in different ways", s->mamba.scan.key_heads);
}

/* --- layers --- */

static nib_value mix(nib_build *b, const nib_llama *m, int i, nib_value h)
{
    const hybrid *s = (const hybrid *)m;

    if (!s->kinds || s->kinds[i] % 2 == 0) return nib_apply_mamba(b, &s->mamba, i, h);
    return nib_llama_attend(b, m, i, s->rotated ? &m->rope : NULL, h);
}

static nib_value shared(nib_build *b, const nib_moe *m, int i, nib_value h)
{
    nib_value both = nib_apply_linear(b, h, 2 * m->shared, false,
                                      "model.layers.%d.shared_mlp.input_linear", i);

    h = nib_gate(b, nib_columns_of(b, both, 0, m->shared),
                 nib_columns_of(b, both, m->shared, m->shared), m->m.activation);
    return nib_apply_linear(b, h, m->m.width, false, "model.layers.%d.shared_mlp.output_linear",
                            i);
}

static nib_value feed_forward(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    const hybrid *s = (const hybrid *)llama;
    nib_value y = shared(b, &s->g.moe, i, h);

    return s->dense ? y : nib_add(b, nib_granite_experts(b, llama, i, h), y);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_granite_stack(b, config, mix, feed_forward);
}

#define LAYER "model.layers.%d."

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_Q_ROWS, NIB_GGUF_K_ROWS),
    { "attn_norm", LAYER "input_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", LAYER "post_attention_layernorm", NIB_GGUF_AS_IS },
    { "ssm_in", LAYER "mamba.in_proj", NIB_GGUF_AS_IS },
    { "ssm_conv1d", LAYER "mamba.conv1d", NIB_GGUF_CONV },
    { "ssm_norm", LAYER "mamba.norm", NIB_GGUF_FLAT },
    { "ssm_out", LAYER "mamba.out_proj", NIB_GGUF_AS_IS },
    { "ffn_gate_inp", LAYER "block_sparse_moe.router.layer", NIB_GGUF_AS_IS },
    { "ffn_down_exps", LAYER "block_sparse_moe.output_linear", NIB_GGUF_AS_IS },
    { 0 },
};
/* Without experts the shared MLP is a layer's only one. */
#define MAMBA_TENSORS                                                                              \
    { "ssm_a", NULL, LAYER "mamba.A_log", NIB_GGUF_DECAY },                                        \
    { "ssm_d", NULL, LAYER "mamba.D", NIB_GGUF_FLAT },                                             \
    { "ssm_dt.bias", NULL, LAYER "mamba.dt_bias", NIB_GGUF_AS_IS }
#define EXPERT_TENSORS                                                                             \
    { "ffn_gate_shexp.weight", "ffn_up_shexp.weight", LAYER "shared_mlp.input_linear.weight",      \
      NIB_GGUF_AS_IS },                                                                            \
    { "ffn_down_shexp.weight", NULL, LAYER "shared_mlp.output_linear.weight", NIB_GGUF_AS_IS },    \
    { "ffn_gate_exps.weight", "ffn_up_exps.weight",                                                \
      LAYER "block_sparse_moe.input_linear.weight", NIB_GGUF_AS_IS }
#define DENSE_TENSORS                                                                              \
    { "ffn_gate.weight", "ffn_up.weight", LAYER "shared_mlp.input_linear.weight",                  \
      NIB_GGUF_AS_IS },                                                                            \
    { "ffn_down.weight", NULL, LAYER "shared_mlp.output_linear.weight", NIB_GGUF_AS_IS }

static const nib_gguf_whole gguf_tensors[] = { MAMBA_TENSORS, EXPERT_TENSORS, DENSE_TENSORS,
                                               { 0 } };
static const nib_gguf_whole dense_tensors[] = { MAMBA_TENSORS, DENSE_TENSORS, { 0 } };

static const nib_gguf_whole *gguf_choose(const nib_graph *g)
{
    return nib_gguf_experts(g) ? gguf_tensors : dense_tensors; /* the first that fits is taken */
}

static const nib_gguf_key gguf_keys[] = {
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },
    { "block_count", "num_hidden_layers" }, { "attention.head_count", "num_attention_heads" },
    { "rope.freq_base", "rope_theta" }, { "attention.key_length", "head_dim" },
    { "attention.layer_norm_rms_epsilon", "rms_norm_eps" },
    { "embedding_scale", "embedding_multiplier" }, { "residual_scale", "residual_multiplier" },
    { "logit_scale", "logits_scaling" }, { "attention.scale", "attention_multiplier" },
    { "expert_count", "num_local_experts" }, { "expert_used_count", "num_experts_per_tok" },
    { "expert_shared_feed_forward_length", "shared_intermediate_size" },
    { "ssm.conv_kernel", "mamba_d_conv" }, { "ssm.state_size", "mamba_d_state" },
    { "ssm.group_count", "mamba_n_groups" }, { "ssm.time_step_rank", "mamba_n_heads" },
    { 0 },
};

/* Does any layer have the tensor ("ssm_in.bias")? */
static bool any_has(const nib_gguf_config *c, double layers, const char *tensor)
{
    char name[100];

    for (int i = 0; i < layers && i < 10000; i++) {
        snprintf(name, sizeof name, "blk.%d.%s", i, tensor);
        if (nib_gguf_has(c, name)) return true;
    }
    return false;
}

static void set_mamba(nib_gguf_config *c)
{
    double inner = nib_gguf_get(c, "ssm.inner_size", 0);
    double width = nib_gguf_get(c, "embedding_length", 1);
    double heads = nib_gguf_get(c, "ssm.time_step_rank", 1);

    if (!(inner >= 1 && inner <= 0x1p31 && width >= 1 && heads >= 1 &&
          fmod(inner, width) == 0 && fmod(inner, heads) == 0)) {
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "ssm.inner_size is %g, known are multiples of "
                      "embedding_length, %g, and of ssm.time_step_rank, %g", inner, width, heads);
        return;
    }
    nib_gguf_set(c, "mamba_expand", json_integer((json_int_t)(inner / width)));
    nib_gguf_set(c, "mamba_d_head", json_integer((json_int_t)(inner / heads)));
}

/* Without the key (Bamba's) attention is not rotated. */
static void gguf_finish(nib_gguf_config *c)
{
    double layers = nib_gguf_get(c, "block_count", 0);
    double inner = nib_gguf_get(c, "feed_forward_length", 0);
    bool experts = nib_gguf_get(c, "expert_count", 0) > 0;
    bool rotated = nib_gguf_get(c, "rope.scaling.finetuned", 0) != 0;

    nib_granite_gguf_finish(c);
    nib_gguf_set_mixed(c, "attention", "mamba");
    set_mamba(c);
    nib_gguf_set(c, "position_embedding_type", json_string(rotated ? "rope" : "nope"));
    nib_gguf_set(c, "mamba_conv_bias", json_boolean(any_has(c, layers, "ssm_conv1d.bias")));
    nib_gguf_set(c, "mamba_proj_bias", json_boolean(any_has(c, layers, "ssm_in.bias")));
    nib_gguf_set(c, "intermediate_size", json_integer((json_int_t)inner));
    if (experts) return;
    nib_gguf_set(c, "num_local_experts", json_integer(0));
    nib_gguf_set(c, "num_experts_per_tok", json_integer(0));
    nib_gguf_set(c, "shared_intermediate_size", json_integer((json_int_t)inner));
}

static const char *gguf_unsaid(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_linear *l = g->nodes[i].linear;
        if (l && l->bias && strstr(l->name, ".mamba.")) return "has no biases in Mamba's linears";
    }
    return NULL;
}

static const nib_gguf_family gguf = {
    .architecture = "granitehybrid", .model_type = "granitemoehybrid",
    .class_name = "GraniteMoeHybridForCausalLM", .names = gguf_names, .tensors = gguf_tensors,
    .choose = gguf_choose, .keys = gguf_keys, .finish = gguf_finish, .unsaid = gguf_unsaid,
};

static const char *const types[] = { "granitemoehybrid", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none */

const nib_arch nib_arch_granitemoehybrid = { .model_types = types, .config_bytes = sizeof(hybrid),
                                             .read = read_hybrid, .prefix = "model.",
                                             .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                             .default_targets = targets, .gguf = &gguf };
