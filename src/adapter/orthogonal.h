/* orthogonal.h - init_lora_weights orthogonal: B A = 0 of factors that are not 0. */
#ifndef NIB_ADAPTER_ORTHOGONAL_H
#define NIB_ADAPTER_ORTHOGONAL_H

#include "graph/branch.h"

/* Fills A and B of a branch of even rank; values are a function of (seed, the branch's key, place).
 * NIB_E_NOMEM. */
nib_status nib_orthogonal(nib_ctx *ctx, const nib_branch *b, uint64_t seed, nib_error *err);

#endif
