/* added.c - added tokens: kept as the library's add_tokens() keeps them, and found in a text.
 *
 * Two searches share one way (formats.md 11.2): tokens with normalized false in the raw text, the
 * others, as the normalizer leaves them, in normalized text.  The contents of a search lie sorted;
 * from the byte where one may begin, a range of them narrows byte by byte until nothing longer
 * fits, so that a text costs the same with five tokens and with thousands. */
#include <stdlib.h>

#include "text/parts.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* --- adding --- */

/* Room for `id` in the tables by id. */
static bool grow_ids(nib_tokenizer *t, size_t id)
{
    size_t had = t->size, tokens = t->id_capacity, special = t->id_capacity, added = t->id_capacity;

    if (id < had) return true;
    if (!nib_grow(t->ctx, &t->tokens, &tokens, id + 1, sizeof *t->tokens) ||
        !nib_grow(t->ctx, &t->special, &special, id + 1, 1) ||
        !nib_grow(t->ctx, &t->is_added, &added, id + 1, 1))
        return false;
    t->id_capacity = nib_min(tokens, nib_min(special, added));
    for (; t->size <= id; t->size++) {
        t->tokens[t->size] = NULL;
        t->special[t->size] = t->is_added[t->size] = 0;
    }
    return true;
}

/* The library numbers what is new by the size of the vocabulary, not by what a file says. */
int64_t nib_tokenizer_next_id(const nib_tokenizer *t)
{
    int64_t words = (int64_t)t->vocabulary_size;
    return t->greatest_added >= words ? t->greatest_added + 1 : words;
}

nib_status nib_added_put(nib_tokenizer *t, nib_added a, const char *where, int64_t *given,
                         nib_error *err)
{
    int64_t at = nib_words_get(&t->added_words, a.text, a.bytes), id;

    *given = -1;
    if (a.bytes == 0) return NIB_OK; /* the library passes over it */
    if (at >= 0)
        id = t->added[at].id;
    else
        id = nib_words_get(&t->vocabulary, a.text, a.bytes);
    if (id < 0) id = nib_tokenizer_next_id(t);
    if (id >= NIB_MOST_IDS)
        return nib_fail(err, NIB_E_FORMAT, "%s: token '%s' has id %" PRId64, where, a.text, id);
    a.id = (uint32_t)id;
    if (at < 0) {
        at = (int64_t)t->added_count;
        if (!nib_grow(t->ctx, &t->added, &t->added_capacity, t->added_count + 1,
                      sizeof *t->added) ||
            !nib_words_put(t->ctx, &t->added_words, a.text, a.bytes, (uint32_t)at) ||
            !grow_ids(t, (size_t)id))
            return no_memory(where, err);
        t->added_count++;
    }
    t->added[at] = a;
    t->tokens[id] = a.text;
    t->is_added[id] = 1;
    t->special[id] |= a.special; /* once special, decoding leaves it out for good */
    if (id > t->greatest_added) t->greatest_added = id;
    *given = id;
    return NIB_OK;
}

bool nib_tokenizer_is_added(const nib_tokenizer *t, uint32_t id)
{
    return id < t->size && t->is_added[id];
}

bool nib_tokenizer_added(const nib_tokenizer *t, uint32_t id, nib_added_token *out)
{
    if (!nib_tokenizer_is_added(t, id)) return false;
    for (size_t i = 0; i < t->added_count; i++) {
        const nib_added *a = &t->added[i];
        if (a->id != id) continue;
        *out = (nib_added_token){ .content = a->text, .id = id, .special = a->special,
                                  .lstrip = a->lstrip, .rstrip = a->rstrip,
                                  .normalized = a->normalized, .single_word = a->single_word };
        return true;
    }
    return false;
}

/* --- getting ready to search --- */

static int by_content(const void *a, const void *b)
{
    const nib_content *x = a, *y = b;
    int order = memcmp(x->text, y->text, nib_min(x->bytes, y->bytes));

    if (order) return order;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    if (x->special != y->special) return x->special ? -1 : 1; /* of equals the first counts */
    return x->index < y->index ? -1 : x->index > y->index;
}

static void index_first_bytes(nib_contents *s)
{
    size_t at = 0;

    s->only = -1;
    for (int b = 0; b < 256; b++) {
        s->first[b] = (uint32_t)at;
        while (at < s->count && (uint8_t)s->items[at].text[0] == b) at++;
        s->starts[b] = at > s->first[b];
        if (s->starts[b]) s->only = s->only == -1 ? b : -2;
    }
    s->first[256] = (uint32_t)at;
}

