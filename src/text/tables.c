/* tables.c - the tokenizer's hash tables and its text on the way. */
#include "text/parts.h"

static uint32_t hash_bytes(const char *p, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)p[i]) * 16777619u;
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

bool nib_work_add(nib_ctx *ctx, nib_work *w, const char *text, size_t bytes, nib_range origin)
{
    if (!nib_grow(ctx, &w->text, &w->text_capacity, w->bytes + bytes + 1, 1) ||
        !nib_grow(ctx, &w->origin, &w->origin_capacity, w->bytes + bytes + 1, sizeof *w->origin))
        return false;
    memcpy(w->text + w->bytes, text, bytes);
    for (size_t i = 0; i < bytes; i++) w->origin[w->bytes + i] = origin;
    w->bytes += bytes;
    return true;
}

bool nib_work_add_piece(nib_ctx *ctx, nib_work *w, size_t begin, size_t end)
{
    if (begin == end) return true;
    if (!nib_grow(ctx, &w->pieces, &w->piece_capacity, w->piece_count + 1, sizeof *w->pieces))
        return false;
    w->pieces[w->piece_count++] = (nib_range){ begin, end };
    return true;
}

void nib_work_free(nib_ctx *ctx, nib_work *w)
{
    nib_free(ctx, w->text);
    nib_free(ctx, w->origin);
    nib_free(ctx, w->pieces);
    *w = (nib_work){ 0 };
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

nib_status nib_tokens_add(nib_ctx *ctx, nib_tokens *out, nib_token token, nib_error *err)
{
    if (!nib_grow(ctx, &out->items, &out->capacity, out->count + 1, sizeof *out->items))
        return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    out->items[out->count++] = token;
    return NIB_OK;
}

void nib_tokens_free(nib_ctx *ctx, nib_tokens *tokens)
{
    nib_free(ctx, tokens->items);
    *tokens = (nib_tokens){ 0 };
}
