/* tables.c - the tokenizer's hash tables, and its tables by id and by byte. */
#include <stdio.h>

#include "base/hash.h"
#include "text/parts.h"

static uint32_t hash_bytes(const char *p, size_t n)
{
    uint32_t h = nib_fnv1a(p, n);
    return h ^ h >> 15;
}

static size_t table_size(size_t expected)
{
    size_t n = 16;
    while (n < expected * 2) n *= 2;
    return n;
}

bool nib_words_init(nib_ctx *ctx, nib_words *w, size_t expected)
{
    size_t n = table_size(expected);
    w->slots = nib_new_array(ctx, n, sizeof *w->slots);
    w->mask = n - 1;
    return w->slots != NULL;
}

static nib_word *find_word(const nib_words *w, const char *text, size_t bytes)
{
    size_t i = hash_bytes(text, bytes) & w->mask;
    while (w->slots[i].text &&
           (w->slots[i].bytes != bytes || memcmp(w->slots[i].text, text, bytes) != 0))
        i = (i + 1) & w->mask;
    return &w->slots[i];
}

static bool grow_words(nib_ctx *ctx, nib_words *w)
{
    nib_words old = *w;

    if (!nib_words_init(ctx, w, old.slots ? old.mask + 1 : 8)) {
        *w = old;
        return false;
    }
    for (size_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i].text) *find_word(w, old.slots[i].text, old.slots[i].bytes) = old.slots[i];
    w->count = old.count;
    nib_free(ctx, old.slots);
    return true;
}

bool nib_words_put(nib_ctx *ctx, nib_words *w, const char *text, size_t bytes, uint32_t id)
{
    nib_word *slot;

    if ((!w->slots || w->count * 2 > w->mask) && !grow_words(ctx, w)) return false;
    slot = find_word(w, text, bytes);
    if (slot->text) return true;
    *slot = (nib_word){ text, (uint32_t)bytes, id };
    w->count++;
    return true;
}

int64_t nib_words_get(const nib_words *w, const char *text, size_t bytes)
{
    const nib_word *slot = w->slots ? find_word(w, text, bytes) : NULL;
    return slot && slot->text ? (int64_t)slot->id : -1;
}

static size_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return (size_t)(h ^ h >> 32);
}

bool nib_merges_init(nib_ctx *ctx, nib_merges *m, size_t expected)
{
    size_t n = table_size(expected);
    m->slots = nib_new_array(ctx, n, sizeof *m->slots);
    m->mask = n - 1;
    for (size_t i = 0; m->slots && i < n; i++) m->slots[i].id = UINT32_MAX;
    return m->slots != NULL;
}

void nib_merges_put(nib_merges *m, nib_merge merge)
{
    size_t i = hash_pair(merge.left, merge.right) & m->mask;
    while (m->slots[i].id != UINT32_MAX &&
           (m->slots[i].left != merge.left || m->slots[i].right != merge.right))
        i = (i + 1) & m->mask;
    m->slots[i] = merge; /* a repeated pair: the last rank counts, as in the library */
}

const nib_merge *nib_merges_get(const nib_merges *m, uint32_t left, uint32_t right)
{
    for (size_t i = hash_pair(left, right) & m->mask; m->slots[i].id != UINT32_MAX;
         i = (i + 1) & m->mask)
        if (m->slots[i].left == left && m->slots[i].right == right) return &m->slots[i];
    return NULL;
}

uint32_t nib_byte_to_char(uint8_t byte)
{
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174) return byte;
    if (byte <= 32) return 256u + byte;              /* 0 .. 32 */
    if (byte <= 160) return 256u + 33 + byte - 127u; /* 127 .. 160 */
    return 256u + 33 + 34;                           /* 173 */
}

int nib_char_to_byte(uint32_t c)
{
    if (c < 256) return nib_byte_to_char((uint8_t)c) == c ? (int)c : -1;
    if (c <= 256 + 32) return (int)(c - 256);
    if (c <= 256 + 33 + 33) return (int)(c - 256 - 33 + 127);
    return c == 256 + 33 + 34 ? 173 : -1;
}

nib_status nib_ids_init(nib_tokenizer *t, size_t size, const char *where, nib_error *err)
{
    t->size = t->id_capacity = size;
    if (t->size > NIB_MOST_IDS)
        return nib_fail(err, NIB_E_FORMAT, "%s: an id of %zu", where, t->size - 1);
    t->tokens = nib_new_array(t->ctx, t->size, sizeof *t->tokens);
    t->special = nib_new_array(t->ctx, t->size, 1);
    t->is_added = nib_new_array(t->ctx, t->size, 1);
    return t->tokens && t->special && t->is_added && nib_words_init(t->ctx, &t->vocabulary, size)
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

void nib_byte_ids_find(nib_tokenizer *t)
{
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        t->byte_ids[i] = nib_words_get(&t->vocabulary, name, 6);
    }
}
