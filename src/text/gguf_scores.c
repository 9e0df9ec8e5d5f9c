/* gguf_scores.c - merges from scores: SentencePiece joins the neighbours whose concatenation scores
 * best, which is a BPE whose merges are every split of every piece in two, by the piece's score. */
#include <stdlib.h>

#include "text/gguf_tokenizer.h"
#include "text/parts.h"

typedef struct pair { uint32_t left, right; float score; } pair;

typedef struct pairs {
    pair *items;
    size_t count, capacity;
} pairs;

static int by_score(const void *a, const void *b)
{
    const pair *x = a, *y = b;

    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static bool add_splits(const nib_gguf_vocabulary *v, const nib_words *words, size_t id, pairs *p)
{
    nib_gguf_text t = v->tokens[id];
    double score = 0;

    nib_gguf_number(v->scores, id, &score);
    for (size_t at = 1; at < t.bytes; at++) {
        int64_t left, right;
        if (((uint8_t)t.at[at] & 0xc0) == 0x80) continue; /* within a character */
        left = nib_words_get(words, t.at, at);
        right = left < 0 ? -1 : nib_words_get(words, t.at + at, t.bytes - at);
        if (right < 0) continue;
        if (!nib_grow(v->ctx, &p->items, &p->capacity, p->count + 1, sizeof *p->items))
            return false;
        p->items[p->count++] = (pair){ (uint32_t)left, (uint32_t)right, (float)score };
    }
    return true;
}

static json_t *merges_json(const nib_gguf_vocabulary *v, const pairs *p)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < p->count; i++) {
        nib_gguf_text l = v->tokens[p->items[i].left], r = v->tokens[p->items[i].right];
        json_t *one = json_pack("[s%, s%]", l.at, l.bytes, r.at, r.bytes);
        if (json_array_append_new(list, one)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

nib_status nib_gguf_score_merges(const nib_gguf_vocabulary *v, json_t **out, nib_error *err)
{
    nib_words words = { 0 };
    pairs p = { 0 };
    bool good = nib_words_init(v->ctx, &words, v->count);

    for (size_t i = 0; i < v->count && good; i++)
        good = nib_words_put(v->ctx, &words, v->tokens[i].at, v->tokens[i].bytes, (uint32_t)i);
    for (size_t i = 0; i < v->count && good; i++)
        if (nib_gguf_token_type(v, i) == NIB_GGUF_NORMAL) good = add_splits(v, &words, i, &p);
    if (good && p.count) qsort(p.items, p.count, sizeof *p.items, by_score);
    *out = good ? merges_json(v, &p) : NULL;
    nib_free(v->ctx, p.items);
    nib_free(v->ctx, words.slots);
    return *out ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the merges", v->where);
}
