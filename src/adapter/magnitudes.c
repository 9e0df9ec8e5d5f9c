/* magnitudes.c - see magnitudes.h. */
#include "adapter/magnitudes.h"

#include "graph/magnitude.h"

void nib_adapter_measure(nib_adapter *a, bool begin)
{
    nib_model *m = a->model;
    const nib_kernels *k = &m->graph->kernels;
    nib_branch *b;

    if (!a->config.use_dora) return;
    for (size_t i = 0; i < m->linear_count; i++)
        if ((b = nib_branch_at(&m->linears[i]->branches, a->slot)) && b->magnitude)
            nib_magnitude_measure(a->ctx, k, m->linears[i]->weight, false, b, begin);
    for (size_t i = 0; i < m->embedding_count; i++)
        if ((b = nib_branch_at(&m->embeddings[i]->branches, a->slot)) && b->magnitude)
            nib_magnitude_measure(a->ctx, k, m->embeddings[i]->weight, true, b, begin);
}
