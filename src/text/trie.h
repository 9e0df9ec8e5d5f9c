/* trie.h - the pieces of a vocabulary as a double array, which finds all that begin at a place.
 *
 * Unit s and byte c lead to unit base[s] + c if that one's parent is s (Aoe 1989). */
#ifndef NIB_TEXT_TRIE_H
#define NIB_TEXT_TRIE_H

#include "base/base.h"

typedef struct nib_trie_unit {
    uint32_t base, parent; /* parent UINT32_MAX: free */
    int32_t value;         /* of the string that ends here; -1: none does */
} nib_trie_unit;
typedef struct nib_trie { nib_trie_unit *units; size_t count, capacity; } nib_trie;

typedef struct nib_trie_key { const char *text; uint32_t bytes; int32_t value; } nib_trie_key;

/* Sorts the keys; of equal ones the last counts, empty ones are left out.  NIB_E_NOMEM. */
nib_status nib_trie_build(nib_ctx *ctx, nib_trie_key *keys, size_t count, nib_trie *out,
                          nib_error *err);
void nib_trie_free(nib_ctx *ctx, nib_trie *t);

/* The unit behind byte c of unit s, which begins at 0; 0: no string continues so. */
static inline uint32_t nib_trie_next(const nib_trie *t, uint32_t s, uint8_t c)
{
    uint32_t to = t->units[s].base + c;

    return to < t->count && t->units[to].parent == s ? to : 0;
}

#endif
