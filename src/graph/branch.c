/* branch.c - the table of a module's branches. */
#include "graph/branch.h"

nib_branch *nib_branch_add(nib_ctx *ctx, nib_branches *table, unsigned slot)
{
    nib_branch *branch, **slots;

    assert(slot < NIB_MAX_SLOTS && !nib_branch_at(table, slot));
    branch = nib_new(ctx, sizeof *branch);
    if (!branch) return NULL;
    *branch = (nib_branch){ 0 };
    if (slot >= table->count) {
        slots = nib_new_array(ctx, slot + 1, sizeof(nib_branch *));
        if (!slots) {
            nib_free(ctx, branch);
            return NULL;
        }
        for (unsigned i = 0; i <= slot; i++) slots[i] = nib_branch_at(table, i);
        nib_free(ctx, table->slots);
        *table = (nib_branches){ slots, slot + 1 };
    }
    return table->slots[slot] = branch;
}

void nib_branch_remove(nib_ctx *ctx, nib_branches *table, unsigned slot)
{
    if (slot >= table->count) return;
    if (table->slots[slot]) nib_free(ctx, table->slots[slot]->norms);
    nib_free(ctx, table->slots[slot]);
    table->slots[slot] = NULL;
    while (table->count > 0 && !table->slots[table->count - 1]) table->count--;
    if (table->count > 0) return;
    nib_free(ctx, table->slots);
    table->slots = NULL;
}

size_t nib_branches_rank(const nib_branches *table)
{
    size_t rank = 0;

    for (unsigned i = 0; i < table->count; i++)
        if (table->slots[i]) rank = nib_max(rank, table->slots[i]->a->rows);
    return rank;
}

bool nib_branches_train(const nib_branches *table)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->slots[i] && table->slots[i]->a->wants_grad) return true;
    return false;
}

bool nib_branches_drop(const nib_branches *table)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->slots[i] && table->slots[i]->dropout > 0) return true;
    return false;
}

bool nib_branches_measure(const nib_branches *table)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->slots[i] && table->slots[i]->magnitude) return true;
    return false;
}
