/* qwen_moe.c - see qwen_moe.h. */
#include "model/qwen_moe.h"

void nib_qwen_moe_read(nib_reader *r, nib_moe *m, const nib_qwen_moe_defaults *d)
{
    nib_llama_keys keys = nib_llama_plain_keys;

    keys.inner = d->inner;
    keys.kv_heads = d->kv_heads;
    keys.no_null_kv_heads = keys.no_null_head_dim = true;
    keys.positions = 32768;
    nib_llama_read_keys(r, &m->m, &keys);
    nib_qwen_read_window(r, &m->m);
    nib_read_route(r, &m->route, d->experts, d->top);
    m->route.normalize = nib_read_bool(r, "norm_topk_prob", false);
    m->inner = nib_read_size_or(r, "moe_intermediate_size", d->expert_inner);
    nib_read_sparse_layers(r, m);
}

nib_value nib_qwen_moe_experts(nib_build *b, const nib_moe *m, int i, nib_value h)
{
    nib_value logits = nib_apply_router(b, h, m->route.experts, "model.layers.%d.mlp.gate", i);

    return nib_apply_gated_experts(b, m, nib_route(b, logits, &m->route), i, h,
                                   "model.layers.%d.mlp.experts", nib_expert_names);
}
