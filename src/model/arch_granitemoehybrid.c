/* arch_granitemoehybrid.c - Granite 4: granite's factors around layers of Mamba-2, some of
 * attention with a rotation or without; behind each a shared MLP and, unless there are none,
 * experts (formats.md 10.50). */
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

static const char *const types[] = { "granitemoehybrid", NULL };
static const char *const targets[] = { NULL }; /* PEFT has none */

const nib_arch nib_arch_granitemoehybrid = { .model_types = types, .config_bytes = sizeof(hybrid),
                                             .read = read_hybrid, .prefix = "model.",
                                             .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                             .default_targets = targets };
