/* arch_granitemoe.c - Granite 3 with experts: those of a layer are two tensors, gate and up in one
 * (formats.md 10.50, its experts; 10.38, its factors). */
#include "model/arch_granite.h"

static void read_granitemoe(nib_reader *r, void *config)
{
    nib_granite *g = config;
    const json_t *positions = nib_read_any(r, "position_embedding_type");
    const char *type = json_string_value(positions);

    if (positions && (!type || strcmp(type, "rope") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED, "position_embedding_type is '%s', known is rope",
                      type ? type : "not a text");
    nib_granite_read(r, g);
    nib_read_route(r, &g->moe.route, 8, 2);
    g->moe.route.scores = NIB_ROUTE_CHOSEN;
    g->moe.inner = g->moe.m.inner;
}

nib_value nib_granite_experts(nib_build *b, const nib_llama *llama, int i, nib_value h)
{
    /* The files' names, which are transformers 4's too, and transformers 5's. */
    static const nib_stack_names names = { .gate_up = "input_linear.weight",
                                           .down = "output_linear.weight",
                                           .gate_up_also = "experts.gate_up_proj",
                                           .down_also = "experts.down_proj" };
    const nib_moe *m = (const nib_moe *)llama;
    nib_value logits = nib_apply_router(b, h, m->route.experts,
                                        "model.layers.%d.block_sparse_moe.router.layer", i);

    return nib_apply_stacked_experts(b, m, nib_route(b, logits, &m->route), i, h,
                                     "model.layers.%d.block_sparse_moe", names);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    (void)task;
    nib_granite_stack(b, config, nib_llama_attention, nib_granite_experts);
}

static const nib_gguf_name gguf_names[] = {
    NIB_GGUF_LLAMA_ENDS(NIB_GGUF_AS_IS),
    NIB_GGUF_LLAMA_ATTENTION(NIB_GGUF_Q_ROWS, NIB_GGUF_K_ROWS),
    { "ffn_gate_inp", "model.layers.%d.block_sparse_moe.router.layer", NIB_GGUF_AS_IS },
    { "ffn_down_exps", "model.layers.%d.block_sparse_moe.output_linear", NIB_GGUF_AS_IS },
    { "attn_norm", "model.layers.%d.input_layernorm", NIB_GGUF_AS_IS },
    { "ffn_norm", "model.layers.%d.post_attention_layernorm", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_whole gguf_tensors[] = {
    { "ffn_gate_exps.weight", "ffn_up_exps.weight",
      "model.layers.%d.block_sparse_moe.input_linear.weight", NIB_GGUF_AS_IS },
    { 0 },
};
static const nib_gguf_key gguf_keys[] = {
    NIB_GRANITE_GGUF_KEYS,
    { "expert_count", "num_local_experts" },
    { "expert_used_count", "num_experts_per_tok" },
    { 0 },
};

static const nib_gguf_family gguf = {
    .architecture = "granitemoe", .model_type = "granitemoe",
    .class_name = "GraniteMoeForCausalLM", .names = gguf_names, .tensors = gguf_tensors,
    .keys = gguf_keys, .finish = nib_granite_gguf_finish,
};

static const char *const types[] = { "granitemoe", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_granitemoe = { .model_types = types, .config_bytes = sizeof(nib_granite),
                                       .read = read_granitemoe, .prefix = "model.",
                                       .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = build,
                                       .default_targets = targets, .gguf = &gguf };
