/* trie.c - building the double array of trie.h: the sorted keys, one node after another in the
 * order of depth, each put where all of its children find free units. */
#include "text/trie.h"

#include <stdlib.h>

/* The keys low .. high have their first `depth` bytes alike and belong to a unit. */
typedef struct node { uint32_t unit, low, high, depth; } node;

typedef struct builder {
    nib_ctx *ctx;
    nib_trie *trie;
    const nib_trie_key *keys;
    node *queue;
    size_t count, capacity;
    size_t first_free; /* no free unit lies before it */
} builder;

static int by_text(const void *a, const void *b)
{
    const nib_trie_key *x = a, *y = b;
    int order = memcmp(x->text, y->text, nib_min(x->bytes, y->bytes));

    if (order) return order;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

static bool grow_units(builder *b, size_t count)
{
    nib_trie *t = b->trie;

    if (count <= t->count) return true;
    if (!nib_grow(b->ctx, &t->units, &t->capacity, count, sizeof *t->units)) return false;
    for (; t->count < count; t->count++)
        t->units[t->count] = (nib_trie_unit){ 0, UINT32_MAX, -1 };
    return true;
}

/* The different bytes that follow; their number. */
static size_t children(const builder *b, const node *n, uint8_t bytes[256])
{
    size_t count = 0;

    for (uint32_t i = n->low; i < n->high; i++) {
        uint8_t c;
        if (b->keys[i].bytes <= n->depth) continue;
        c = (uint8_t)b->keys[i].text[n->depth];
        if (count == 0 || bytes[count - 1] != c) bytes[count++] = c;
    }
    return count;
}

/* A base under which all the children's units are free; 0: no memory. */
static uint32_t find_base(builder *b, const uint8_t *bytes, size_t count)
{
    const nib_trie *t = b->trie;
    size_t at = nib_max(b->first_free, (size_t)bytes[0] + 1), passed = 0;

    for (;; at++) {
        size_t base = at - bytes[0], i = 0;

        if (!grow_units(b, base + 257)) return 0;
        if (t->units[at].parent != UINT32_MAX) {
            passed++;
            continue;
        }
        while (i < count && t->units[base + bytes[i]].parent == UINT32_MAX) i++;
        if (i < count) continue;
        /* Where nearly all is taken, no later node needs to look again. */
        if (passed * 20 >= (at - b->first_free + 1) * 19) b->first_free = at;
        return (uint32_t)base;
    }
}

static bool put_children(builder *b, node n)
{
    uint8_t bytes[256];
    size_t count = children(b, &n, bytes);
    uint32_t base, at = n.low;

    if (count == 0) return true;
    base = find_base(b, bytes, count);
    if (!base) return false;
    b->trie->units[n.unit].base = base;
    while (at < n.high && b->keys[at].bytes <= n.depth) at++;
    for (size_t i = 0; i < count; i++) {
        node child = { base + bytes[i], at, at, n.depth + 1 };

        while (child.high < n.high && (uint8_t)b->keys[child.high].text[n.depth] == bytes[i]) {
            if (b->keys[child.high].bytes == child.depth)
                b->trie->units[child.unit].value = b->keys[child.high].value;
            child.high++;
        }
        at = child.high;
        b->trie->units[child.unit].parent = n.unit;
        if (!nib_grow(b->ctx, &b->queue, &b->capacity, b->count + 1, sizeof *b->queue))
            return false;
        b->queue[b->count++] = child;
    }
    return true;
}

nib_status nib_trie_build(nib_ctx *ctx, nib_trie_key *keys, size_t count, nib_trie *out,
                          nib_error *err)
{
    builder b = { .ctx = ctx, .trie = out, .keys = keys };
    bool good;

    assert(count < UINT32_MAX);
    *out = (nib_trie){ 0 };
    if (count) qsort(keys, count, sizeof *keys, by_text);
    b.first_free = 1;
    good = grow_units(&b, 1) && put_children(&b, (node){ 0, 0, (uint32_t)count, 0 });
    if (good) out->units[0].parent = 0; /* taken: it is nobody's child */
    for (size_t i = 0; i < b.count && good; i++) good = put_children(&b, b.queue[i]);
    nib_free(ctx, b.queue);
    if (good) return NIB_OK;
    nib_trie_free(ctx, out);
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

void nib_trie_free(nib_ctx *ctx, nib_trie *t)
{
    nib_free(ctx, t->units);
    *t = (nib_trie){ 0 };
}
