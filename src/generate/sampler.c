/* sampler.c - greedy choice and sampling. */
#include "generate/sampler.h"

#include <math.h>
#include <stdlib.h>

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

void nib_sampler_forget(nib_sampler *s) { memset(s->seen, 0, s->vocabulary); }
void nib_sampler_see(nib_sampler *s, uint32_t id)
{
    if (id < s->vocabulary) s->seen[id] = 1;
}

static uint32_t greatest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

typedef struct nib_candidate candidate;

static int better_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The smallest set of best tokens whose probabilities reach top_p; at least one. */
static size_t keep_top_p(const candidate *c, size_t n, double top_p)
{
    double total = 0, sum = 0;

    for (size_t i = 0; i < n; i++) total += exp((double)c[i].logit - (double)c[0].logit);
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)c[i].logit - (double)c[0].logit) / total;
        if (sum >= top_p) return i + 1;
    }
    return n;
}

uint32_t nib_sample(nib_sampler *s, const nib_sampling *o, float *logits, uint64_t draw)
{
    const uint32_t key[2] = { (uint32_t)o->seed, (uint32_t)(o->seed >> 32) };
    const uint32_t counter[4] = { (uint32_t)draw, (uint32_t)(draw >> 32), 0, 0x67656e };
    size_t n = s->vocabulary;
    uint32_t bits[4];
    double total = 0, at;

    for (size_t i = 0; i < n && o->repetition_penalty != 1; i++)
        if (s->seen[i])
            logits[i] = logits[i] > 0 ? logits[i] / (float)o->repetition_penalty
                                      : logits[i] * (float)o->repetition_penalty;
    if (!o->do_sample) return greatest(logits, n);

    for (size_t i = 0; i < n; i++)
        s->candidates[i] = (candidate){ (float)((double)logits[i] / o->temperature), (uint32_t)i };
    qsort(s->candidates, n, sizeof *s->candidates, better_first);
    if (o->top_k > 0) {
        size_t k = nib_min((size_t)o->top_k, n);
        /* Ties with the last one stay, as in the reference: it cuts what is strictly less. */
        while (k < n && s->candidates[k].logit == s->candidates[k - 1].logit) k++;
        n = k;
    }
    if (o->top_p < 1) n = keep_top_p(s->candidates, n, o->top_p);
    if (o->min_p > 0)
        while (n > 1 && exp((double)s->candidates[n - 1].logit - (double)s->candidates[0].logit) < o->min_p) n--;

    for (size_t i = 0; i < n; i++) total += exp((double)s->candidates[i].logit - (double)s->candidates[0].logit);
    nib_philox(key, counter, bits);
    at = ((double)bits[0] + (double)bits[1] * 0x1p-32) * 0x1p-32 * total;
    for (size_t i = 0; i < n; i++) {
        at -= exp((double)s->candidates[i].logit - (double)s->candidates[0].logit);
        if (at < 0) return s->candidates[i].id;
    }
    return s->candidates[n - 1].id;
}
