/* recipe_memory.c - what a recipe's options point to: blocks that live as long as it. */
#include "recipe/recipe_keys.h"

struct nib_recipe_block { struct nib_recipe_block *next; };

void *nib_recipe_take(nib_recipe *r, size_t bytes)
{
    struct nib_recipe_block *b = nib_new(r->ctx, nib_round_up(sizeof *b, 16) + bytes);

    if (!b) return NULL;
    b->next = r->blocks;
    r->blocks = b;
    return (char *)b + nib_round_up(sizeof *b, 16);
}

char *nib_recipe_copy(nib_recipe *r, const char *text, size_t bytes)
{
    char *copy = nib_recipe_take(r, bytes + 1);

    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void nib_recipe_release(nib_recipe *r)
{
    while (r->blocks) {
        struct nib_recipe_block *next = r->blocks->next;
        nib_free(r->ctx, r->blocks);
        r->blocks = next;
    }
}
