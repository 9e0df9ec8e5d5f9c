/* sampler.c - greedy choice and sampling. */
#include "generate/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/random.h"

nib_status nib_sampler_init(nib_ctx *ctx, size_t vocabulary, nib_sampler *out, nib_error *err)
{
    *out = (nib_sampler){ .ctx = ctx, .vocabulary = vocabulary };
    out->candidates = nib_new_array(ctx, vocabulary, sizeof *out->candidates);
    out->kept = nib_new_array(ctx, vocabulary, sizeof *out->kept);
    out->distances = nib_new_array(ctx, vocabulary, sizeof *out->distances);
    out->seen = nib_new_array(ctx, vocabulary, 1);
    out->banned = nib_new_array(ctx, vocabulary, 1);
    if (out->candidates && out->kept && out->distances && out->seen && out->banned) return NIB_OK;
    nib_sampler_free(out);
    return nib_fail(err, NIB_E_NOMEM, "sampler: out of memory for a vocabulary of %zu", vocabulary);
}

uint64_t nib_sampler_bytes(const nib_sampler *s)
{
    return s->vocabulary * (2 * sizeof(nib_candidate) + sizeof(float) + 2);
}

void nib_sampler_free(nib_sampler *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->candidates);
    nib_free(s->ctx, s->kept);
    nib_free(s->ctx, s->distances);
    nib_free(s->ctx, s->seen);
    nib_free(s->ctx, s->banned);
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

typedef nib_candidate candidate;

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

/* --- cuts that look at all of the probabilities; c: the best first --- */

static double sum_of_weights(const candidate *c, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += weight(c[i].logit, (double)c[0].logit);
    return sum;
}

/* In nats; a word of probability 0 adds nothing. */
static double entropy(const candidate *c, size_t n, double total)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double p = weight(c[i].logit, (double)c[0].logit) / total;
        if (p > 0) sum -= p * log(p);
    }
    return sum;
}

static int by_value(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return (x->logit > y->logit) - (x->logit < y->logit);
}

/* Words whose surprise is nearest to the expected one, until they have the mass typical_p; with the
 * last of them those as near.  order: room for n. */
static size_t keep_typical(candidate *c, size_t n, double mass, float *distances, candidate *order)
{
    double total = sum_of_weights(c, n), expected = entropy(c, n, total), sum = 0;
    size_t last = 0, kept = 0;

    for (size_t i = 0; i < n; i++) {
        double p = weight(c[i].logit, (double)c[0].logit) / total;
        distances[i] = (float)fabs(-log(p) - expected);
        order[i] = (candidate){ distances[i], (uint32_t)i };
    }
    qsort(order, n, sizeof *order, by_value);
    for (size_t i = 0; i < n; i++) {
        sum += weight(c[order[i].id].logit, (double)c[0].logit) / total;
        if (sum < mass) last = i + 1;
    }
    last = nib_min(last, n - 1);
    for (size_t i = 0; i < n; i++)
        if (!(distances[i] > order[last].logit)) c[kept++] = c[i];
    return kept;
}

/* Those of a probability of at least `least`; the best, and its equals, stay. */
static size_t keep_likely(const candidate *c, size_t n, double least, double total)
{
    size_t kept = 1;

    while (kept < n && (weight(c[kept].logit, (double)c[0].logit) / total >= least ||
                        !(c[kept].logit < c[0].logit)))
        kept++;
    return kept;
}

static size_t keep_by_entropy(nib_sampler *s, const nib_sampling *o, candidate *c, size_t n)
{
    double total;

    if (o->typical_p < 1) n = keep_typical(c, n, o->typical_p, s->distances, s->candidates);
    if (o->epsilon_cutoff > 0 && o->epsilon_cutoff < 1)
        n = keep_likely(c, n, o->epsilon_cutoff, sum_of_weights(c, n));
    if (o->eta_cutoff > 0 && o->eta_cutoff < 1) {
        total = sum_of_weights(c, n);
        n = keep_likely(c, n, fmin(o->eta_cutoff, sqrt(o->eta_cutoff) * exp(-entropy(c, n, total))),
                        total);
    }
    return n;
}

/* One of the n best: a function of the seed and the draw's number. */
static uint32_t draw_ranked(const nib_sampling *o, ranking *r, size_t n, uint64_t draw)
{
    const uint32_t key[2] = { (uint32_t)o->seed, (uint32_t)(o->seed >> 32) };
    const uint32_t counter[4] = { (uint32_t)draw, (uint32_t)(draw >> 32), 0, 0x67656e };
    uint32_t bits[4];
    double at, best;

    nib_philox(key, counter, bits);
    at = ((double)bits[0] + (double)bits[1] * 0x1p-32) * 0x1p-32 * total_weight(r, n);
    best = (double)ranked(r, 0).logit;
    for (size_t i = 0; i < n; i++) {
        at -= weight(ranked(r, i).logit, best);
        if (at < 0) return ranked(r, i).id;
    }
    return ranked(r, n - 1).id;
}

static float penalized(const nib_sampler *s, const nib_sampling *o, candidate c)
{
    if (o->repetition_penalty == 1 || !s->seen[c.id]) return c.logit;
    return c.logit > 0 ? c.logit / (float)o->repetition_penalty
                       : c.logit * (float)o->repetition_penalty;
}

uint32_t nib_sample(nib_sampler *s, const nib_sampling *o, const nib_processors *processors,
                    const nib_sequence *sequence, nib_logits logits, uint64_t draw)
{
    size_t n = logits.count;
    ranking r;

    assert(n > 0 && n <= s->vocabulary);
    for (size_t i = 0; i < n; i++) {
        candidate c = { logits.values[i], logits.ids ? logits.ids[i] : (uint32_t)i };
        c.logit = penalized(s, o, c);
        s->candidates[i] = c;
    }
    if (processors)
        nib_processors_apply(processors, sequence, s->candidates, n, s->banned, s->vocabulary);
    if (!o->do_sample) return greatest(s->candidates, n);
    for (size_t i = 0; i < n; i++)
        s->candidates[i].logit = (float)((double)s->candidates[i].logit / o->temperature);

    r = rank(s->candidates, n);
    if (isinf(ranked(&r, 0).logit))
        return greatest(s->candidates, n); /* all banned, or one is forced */
    if (o->top_k > 0) n = keep_top_k(&r, (size_t)o->top_k);
    if (o->top_p < 1) n = keep_top_p(&r, n, o->top_p);
    if (o->min_p > 0) n = keep_min_p(&r, n, o->min_p);
    if (o->typical_p >= 1 && !(o->epsilon_cutoff > 0) && !(o->eta_cutoff > 0))
        return draw_ranked(o, &r, n, draw);
    for (size_t i = 0; i < n; i++) s->kept[i] = ranked(&r, i);
    n = keep_by_entropy(s, o, s->kept, n);
    r = (ranking){ s->kept, n, n };
    return draw_ranked(o, &r, n, draw);
}