/* What is searched for: the content as the normalizer leaves it. */
static nib_status normalize_content(nib_tokenizer *t, nib_added *a, nib_error *err)
{
    nib_status status;

    t->work.bytes = t->work.piece_count = 0;
    if (!nib_work_add(t->ctx, &t->work, a->text, a->bytes, (nib_range){ 0, a->bytes }))
        return no_memory(a->text, err);
    status = nib_normalize(t, err);
    if (status) return status;
    nib_free(t->ctx, a->normal);
    a->normal = nib_strndup(t->ctx, t->work.text, t->work.bytes);
    a->normal_bytes = t->work.bytes;
    return a->normal ? NIB_OK : no_memory(a->text, err);
}

nib_status nib_added_ready(nib_tokenizer *t, nib_error *err)
{
    nib_status status = NIB_OK;

    for (int which = 0; which < 2 && !status; which++) {
        nib_contents *s = &t->contents[which];
        nib_free(t->ctx, s->items);
        *s = (nib_contents){ .items = nib_new_array(t->ctx, nib_max(t->added_count, 1),
                                                    sizeof *s->items) };
        if (!s->items) return no_memory("tokenizer", err);
        for (size_t i = 0; i < t->added_count && !status; i++) {
            nib_added *a = &t->added[i];
            if (a->normalized != (which == 1)) continue;
            if (which == 1) status = normalize_content(t, a, err);
            if (status) break;
            s->items[s->count] = (nib_content){ which ? a->normal : a->text,
                                                which ? a->normal_bytes : a->bytes, (uint32_t)i,
                                                a->special };
            s->count += s->items[s->count].bytes > 0;
        }
        if (s->count) qsort(s->items, s->count, sizeof *s->items, by_content);
        index_first_bytes(s);
    }
    return status;
}

/* --- searching --- */

/* What a regular expression calls a word character. */
static bool is_word(const char *text, size_t bytes, size_t at)
{
    return at < bytes && nib_unicode_in(NIB_SET_WORD, nib_utf8_read(text + at));
}

/* First place in [low, high) whose byte at `depth` is at least c; all are longer than depth. */
static uint32_t lower_bound(const nib_contents *s, uint32_t low, uint32_t high, size_t depth,
                            unsigned c)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)s->items[middle].text[depth] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest content that stands at `at`; NULL: none. */
static const nib_content *longest_at(const nib_contents *s, const char *text, size_t bytes,
                                     size_t at)
{
    unsigned c = (uint8_t)text[at];
    uint32_t low = s->first[c], high = s->first[c + 1];
    const nib_content *best = NULL;

    for (size_t depth = 1; low < high; depth++) {
        if (s->items[low].bytes == depth) { /* shorter ones come first; of equals the first */
            best = &s->items[low];
            while (low < high && s->items[low].bytes == depth) low++;
        }
        if (at + depth >= bytes) break;
        c = (uint8_t)text[at + depth];
        low = lower_bound(s, low, high, depth, c);
        high = lower_bound(s, low, high, depth, c + 1);
    }
    return best;
}

/* The next byte from `i` on with which a content begins. */
static size_t next_start(const nib_contents *s, const char *text, size_t bytes, size_t i)
{
    if (s->only >= 0) {
        const char *p = i < bytes ? memchr(text + i, s->only, bytes - i) : NULL;
        return p ? (size_t)(p - text) : bytes;
    }
    while (i < bytes && !s->starts[(uint8_t)text[i]]) i++;
    return i;
}

bool nib_added_find(const nib_tokenizer *t, bool normalized, const char *text, size_t bytes,
                    size_t from, size_t taken, nib_found *out)
{
    const nib_contents *s = &t->contents[normalized];
    size_t n;

    if (s->count == 0) return false;
    for (size_t i = next_start(s, text, bytes, from); i < bytes;
         i = next_start(s, text, bytes, i + n)) {
        const nib_content *content = longest_at(s, text, bytes, i);
        const nib_added *a;

        n = content ? content->bytes : 1;
        if (!content) continue;
        a = &t->added[content->index];
        if (t->split_special && t->special[a->id]) continue;
        if (a->single_word && ((i > 0 && is_word(text, bytes, nib_utf8_before(text, i))) ||
                               is_word(text, bytes, i + n)))
            continue;
        *out = (nib_found){ a, { i, i + n }, i + n };
        while (a->lstrip && out->range.begin > 0 &&
               nib_utf8_is_space(text + nib_utf8_before(text, out->range.begin)))
            out->range.begin = nib_utf8_before(text, out->range.begin);
        if (a->lstrip) out->range.begin = nib_max(out->range.begin, taken);
        while (a->rstrip && out->range.end < bytes && nib_utf8_is_space(text + out->range.end))
            out->range.end += nib_utf8_length(text[out->range.end]);
        return true;
    }
    return false;
}
