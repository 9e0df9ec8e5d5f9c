/* processors.c - see processors.h. */
#include "generate/processors.h"

#include <math.h>

void nib_processors_free(nib_ctx *ctx, nib_processors *p)
{
    for (size_t i = 0; i < p->bad_word_count; i++) nib_free(ctx, p->bad_words[i].items);
    nib_free(ctx, p->bad_words);
    nib_free(ctx, p->suppress.items);
    nib_free(ctx, p->begin_suppress.items);
    nib_free(ctx, p->forced_eos.items);
    *p = (nib_processors)NIB_NO_PROCESSORS;
}

/* The first new token, or the one behind a forced first one. */
static bool at_begin(const nib_processors *p, const nib_sequence *s)
{
    return s->count == s->prompt + (s->prompt <= 1 && p->forced_bos >= 0);
}

static bool too_short(const nib_processors *p, const nib_sequence *s)
{
    if (p->min_new_tokens >= 0) return s->count - s->prompt < (size_t)p->min_new_tokens;
    return s->count < (size_t)p->min_length;
}

size_t nib_processors_lower(const nib_processors *p, const nib_sequence *s, size_t ahead)
{
    size_t most = p->bad_word_count + p->suppress.count + s->end_count;

    if (p->forced_bos >= 0 || p->forced_eos.count || p->decay_factor != 0) return SIZE_MAX;
    if (p->begin_suppress.count && s->count <= s->prompt + 1) most += p->begin_suppress.count;
    return most + (p->no_repeat_ngram_size ? s->count + ahead : 0);
}

/* --- words that cannot come: marked first, then lowered at once --- */

typedef struct bans {
    uint8_t *banned;
    size_t vocabulary;
} bans;

static void ban(const bans *b, int64_t id, bool yes)
{
    if (id >= 0 && (uint64_t)id < b->vocabulary) b->banned[id] = yes;
}

static void ban_ids(const bans *b, const nib_token_ids *list, bool yes)
{
    for (size_t i = 0; i < list->count; i++) ban(b, list->items[i], yes);
}

/* What followed the last n - 1 tokens before. */
static void ban_ngrams(const bans *b, const nib_sequence *s, size_t n, bool yes)
{
    const uint32_t *last = s->ids + s->count - (n - 1);

    if (s->count + 1 < n) return;
    for (size_t i = 0; i + n <= s->count; i++)
        if (memcmp(s->ids + i, last, (n - 1) * sizeof *last) == 0) ban(b, s->ids[i + n - 1], yes);
}

/* The last token of each sequence whose others stand here; end tokens by themselves are exempt. */
static void ban_words(const bans *b, const nib_processors *p, const nib_sequence *s, bool yes)
{
    for (size_t i = 0; i < p->bad_word_count; i++) {
        const nib_token_ids *w = &p->bad_words[i];
        size_t before = w->count - 1;
        bool end = false;

        for (size_t k = 0; k < s->end_count && !before; k++)
            end |= s->ends[k] == (int64_t)w->items[0];
        if (end || (before && w->count > s->count)) continue;
        if (memcmp(w->items, s->ids + s->count - before, before * sizeof *w->items) == 0)
            ban(b, w->items[before], yes);
    }
}

static void mark(const bans *b, const nib_processors *p, const nib_sequence *s, bool yes)
{
    if (p->no_repeat_ngram_size) ban_ngrams(b, s, (size_t)p->no_repeat_ngram_size, yes);
    ban_words(b, p, s, yes);
    if (too_short(p, s))
        for (size_t i = 0; i < s->end_count; i++) ban(b, s->ends[i], yes);
}

static void lower(const bans *b, nib_candidate *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (b->banned[c[i].id]) c[i].logit = -INFINITY;
}

/* --- words that must come, or are to come soon --- */

/* Only the marked ones are left, all alike. */
static void force(const bans *b, nib_candidate *c, size_t count)
{
    for (size_t i = 0; i < count; i++) c[i].logit = b->banned[c[i].id] ? 0 : -INFINITY;
}

static void decay(const nib_processors *p, const nib_sequence *s, nib_candidate *c, size_t count)
{
    size_t made = s->count - s->prompt, start = (size_t)p->decay_start;
    float factor;

    if (made <= start) return;
    factor = (float)(pow(p->decay_factor, (double)(made - start)) - 1);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < s->end_count; k++)
            if (s->ends[k] == (int64_t)c[i].id) {
                c[i].logit += fabsf(c[i].logit) * factor;
                if (isnan(c[i].logit)) c[i].logit = INFINITY; /* torch's maximum */
                break;
            }
}

void nib_processors_apply(const nib_processors *p, const nib_sequence *s, nib_candidate *c,
                          size_t count, uint8_t *banned, size_t vocabulary)
{
    bans b = { banned, vocabulary };

    mark(&b, p, s, true);
    lower(&b, c, count);
    mark(&b, p, s, false);
    if (p->forced_bos >= 0 && s->count == 1) {
        ban(&b, p->forced_bos, true);
        force(&b, c, count);
        ban(&b, p->forced_bos, false);
    }
    if (p->forced_eos.count && s->count + 1 == s->limit) {
        ban_ids(&b, &p->forced_eos, true);
        force(&b, c, count);
        ban_ids(&b, &p->forced_eos, false);
    }
    if (p->decay_factor != 0) decay(p, s, c, count);
    ban_ids(&b, &p->suppress, true);
    if (at_begin(p, s)) ban_ids(&b, &p->begin_suppress, true);
    lower(&b, c, count);
    ban_ids(&b, &p->suppress, false);
    ban_ids(&b, &p->begin_suppress, false);
}
