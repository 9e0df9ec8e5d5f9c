/* initialize.c - random values by place. */
#include "adapter/initialize.h"

#include <math.h>

#include "base/random.h"

static float uniform(uint32_t bits, double bound)
{
    return (float)(((double)bits + 0.5) * 0x1p-31 * bound - bound);
}

static void fill(nib_param *p, uint64_t seed, uint32_t key, bool gaussian, double size)
{
    const uint32_t keys[2] = { (uint32_t)seed ^ key, (uint32_t)(seed >> 32) ^ 0x696e6974 };
    uint32_t bits[4];

    if (gaussian) nib_normal_fill(p->value, nib_param_count(p), keys, 0, 0, size);
    for (size_t i = 0; i < nib_param_count(p) && !gaussian; i++) {
        const uint32_t counter[4] = { (uint32_t)(i / 4), (uint32_t)(i / 4 >> 32), 0, 0 };
        if (i % 4 == 0) nib_philox(keys, counter, bits);
        p->value[i] = uniform(bits[i % 4], size);
    }
}

static void initialize_linear(const nib_adapter *a, const nib_branch *l, uint64_t seed)
{
    double rank = (double)l->a->rows;

    if (strcmp(a->config.init_lora_weights, "gaussian") == 0)
        fill(l->a, seed, l->key, true, 1 / rank);
    else fill(l->a, seed, l->key, false, 1 / sqrt((double)l->a->cols));
    if (strcmp(a->config.init_lora_weights, "false") == 0)
        fill(l->b, seed, ~l->key, false, 1 / sqrt(rank));
}

static void initialize_embedding(const nib_adapter *a, const nib_branch *e, uint64_t seed)
{
    fill(e->b, seed, ~e->key, true, 1);
    if (strcmp(a->config.init_lora_weights, "false") == 0) fill(e->a, seed, e->key, true, 1);
}

void nib_adapter_initialize(nib_adapter *a, uint64_t seed)
{
    const nib_branch *l;

    for (size_t i = 0; i < a->model->linear_count; i++)
        if ((l = nib_branch_at(&a->model->linears[i]->branches, a->slot)))
            initialize_linear(a, l, seed);
    for (size_t i = 0; i < a->model->embedding_count; i++)
        if ((l = nib_branch_at(&a->model->embeddings[i]->branches, a->slot)))
            initialize_embedding(a, l, seed);
}
