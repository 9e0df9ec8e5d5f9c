/* qwen_moe.h - what Qwen's two families with experts have in common (formats.md 10.45). */
#ifndef NIB_MODEL_QWEN_MOE_H
#define NIB_MODEL_QWEN_MOE_H

#include "model/experts.h"

/* Their keys, with the defaults of each. */
typedef struct nib_qwen_moe_defaults {
    size_t inner, kv_heads, experts, top, expert_inner;
} nib_qwen_moe_defaults;
void nib_qwen_moe_read(nib_reader *r, nib_moe *m, const nib_qwen_moe_defaults *d);
/* The router of their layer i and its experts. */
nib_value nib_qwen_moe_experts(nib_build *b, const nib_moe *m, int i, nib_value h);

#endif
