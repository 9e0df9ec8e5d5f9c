/* sampler.c - greedy choice and sampling. */
#include "generate/sampler.h"

#include <math.h>

#include "base/random.h"

nib_status nib_sampler_init(nib_ctx *ctx, size_t vocabulary, nib_sampler *out, nib_error *err)
{
    *out = (nib_sampler){ .ctx = ctx, .vocabulary = vocabulary };
    out->candidates = nib_new_array(ctx, vocabulary, sizeof *out->candidates);
    out->seen = nib_new_array(ctx, vocabulary, 1);
    if (out->candidates && out->seen) return NIB_OK;
    nib_sampler_free(out);
    return nib_fail(err, NIB_E_NOMEM, "sampler: out of memory for %zu words", vocabulary);
}

void nib_sampler_free(nib_sampler *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->candidates);
    nib_free(s->ctx, s->seen);
    *s = (nib_sampler){ 0 };
}

void nib_sampler_forget(nib_sampler *s)
{
    memset(s->seen, 0, s->vocabulary);
    s->seen_count = 0;
}

void nib_sampler_see(nib_sampler *s, uint32_t id)
{
    if (id >= s->vocabulary) return;
    s->seen_count += !s->seen[id];
    s->seen[id] = 1;
}

size_t nib_sampling_needs(const nib_sampling *o, size_t seen)
{
    size_t most = o->do_sample ? (size_t)o->top_k : 1;

    if (most == 0 || o->repetition_penalty < 1) return 0; /* anyone may become the greatest */
    /* A penalty only lowers the words it is for: so many others are among the greatest. */
    return o->repetition_penalty > 1 ? most + seen : most;
}

typedef struct nib_candidate candidate;

static bool better(candidate a, candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static uint32_t greatest(const candidate *c, size_t n)
{
    candidate best = c[0];
    for (size_t i = 1; i < n; i++)
        if (better(c[i], best)) best = c[i];
    return best.id;
}

/* --- candidates in order, as far as anyone asks: of many words few are likely --- */

/* c[0, left) is a heap, the best first; behind it lie those taken from it, the best last. */
typedef struct ranking { candidate *c; size_t left, count; } ranking;

static void sink(candidate *c, size_t n, size_t at)
{
    candidate x = c[at];

    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && better(c[child + 1], c[child])) child++;
        if (!better(c[child], x)) break;
        c[at] = c[child];
    }
    c[at] = x;
}

static ranking rank(candidate *c, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) sink(c, n, i);
    return (ranking){ c, n, n };
}

/* The i-th best. */
static candidate ranked(ranking *r, size_t i)
{
    while (r->count - r->left <= i) {
        candidate best = r->c[0];
        r->c[0] = r->c[--r->left];
        sink(r->c, r->left, 0);
        r->c[r->left] = best;
    }
    return r->c[r->count - 1 - i];
}

/* Probability of a logit as a multiple of the best one's. */
static double weight(float logit, double best) { return exp((double)logit - best); }

/* Sum of the weights of the n best. */
static double total_weight(ranking *r, size_t n)
{
    double best = (double)ranked(r, 0).logit, sum = 0;

    if (n < r->count) ranked(r, n - 1); /* else all of them, in any order */
    for (size_t i = r->count - n; i < r->count; i++) sum += weight(r->c[i].logit, best);
    return sum;
}

/* Ties with the last one stay, as in the reference: it cuts what is strictly less. */
static size_t keep_top_k(ranking *r, size_t k)
{
    if (k >= r->count) return r->count;
    while (k < r->count && ranked(r, k).logit == ranked(r, k - 1).logit) k++;
    return k;
}

/* The smallest set of best tokens whose probabilities reach top_p; at least one. */
static size_t keep_top_p(ranking *r, size_t n, double top_p)
{
    double best = (double)ranked(r, 0).logit, total = total_weight(r, n), sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += weight(ranked(r, i).logit, best) / total;
        if (sum >= top_p) return i + 1;
    }
    return n;
}

static size_t keep_min_p(ranking *r, size_t n, double min_p)
{
    double best = (double)ranked(r, 0).logit;
    size_t kept = 1;

    while (kept < n && weight(ranked(r, kept).logit, best) >= min_p) kept++;
    return kept;
}

uint32_t nib_sample(nib_sampler *s, const nib_sampling *o, nib_logits logits, uint64_t draw)
{
    const uint32_t key[2] = { (uint32_t)o->seed, (uint32_t)(o->seed >> 32) };
    const uint32_t counter[4] = { (uint32_t)draw, (uint32_t)(draw >> 32), 0, 0x67656e };
    size_t n = logits.count;
    uint32_t bits[4];
    double at, best;
    ranking r;

    assert(n > 0 && n <= s->vocabulary);
    for (size_t i = 0; i < n; i++) {
        candidate c = { logits.values[i], logits.ids ? logits.ids[i] : (uint32_t)i };
        if (o->repetition_penalty != 1 && s->seen[c.id])
            c.logit = c.logit > 0 ? c.logit / (float)o->repetition_penalty
                                  : c.logit * (float)o->repetition_penalty;
        if (o->do_sample) c.logit = (float)((double)c.logit / o->temperature);
        s->candidates[i] = c;
    }
    if (!o->do_sample) return greatest(s->candidates, n);

    r = rank(s->candidates, n);
    if (o->top_k > 0) n = keep_top_k(&r, (size_t)o->top_k);
    if (o->top_p < 1) n = keep_top_p(&r, n, o->top_p);
    if (o->min_p > 0) n = keep_min_p(&r, n, o->min_p);

    nib_philox(key, counter, bits);
    at = ((double)bits[0] + (double)bits[1] * 0x1p-32) * 0x1p-32 * total_weight(&r, n);
    best = (double)ranked(&r, 0).logit;
    for (size_t i = 0; i < n; i++) {
        at -= weight(ranked(&r, i).logit, best);
        if (at < 0) return ranked(&r, i).id;
    }
    return ranked(&r, n - 1).id;
}
