/* answer_spans.c - see answer_spans.h. */
#include "job/answer_spans.h"

#include <math.h>

void nib_span_finder_begin(nib_span_finder *f, size_t longest)
{
    *f = (nib_span_finder){ .longest = longest, .none = HUGE_VALF };
}

/* The tokens with the greatest logits of one edge, the greatest first; of equals the later one, as
 * numpy's sort turned round has it. */
static size_t best_tokens(const float *logits, size_t tokens, size_t edge,
                          uint32_t best[NIB_BEST_SPANS])
{
    size_t count = 0;

    for (size_t t = 0; t < tokens; t++) {
        float z = logits[2 * t + edge];
        size_t at = count;
        while (at > 0 && z >= logits[2 * best[at - 1] + edge]) at--;
        if (at == NIB_BEST_SPANS) continue;
        if (count < NIB_BEST_SPANS) count++;
        memmove(best + at + 1, best + at, (count - at - 1) * sizeof *best);
        best[at] = (uint32_t)t;
    }
    return count;
}

static float sum_of(const nib_span_candidate *c) { return c->begin + c->end; }

/* Behind those of the same sum. */
static void add(nib_span_finder *f, nib_span_candidate c)
{
    size_t at = f->count;

    while (at > 0 && sum_of(&c) > sum_of(&f->best[at - 1])) at--;
    if (at == NIB_BEST_SPANS) return;
    if (f->count < NIB_BEST_SPANS) f->count++;
    memmove(f->best + at + 1, f->best + at, (f->count - at - 1) * sizeof *f->best);
    f->best[at] = c;
}

void nib_span_finder_add(nib_span_finder *f, nib_record r, const float *logits)
{
    uint32_t begins[NIB_BEST_SPANS], ends[NIB_BEST_SPANS];
    size_t begin_count = best_tokens(logits, r.length, 0, begins);
    size_t end_count = best_tokens(logits, r.length, 1, ends);

    if (r.length) f->none = fminf(f->none, logits[0] + logits[1]);
    f->windows++;
    for (size_t i = 0; i < begin_count; i++) {
        uint32_t from = begins[i];
        if (r.ranges[from].begin == NIB_NO_PLACE) continue;
        for (size_t k = 0; k < end_count; k++) {
            uint32_t to = ends[k];
            if (to < from || to - from >= f->longest || r.ranges[to].begin == NIB_NO_PLACE)
                continue;
            add(f, (nib_span_candidate){ { r.ranges[from].begin, r.ranges[to].end },
                                         logits[2 * from], logits[2 * to + 1] });
        }
    }
}

nib_found_span nib_span_finder_end(const nib_span_finder *f, bool may_be_none)
{
    nib_found_span out = { .found = f->count > 0, .none = HUGE_VAL };
    size_t count = f->count;
    double most, sum = 0;

    if (!out.found) return out;
    out.at = f->best[0].at;
    out.none = (double)(f->none - f->best[0].begin - f->best[0].end);
    most = (double)sum_of(&f->best[0]);
    if (may_be_none && count == NIB_BEST_SPANS && f->none > sum_of(&f->best[count - 1]))
        count--; /* it is one of the best itself */
    for (size_t i = 0; i < count; i++) sum += exp((double)sum_of(&f->best[i]) - most);
    if (may_be_none) sum += exp((double)f->none - most);
    out.score = 1 / sum;
    return out;
}
