/* bpe.c - byte-pair encoding of one piece (formats.md 11.3; Sennrich et al. 2016).
 *
 * Characters become symbols in a linked list; a heap holds the pairs that can be merged, the
 * lowest rank first, the leftmost among equals. */
#include <stdio.h>

#include "text/parts.h"
#include "text/utf8.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

static bool comes_first(const nib_candidate_merge *a, const nib_candidate_merge *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static bool heap_push(nib_tokenizer *t, nib_candidate_merge m)
{
    size_t i = t->heap_count;

    if (!nib_grow(t->ctx, &t->heap, &t->heap_capacity, i + 1, sizeof *t->heap)) return false;
    t->heap_count++;
    while (i > 0 && comes_first(&m, &t->heap[(i - 1) / 2])) {
        t->heap[i] = t->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    t->heap[i] = m;
    return true;
}

static nib_candidate_merge heap_pop(nib_tokenizer *t)
{
    nib_candidate_merge top = t->heap[0], last = t->heap[--t->heap_count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->heap_count) break;
        if (child + 1 < t->heap_count && comes_first(&t->heap[child + 1], &t->heap[child])) child++;
        if (!comes_first(&t->heap[child], &last)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = last;
    return top;
}

static bool push_pair(nib_tokenizer *t, int64_t left)
{
    const nib_symbol *l = &t->symbols[left], *r;
    const nib_merge *m;

    if (l->next < 0) return true;
    r = &t->symbols[l->next];
    m = nib_merges_get(&t->merges, l->id, r->id);
    return !m || heap_push(t, (nib_candidate_merge){ m->rank, m->id, (size_t)left, l->id, r->id });
}

static bool add_symbol(nib_tokenizer *t, size_t *count, uint32_t id, size_t begin, size_t end)
{
    if (!nib_grow(t->ctx, &t->symbols, &t->symbol_capacity, *count + 1, sizeof *t->symbols))
        return false;
    t->symbols[*count] = (nib_symbol){ id, begin, end, (int64_t)*count - 1, -1 };
    if (*count) t->symbols[*count - 1].next = (int64_t)*count;
    ++*count;
    return true;
}

/* A character the vocabulary lacks: its bytes if all of them have tokens, else unk, else
 * nothing. */
static bool add_unknown(nib_tokenizer *t, size_t *count, size_t begin, size_t end, bool *fused)
{
    bool bytes = t->byte_fallback;

    for (size_t i = begin; bytes && i < end; i++)
        bytes = t->byte_ids[(uint8_t)t->work.text[i]] >= 0;
    if (bytes) {
        *fused = false;
        for (size_t i = begin; i < end; i++)
            if (!add_symbol(t, count, (uint32_t)t->byte_ids[(uint8_t)t->work.text[i]], begin, end))
                return false;
        return true;
    }
    if (t->unk < 0) return !(t->lacks_unk = t->unk_name != NULL);
    if (t->fuse_unk && *fused) {
        t->symbols[*count - 1].end = end;
        return true;
    }
    *fused = true;
    return add_symbol(t, count, (uint32_t)t->unk, begin, end);
}

/* A character of a word, with what the vocabulary has before and behind it. */
static int64_t find_character(const nib_tokenizer *t, nib_range piece, size_t at, size_t bytes)
{
    char name[NIB_MOST_AFFIXES + 8];
    const char *before = at > piece.begin && t->bpe_prefix ? t->bpe_prefix : "",
               *after = at + bytes == piece.end && t->bpe_suffix ? t->bpe_suffix : "";
    int n;

    if (!*before && !*after) return nib_words_get(&t->vocabulary, t->work.text + at, bytes);
    n = snprintf(name, sizeof name, "%s%.*s%s", before, (int)bytes, t->work.text + at, after);
    return nib_words_get(&t->vocabulary, name, (size_t)n);
}

static bool make_symbols(nib_tokenizer *t, nib_range piece, size_t *count)
{
    bool fused = false; /* the last symbol is an unk that may grow */

    for (size_t i = piece.begin; i < piece.end;) {
        size_t n = nib_utf8_length(t->work.text[i]);
        int64_t id = find_character(t, piece, i, n);
        bool good = id >= 0 ? add_symbol(t, count, (uint32_t)id, i, i + n)
                            : add_unknown(t, count, i, i + n, &fused);

        if (!good) return false;
        if (id >= 0) fused = false;
        i += n;
    }
    return true;
}

nib_status nib_bpe(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err)
{
    size_t count = 0;
    nib_status status = NIB_OK;

    if (t->ignore_merges) {
        int64_t whole = nib_words_get(&t->vocabulary, t->work.text + piece.begin,
                                      piece.end - piece.begin);
        if (whole >= 0) return nib_emit(t, (uint32_t)whole, piece.begin, piece.end, out, err);
    }
    t->lacks_unk = false;
    if (!make_symbols(t, piece, &count)) {
        if (!t->lacks_unk) return no_memory(err);
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer.json: a character is not in the vocabulary, and neither is the "
                        "model's unk_token");
    }
    t->heap_count = 0;
    for (size_t i = 0; i + 1 < count; i++)
        if (!push_pair(t, (int64_t)i)) return no_memory(err);
    while (t->heap_count) {
        nib_candidate_merge m = heap_pop(t);
        nib_symbol *l = &t->symbols[m.position], *r;

        if (l->id != m.left || l->next < 0 || t->symbols[l->next].id != m.right ||
            l->begin == l->end)
            continue;
        r = &t->symbols[l->next];
        l->id = m.id;
        l->end = r->end;
        l->next = r->next;
        r->id = UINT32_MAX; /* gone: no candidate names it any more */
        if (l->next >= 0) t->symbols[l->next].previous = (int64_t)m.position;
        if (l->previous >= 0 && !push_pair(t, l->previous)) return no_memory(err);
        if (!push_pair(t, (int64_t)m.position)) return no_memory(err);
    }
    for (int64_t i = count ? 0 : -1; i >= 0 && !status; i = t->symbols[i].next)
        status = nib_emit(t, t->symbols[i].id, t->symbols[i].begin, t->symbols[i].end, out, err);
    return status;
}
